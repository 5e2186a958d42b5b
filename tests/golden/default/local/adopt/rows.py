"""How the adopted rows arrive in the tables of a story, and how made-up ones go on behind them."""

from datetime import date, timedelta
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from fraud_detection.platform import data, tables
from fraud_detection.problem import sample, source

from ..bundle import load_bundle
from ..engine import STATE, create_resources, open_session
from . import ADOPTED, ROWS, calendar


def own_rows(spark: SparkSession, parquet: Path) -> DataFrame:
    """Return the adopted rows of a file, with the types of the source."""
    columns = [f"CAST(`{name}` AS {kind}) AS `{name}`" for name, kind in source.COLUMNS.items()]
    return spark.read.parquet(str(parquet)).selectExpr(*columns)


def made_up(spark: SparkSession, start: date, end: date, rows_per_day: int, drift: bool = False) -> DataFrame:
    """Return generated rows of [start, end), with the types of the source."""
    return spark.createDataFrame(sample.generate(start, end, rows_per_day, seed=1, drift=drift), data.SCHEMA)


def arrive(root: Path, target: str, until: date, drift: bool) -> None:
    """Let the rows of the days before `until` arrive in the source table of `target`, if rows were adopted.

    From `today` on there are none, and as long as nothing drifts, none come: made-up ones know nothing of what the
    columns of the own ones say, so a model of both would be worse.

    Args:
        drift: whether made-up rows that drift follow, or are the new snapshot.
    """
    own = root.resolve() / STATE / ADOPTED / ROWS
    if not own.exists():
        return
    bundle = load_bundle(root, target)
    create_resources(root, bundle)
    spark = open_session(root.resolve() / STATE / "lakehouse")
    table = f"{bundle['resources']['schemas']['schema']['id']}.source"
    rows = own_rows(spark, own)
    exists = tables.exists(spark, table)
    known = calendar(root)
    today, first = date.fromisoformat(known["today"]), date.min
    arriving = []
    if source.TIME and exists:
        (newest,) = tables.read(spark, table).agg(F.to_date(F.max(source.TIME))).collect()[0]
        first = newest + timedelta(days=1)
    if source.TIME and first < today:
        arriving.append(rows.where(f"to_date(`{source.TIME}`) >= '{first}' AND `{source.TIME}` < '{until}'"))
    if source.TIME is None and not exists:
        arriving.append(rows)
    begin = max(first, today)
    if begin < until and drift:
        arriving.append(made_up(spark, begin, until, int(known["rows_per_day"]), drift))
    for part in arriving:
        if not exists:
            tables.create(part, table)
            exists = True
        elif source.TIME:
            part.writeTo(tables.quote(table)).append()
        else:  # a new snapshot
            part.writeTo(tables.quote(table)).overwrite(F.lit(True))
