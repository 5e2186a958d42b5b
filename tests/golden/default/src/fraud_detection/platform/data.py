"""The source table, read by the roles of its columns: what it must obey, its features, and its labelled rows."""

import logging
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate
from typing import Any

import pandas as pd
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from ..problem import source
from ..problem.features import FEATURES, LOOKBACK, compute_features
from . import tables
from .config import load_config

logger = logging.getLogger(__name__)

# What a row is known by in the tables of the project, beside its day `event_date`.
ROW = [role for role in (source.KEY, source.TIME) if role]
SCHEMA = ", ".join(f"`{column}` {kind}" for column, kind in source.COLUMNS.items())  # of the source table, for Spark
UNIT = source.ENTITY or source.KEY  # what a part of the rows is taken by
BUCKETS = 10_000  # that the values of UNIT are divided into


class DataCheckError(ValueError):
    """The source table breaks its rules."""


def happened(start: date, end: date) -> Column:
    """Return the condition that a row of the source table is of the days [start, end); every row is, of a snapshot."""
    return tables.days(source.TIME, start, end) if source.TIME else F.col(source.KEY).isNotNull()


def rules() -> dict[str, str]:
    """Return the rules of the problem, and those that its roles bring along: a sentence, and SQL that is true."""
    never_null = {f"{role} is never null": f"{role} IS NOT NULL" for role in (source.KEY, source.TIME) if role}
    if source.TIME and source.LABEL_TIME:
        never_null[f"{source.LABEL_TIME} is not before {source.TIME}"] = (
            f"{source.LABEL_TIME} IS NULL OR {source.LABEL_TIME} >= {source.TIME}"
        )
    return never_null | source.RULES


def broken_rules(frame: DataFrame) -> list[str]:
    """Return one line for each rule that rows of `frame` break; an empty list for good data."""
    types = dict(frame.dtypes)
    wrong_types = [
        f"column {column}: is {types.get(column, 'missing')}, must be {kind}"
        for column, kind in source.COLUMNS.items()
        if types.get(column) != kind
    ]
    if wrong_types:
        return wrong_types

    failures = [
        F.count(F.when(~F.coalesce(F.expr(condition), F.lit(False)), 1)).alias(str(number))
        for number, condition in enumerate(rules().values())
    ]
    totals = F.count("*").alias("rows"), F.countDistinct(source.KEY).alias("keys")
    counts = frame.agg(*totals, *failures).collect()[0]
    if counts["rows"] == 0:
        return ["the table has no rows in this period"]
    problems = [
        f"{sentence}: broken by {counts[str(number)]} of {counts['rows']} rows"
        for number, sentence in enumerate(rules())
        if counts[str(number)]
    ]
    if counts["keys"] < counts["rows"]:
        problems.append(f"{source.KEY} is unique: broken by {counts['rows'] - counts['keys']} rows")
    return problems


def feature_rows(spark: SparkSession, source_table: str, start: date, end: date) -> DataFrame:
    """Return ROW, UNIT, `event_date` and FEATURES of the days [start, end), one row for each row of the source.

    Rows of a snapshot are of the day before `end`.
    """
    history = tables.read(spark, source_table).where(happened(start - LOOKBACK, end))
    event_date = F.to_date(source.TIME) if source.TIME else F.lit(end - timedelta(days=1))
    rows = compute_features(history).withColumn("event_date", event_date)
    return rows.where(tables.days("event_date", start, end)).select(
        *dict.fromkeys([*ROW, UNIT]), "event_date", *FEATURES
    )


def labels(spark: SparkSession, source_table: str, start: date | None, end: date) -> DataFrame:
    """Return KEY and LABEL of the rows whose label became known in [start, end), or before `end` without a start."""
    rows = tables.read(spark, source_table).where(F.col(source.LABEL).isNotNull())
    if known := source.LABEL_TIME or source.TIME:
        rows = rows.where(tables.days(known, start, end) if start else F.col(known) < F.lit(end))
    return rows.select(source.KEY, source.LABEL)


def labelled(
    spark: SparkSession, source_table: str, features_table: str, start: date, run_date: date, fraction: float = 1.0
) -> DataFrame:
    """Return features joined with the labels that were known when `run_date` began.

    Args:
        start: first day of the rows.
        fraction: share of the entities to keep, in (0, 1]. Whole ones, so that the history of each stays together.
    """
    features = tables.read(spark, features_table).where(tables.days("event_date", start, run_date))
    if fraction < 1.0:
        features = features.where(bucket(UNIT) < fraction * BUCKETS)
    return features.join(labels(spark, source_table, None, run_date), source.KEY)


def bucket(column: str, *salt: str) -> Column:
    """Return which of BUCKETS buckets a value of `column` falls into: always the same, with other `salt` another."""
    return F.pmod(F.xxhash64(F.col(tables.quote(column)), *map(F.lit, salt)), F.lit(BUCKETS))


@dataclass(frozen=True)
class Part:
    """Rows in Spark, of which one machine takes no more than it holds."""

    frame: DataFrame
    rows: int

    def take(self, columns: list[str], most: int, by: str = UNIT) -> pd.DataFrame:
        """Return `columns` of at most `most` rows, the oldest first: of the same rows always the same part.

        Args:
            by: rows that share a value of this column are taken or left together.

        Raises:
            ValueError: if `most` is less than the smallest part that can be taken, about a ten-thousandth.
        """
        frame = self.frame
        if self.rows > most:
            # Counted, because some values have many more rows than others.
            counts = sorted(frame.groupBy(bucket(by)).count().collect())
            totals = accumulate(count for _, count in counts)
            fitting = [number for (number, _), total in zip(counts, totals, strict=True) if total <= most]
            if not fitting:
                raise ValueError(f"max_rows in problem/config.yml is {most}, too few of {self.rows} rows: raise it.")
            frame = frame.where(bucket(by) <= fitting[-1])
        taken = frame.orderBy(*reversed(ROW)).select(*columns).toPandas()
        logger.info("took %d of %d rows", len(taken), self.rows)
        return taken


def split(rows: DataFrame) -> tuple[Part, Part]:
    """Return (training rows, holdout rows) of labelled `rows`.

    The holdout is the newest `holdout_days` labelled days, which keeps the comparison honest: the champion was trained
    before those days, as the challenger is. Of a snapshot it is `holdout_fraction` of the entities, always the same.

    Raises:
        ValueError: if either part would be empty.
    """
    training = load_config().training
    if training.holdout_days is not None:
        group = F.col("event_date")
    else:
        # A hash, because a random part would be another one each time, and leak from training into the comparison.
        group = bucket(UNIT, "holdout") < (training.holdout_fraction or 0) * BUCKETS
    counts: dict[Any, int] = dict(rows.groupBy(group).count().collect())
    if not counts:
        raise ValueError("No labelled row in the training period: run the features task first, or wait for labels.")
    # Of days the first one that is held out; of a hash, that a row is.
    first = True if training.holdout_days is None else max(counts) - timedelta(days=training.holdout_days - 1)
    held_out = sum(count for each, count in counts.items() if each >= first)
    trained_on = sum(counts.values()) - held_out
    if not trained_on:
        raise ValueError("All labelled rows fall in the holdout: raise days, or hold less out in problem/config.yml.")
    if not held_out:
        raise ValueError("No labelled row falls in the holdout: raise holdout_fraction in problem/config.yml.")
    return Part(rows.where(group < F.lit(first)), trained_on), Part(rows.where(group >= F.lit(first)), held_out)
