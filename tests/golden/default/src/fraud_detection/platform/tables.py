"""Delta tables by their three-part names."""

from datetime import date

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F


def spark_session() -> SparkSession:
    """Return the session of the platform that runs this code."""
    return SparkSession.builder.getOrCreate()


def quote(name: str) -> str:
    """Return `catalog.schema.table` with each part in backticks, as SQL wants names that hold dashes.

    A backtick in a name is doubled, so that nothing after it is read as SQL.
    """
    return ".".join("`" + part.replace("`", "``") + "`" for part in name.split("."))


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


def create(frame: DataFrame, table: str, key: str = "") -> None:
    """Create the Delta table `table` with the rows of `frame`, and with the column `key` as its primary key."""
    if not key:
        frame.writeTo(quote(table)).using("delta").create()
        return
    columns = [f"{quote(field.name)} {field.dataType.simpleString()}" for field in frame.schema]
    columns[frame.columns.index(key)] += " NOT NULL"
    *_, name = table.split(".")
    constraint = f"CONSTRAINT {quote(name + '_pk')} PRIMARY KEY ({quote(key)})"
    frame.sparkSession.sql(f"CREATE TABLE {quote(table)} ({', '.join(columns)}, {constraint}) USING delta")
    frame.writeTo(quote(table)).append()


def replace(frame: DataFrame, table: str, condition: Column, key: str = "") -> None:
    """Make `frame` the rows of `table` that fulfil `condition`, in one commit: running it again changes nothing.

    Args:
        frame: rows that all fulfil `condition`. Its schema makes the table where there is none. The table takes over
            new columns, older rows get nulls there, and it keeps columns that `frame` has no more.
        key: column that becomes the primary key of a new table.
    """
    spark = frame.sparkSession
    if not exists(spark, table):
        create(frame, table, key)
        return
    add_columns(frame, table)
    known = read(spark, table)
    if set(known.columns) - set(frame.columns):
        frame = frame.unionByName(known.limit(0), allowMissingColumns=True)
    frame.select(known.columns).writeTo(quote(table)).overwrite(condition)


def add_columns(frame: DataFrame, table: str) -> None:
    """Give `table` the columns of `frame` that it lacks; its rows have nulls there."""
    if set(frame.columns) - set(read(frame.sparkSession, table).columns):
        # No rows, only the columns: everything else about the table stays as it is.
        frame.limit(0).write.format("delta").mode("append").option("mergeSchema", "true").saveAsTable(quote(table))


def add_once(frame: DataFrame, table: str, condition: Column) -> None:
    """Append `frame` to `table` unless the table has a row that fulfils `condition`."""
    if not exists(frame.sparkSession, table):
        create(frame, table)
    elif read(frame.sparkSession, table).where(condition).isEmpty():
        add_columns(frame, table)
        frame.writeTo(quote(table)).append()
