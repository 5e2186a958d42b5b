"""Task `features`: writes what a model sees of each row. Training and scoring read one table, so they cannot differ."""

import logging
from datetime import date, timedelta

from pyspark.sql import functions as F

from ..platform import data, tables
from ..platform.parameters import run
from ..problem import source

logger = logging.getLogger(__name__)


def features(source_table: str, schema: str, run_date: date, days: int) -> None:
    """Write the features of the `days` days before `run_date` to `<schema>.features`, one row per key of the source.

    Features of a snapshot replace those of the snapshot before.
    """
    spark, start = tables.spark_session(), run_date - timedelta(days=days)
    rows = data.feature_rows(spark, source_table, start, run_date)
    period = tables.days("event_date", start, run_date) if source.TIME else F.col("event_date").isNotNull()
    # With a primary key, Unity Catalog offers the table as a feature table.
    tables.replace(rows, f"{schema}.features", period, key=source.KEY)
    written = tables.read(spark, f"{schema}.features").where(period).count()
    logger.info("%s rows before %s", f"{written:,}", run_date)


def main() -> None:
    run(features)
