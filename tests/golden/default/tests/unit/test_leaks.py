"""What a model sees of a row was known then: no row that came later, and no label that nobody knew yet."""

from datetime import date, timedelta

import numpy as np
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from fraud_detection.platform import data
from fraud_detection.problem import sample, source
from fraud_detection.problem.features import (
    CATEGORICAL,
    FEATURES,
    NUMERIC,
    compute_features,
)

START, NOON = date(2026, 3, 1), "2026-03-08 12:00:00"


def happened(text: str) -> Column:
    """Return the condition that a row is not older than this time; every row is, of a snapshot."""
    return F.col(source.TIME) >= F.lit(text).cast("timestamp") if source.TIME else F.lit(True)


def at_noon(rows: DataFrame) -> DataFrame:
    """Return what the source table held at NOON: rows of the future are missing, and so are labels."""
    unknown = happened("2026-03-07 12:00:00")  # rows that are scored have no label
    if source.LABEL_TIME:
        unknown |= F.col(source.LABEL_TIME) >= F.lit(NOON).cast("timestamp")
    labels = [role for role in (source.LABEL, source.LABEL_TIME) if role]
    there = rows.where(~happened(NOON)) if source.TIME else rows
    return there.withColumns({role: F.when(~unknown, F.col(role)) for role in labels})


def test_no_feature_knows_what_came_later(spark: SparkSession) -> None:
    """Training computes features when everything is known, scoring on the day: a model must see the same in both."""
    made_up = sample.generate(START, START + timedelta(days=10), 200, seed=1)[list(source.COLUMNS)]
    rows = spark.createDataFrame(made_up, data.SCHEMA)
    day = happened("2026-03-07 12:00:00") & (~happened(NOON) if source.TIME else F.lit(True))
    then, later = (
        compute_features(table).where(day).select(source.KEY, *FEATURES).toPandas().set_index(source.KEY).sort_index()
        for table in (at_noon(rows), rows)
    )
    assert len(then) == len(later) > 0
    leaks = [name for name in CATEGORICAL if not then[name].equals(later[name])]
    leaks += [name for name in NUMERIC if not np.allclose(then[name], later[name], equal_nan=True)]
    assert not leaks, f"{', '.join(leaks)} would know what came later"
