"""The adopted rows on this laptop: which day it is for them, and how they arrive in the tables of a story."""

import json
from datetime import date, timedelta
from pathlib import Path

from pyspark.sql import functions as F

from fraud_detection.problem import sample, source

from ..bundle import load_bundle
from ..engine import STATE, create_resources, open_session
from . import ADOPTED

ROWS, CALENDAR = "source.parquet", "calendar.json"


def calendar(root: Path) -> dict[str, str]:
    """Return `today`, the day after the newest adopted row, and `rows_per_day`; nothing if no rows were adopted."""
    path = root / STATE / ADOPTED / CALENDAR
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def arrive(root: Path, target: str, until: date, drift: bool) -> None:
    """Let the rows of the days before `until` arrive in the source table of `target`, if rows were adopted.

    From `today` on there are none: made-up ones take their place. A snapshot stays as it is until it drifts.

    Args:
        drift: whether the made-up rows drift.
    """
    own = root.resolve() / STATE / ADOPTED / ROWS
    if not own.exists():
        return
    bundle = load_bundle(root, target)
    create_resources(root, bundle)
    spark = open_session(root.resolve() / STATE / "lakehouse")
    schema = bundle["resources"]["schemas"]["schema"]["id"]
    table = ".".join(f"`{part}`" for part in (*schema.split("."), "source"))
    columns = [f"CAST(`{name}` AS {kind}) AS `{name}`" for name, kind in source.COLUMNS.items()]
    rows = spark.read.parquet(str(own)).selectExpr(*columns)
    exists = spark.catalog.tableExists(table)
    known = calendar(root)
    today, first = date.fromisoformat(known["today"]), date.min
    arriving = []
    if source.TIME and exists:
        (newest,) = spark.sql(f"SELECT to_date(max(`{source.TIME}`)) FROM {table}").collect()[0]
        first = newest + timedelta(days=1)
    if source.TIME and first < today:
        arriving.append(rows.where(f"to_date(`{source.TIME}`) >= '{first}' AND `{source.TIME}` < '{until}'"))
    if source.TIME is None and not exists:
        arriving.append(rows)
    begin = max(first, today)
    if begin < until and (source.TIME or drift):
        types = ", ".join(f"`{name}` {kind}" for name, kind in source.COLUMNS.items())
        made_up = sample.generate(begin, until, int(known["rows_per_day"]), seed=1, drift=drift)
        arriving.append(spark.createDataFrame(made_up, types))
    for part in arriving:
        if not exists:
            part.writeTo(table).using("delta").create()
            exists = True
        elif source.TIME:
            part.writeTo(table).append()
        else:  # a new snapshot
            part.writeTo(table).overwrite(F.lit(True))
