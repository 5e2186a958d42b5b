"""Delta tables by their three-part names."""

from datetime import date

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F


def spark_session() -> SparkSession:
    """Return the session of the platform that runs this code."""
    return SparkSession.builder.getOrCreate()


def quote(name: str) -> str:
    """Return `catalog.schema.table` with each part in backticks, as SQL wants names that hold dashes."""
    return ".".join(f"`{part}`" for part in name.split("."))


def read(spark: SparkSession, table: str) -> DataFrame:
    return spark.table(quote(table))


def exists(spark: SparkSession, table: str) -> bool:
    return spark.catalog.tableExists(quote(table))


def version(spark: SparkSession, table: str) -> int:
    """Return the Delta version of `table` that a reader sees now."""
    (row,) = spark.sql(f"DESCRIBE HISTORY {quote(table)} LIMIT 1").collect()
    return int(row["version"])


def days(column: str, start: date, end: date) -> Column:
    """Return the condition that the date or timestamp `column` lies in [start, end)."""
    return (F.col(column) >= F.lit(start)) & (F.col(column) < F.lit(end))


def replace(frame: DataFrame, table: str, condition: Column) -> None:
    """Make `frame` the rows of `table` that fulfil `condition`, in one commit: running it again changes nothing.

    Args:
        frame: rows that all fulfil `condition`. Its schema makes the table where there is none; where its columns have
            changed, the table takes them over, and older rows get nulls.
    """
    if not exists(frame.sparkSession, table):
        frame.writeTo(quote(table)).using("delta").create()
        return
    known = read(frame.sparkSession, table)
    if set(known.columns) == set(frame.columns):
        frame.select(known.columns).writeTo(quote(table)).overwrite(condition)
        return
    others = known.where(~condition).select([column for column in known.columns if column in frame.columns])
    whole = frame.unionByName(others, allowMissingColumns=True)
    whole.write.format("delta").mode("overwrite").option("overwriteSchema", "true").saveAsTable(quote(table))


def add_once(frame: DataFrame, table: str, condition: Column) -> None:
    """Append `frame` to `table` unless the table has a row that fulfils `condition`."""
    if not exists(frame.sparkSession, table):
        frame.writeTo(quote(table)).using("delta").create()
    elif read(frame.sparkSession, table).where(condition).isEmpty():
        frame.writeTo(quote(table)).append()
