"""Task `collect`: what the endpoint answered becomes rows of `predictions`, the table that monitoring reads."""

import json
import logging
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import reduce
from operator import and_
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from . import registry, serving, tables
from .drift import SCORE
from .features import CATEGORICAL, NUMERIC
from .task import run

logger = logging.getLogger(__name__)

ENDPOINT = "endpoint"  # in the column `scored_by`
PREDICTIONS = f"""
    transaction_id STRING, event_time TIMESTAMP, event_date DATE, {SCORE} DOUBLE, model_name STRING, model_version INT,
    git_commit STRING, scored_at TIMESTAMP, scored_by STRING
"""
TOLERANCE = 1e-6  # of a number, relative to it: callers compute in another language, or with fewer digits


def inference_tables(spark: SparkSession, schema: str) -> list[str]:
    """Return the three-part names of the tables that endpoints of this project wrote their requests to."""
    names = (table.name for table in spark.catalog.listTables(tables.quote(schema)))
    return [
        f"{schema}.{name}"
        for name in sorted(names)
        if name.startswith(serving.PAYLOAD_PREFIX) and name.endswith("_payload")
    ]


def reader() -> Callable[[str, str], Column]:
    """Return the Spark function that reads a request and its answer as the endpoint does, with Python's `json`.

    It gives one struct per record: transaction_id, its features, and the score (probability of 1). It gives null where
    request or answer is not of the form that callers agree on: `dataframe_records` or `dataframe_split`.
    """
    types = {"transaction_id": str, **dict.fromkeys(NUMERIC, float), **dict.fromkeys(CATEGORICAL, str)}
    fields = [f"{name}: {'DOUBLE' if kind is float else 'STRING'}" for name, kind in types.items()]

    @F.udf(f"ARRAY<STRUCT<{', '.join(fields)}, {SCORE}: DOUBLE>>")
    def read(request: str, response: str) -> list[tuple[Any, ...]] | None:
        def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            found = dict(pairs)
            if len(found) < len(pairs):
                raise ValueError("a name that stands there twice is read in two ways")
            return found

        try:
            asked = json.loads(request, object_pairs_hook=once)
            (form,) = asked.keys() & {"dataframe_records", "dataframe_split"}
            table = asked[form]
            if form == "dataframe_split":
                table = [once(list(zip(table["columns"], row, strict=True))) for row in table["data"]]
            scores = [float(probabilities[1]) for probabilities in json.loads(response)["predictions"]]
            return [
                (*(None if record.get(name) is None else kind(record[name]) for name, kind in types.items()), score)
                for record, score in zip(table, scores, strict=True)
            ]
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            return None

    return read


def as_computed() -> Column:
    """Return the condition that what the alias `asked` was scored on is what the alias `known` has computed.

    Whoever may send requests names the transaction and its features, so another score than its own could be made for
    any transaction.
    """
    same = [F.col(f"asked.{name}").eqNullSafe(F.col(f"known.{name}")) for name in CATEGORICAL]
    for name in NUMERIC:
        asked, known = F.col(f"asked.{name}"), F.col(f"known.{name}")
        near = F.abs(asked - known) <= TOLERANCE * F.greatest(F.abs(known), F.lit(1.0))
        same.append(asked.eqNullSafe(known) | F.coalesce(near, F.lit(False)))
    return reduce(and_, same)


def version_at(moment: Column, periods: list[tuple[datetime, int]]) -> Column:
    """Return the model version that had the traffic at `moment`, given since when which version had it."""
    first = F.lit(periods[0][1] if periods else None).cast("int")
    return reduce(lambda known, period: F.when(moment >= F.lit(period[0]), period[1]).otherwise(known), periods, first)


def collect(schema: str, model: str, run_date: date, days: int, git_commit: str) -> None:
    """Write what the endpoint answered for the transactions of the `days` days before `run_date` to `predictions`.

    An answer counts where the request has the features that the platform computed for its transaction. A transaction
    that was asked for several times counts once, with its first answer. Where the batch job has scored it as well, the
    answer of the endpoint replaces that score, because it is the one that somebody acted upon. Collecting a day again
    changes nothing, unless more requests have arrived.

    Args:
        schema: two-part name; `<schema>.features` says which transactions these are, and what they look like.
    """
    spark = tables.spark_session()
    start = run_date - timedelta(days=days)
    period = tables.days("event_date", start, run_date)
    predictions = f"{schema}.predictions"
    if not tables.exists(spark, predictions) or "scored_by" not in tables.read(spark, predictions).columns:
        # Its readers find an empty table, or one from the time before there was an endpoint with one more column.
        no_row = F.col("event_date").isNull()  # Delta refuses a condition that Spark can tell is never true
        tables.replace(spark.createDataFrame([], PREDICTIONS), predictions, no_row)
    found = inference_tables(spark, schema)
    if not found:
        logger.warning("no inference table in %s yet, 0 rows collected: nobody has asked the endpoint", schema)
        return
    since = F.col("request_date") >= F.lit(start)  # nobody asks for a transaction before its day
    columns = ["request_time", "status_code", "request", "response"]
    payloads = (tables.read(spark, table).where(since).select(columns) for table in found)
    requests = reduce(DataFrame.unionByName, payloads).withColumn("records", reader()("request", "response"))

    answered = F.col("status_code") == 200
    usable = answered & F.col("records").isNotNull()
    counts = requests.agg(
        F.count("*").alias("all"),
        F.count(F.when(~answered, 1)).alias("failed"),
        F.count(F.when(answered & ~usable, 1)).alias("malformed"),
    ).collect()[0]

    asked = requests.where(usable).select("request_time", F.inline("records")).alias("asked")
    known = tables.read(spark, f"{schema}.features").where(period).alias("known")
    # The smoke test of a release names no transaction, and joins none.
    pairs = asked.join(known, F.col("asked.transaction_id") == F.col("known.transaction_id"))
    forged = pairs.where(~as_computed()).count()
    rows = (
        pairs.where(as_computed())
        .groupBy("known.transaction_id", "known.event_time", "known.event_date")
        .agg(F.min(F.struct("asked.request_time", f"asked.{SCORE}")).alias("first"))
        .select(
            "transaction_id",
            "event_time",
            "event_date",
            F.col(f"first.{SCORE}").alias(SCORE),
            F.lit(model).alias("model_name"),
            version_at(F.col("first.request_time"), serving.periods(registry.connect(), model)).alias("model_version"),
            F.lit(git_commit).alias("git_commit"),
            F.col("first.request_time").alias("scored_at"),
            F.lit(ENDPOINT).alias("scored_by"),
        )
    )
    scored_by = F.coalesce("scored_by", F.lit("batch"))  # older rows do not say
    others = tables.read(spark, predictions).where(period & (scored_by != ENDPOINT)).withColumn("scored_by", scored_by)
    unasked = others.join(rows.select("transaction_id"), "transaction_id", "left_anti")
    tables.replace(rows.unionByName(unasked.select(rows.columns)), predictions, period)
    if forged:
        logger.warning(
            "%d answers are left out: their requests have other features than %s.features. Whoever sends them computes "
            "features in another way, or wants another score for a transaction. See docs/serving.md",
            *(forged, schema),
        )
    collected = tables.read(spark, predictions).where(period & (F.col("scored_by") == ENDPOINT)).count()
    logger.info(
        "%d requests since %s: %d failed and %d malformed ones are left out, %d transactions of these days collected",
        *(counts["all"], start, counts["failed"], counts["malformed"], collected),
    )


def main() -> None:
    run(collect)
