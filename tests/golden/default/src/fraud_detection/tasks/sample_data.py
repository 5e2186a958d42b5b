"""Task `sample_data`: fills the source table with made-up rows, until your own data is there."""

import logging
import zlib
from datetime import date, timedelta

from pyspark.sql import functions as F

from ..platform import data, tables
from ..platform.parameters import run
from ..problem import sample, source

logger = logging.getLogger(__name__)


def sample_data(source_table: str, run_date: date, days: int, rows_per_day: int, drift: bool) -> None:
    """Fill `source_table` up to the day before `run_date`: `days` days if it is new, otherwise the days that it lacks.

    A snapshot, which has no days, is made once. A table that holds anything but made-up rows is left as it is.
    """
    spark = tables.spark_session()
    first = run_date - timedelta(days=days)
    if tables.exists(spark, source_table):
        made_up = F.col(source.KEY).cast("string").startswith(sample.KEY_PREFIX)
        own, newest = (
            tables.read(spark, source_table)
            .agg(F.count(F.when(~made_up, 1)), F.max(F.to_date(source.TIME)) if source.TIME else F.lit(run_date))
            .collect()[0]
        )
        if own:
            logger.info("nothing to fill: %s holds %s rows of its own", source_table, f"{own:,}")
            return
        first = newest + timedelta(days=1) if newest else first
    if first >= run_date:
        logger.info("%s is complete up to %s", source_table, run_date)
        return
    rows = sample.generate(first, run_date, rows_per_day, zlib.crc32(source_table.encode()), drift)
    frame = spark.createDataFrame(rows[list(source.COLUMNS)], data.SCHEMA)
    tables.replace(frame, source_table, data.happened(first, run_date))
    logger.info("%s rows made up since %s", f"{len(rows):,}", first)


def main() -> None:
    run(sample_data)
