"""Task `collect`: what the endpoint predicted becomes rows of `predictions`, the table that monitoring reads."""

import json
import logging
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import reduce
from operator import and_
from typing import Any

import numpy as np
from pyspark import cloudpickle
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from ..platform import data, registry, serving, tables
from ..platform.parameters import run
from ..problem import model as problem_model
from ..problem.features import CATEGORICAL, NUMERIC
from ..problem.model import PREDICTION, prediction
from ..problem.source import COLUMNS, KEY

logger = logging.getLogger(__name__)

ENDPOINT = "endpoint"  # in the column `scored_by`
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
    """Return the Spark function that reads a request and its response as the endpoint does, with Python's `json`.

    It gives one struct per record: KEY, FEATURES, and PREDICTION. It gives null where request or response is not of the
    form that callers agree on: `dataframe_records` or `dataframe_split`.
    """
    cloudpickle.register_pickle_by_value(problem_model)  # workers may not have this package
    key = str if COLUMNS[KEY] == "string" else int
    types = {KEY: key, **dict.fromkeys(NUMERIC, float), **dict.fromkeys(CATEGORICAL, str)}
    names = {str: "string", int: "bigint", float: "double"}
    fields = [f"{name}: {names[kind]}" for name, kind in types.items()]
    fields += [f"{name}: {kind}" for name, kind in PREDICTION.items()]

    @F.udf(f"ARRAY<STRUCT<{', '.join(fields)}>>")
    def read(request: str, response: str) -> list[tuple[Any, ...]] | None:
        def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            found = dict(pairs)
            if len(found) < len(pairs):
                raise ValueError("a name that stands there twice is read in two ways")
            return found

        try:
            sent = json.loads(request, object_pairs_hook=once)
            (form,) = sent.keys() & {"dataframe_records", "dataframe_split"}
            table = sent[form]
            if form == "dataframe_split":
                table = [once(list(zip(table["columns"], row, strict=True))) for row in table["data"]]
            raw = np.asarray(json.loads(response)["predictions"], dtype=float)
            predicted = prediction(raw.reshape(len(raw), -1)).itertuples(index=False, name=None)
            return [
                (*(None if record.get(name) is None else kind(record[name]) for name, kind in types.items()), *found)
                for record, found in zip(table, predicted, strict=True)
            ]
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            return None

    return read


def as_computed() -> Column:
    """Return the condition that what the alias `sent` was scored on is what the alias `known` has computed.

    Whoever may send requests names the row and its features, so another prediction could be made for any row.
    """
    same = [F.col(f"sent.{name}").eqNullSafe(F.col(f"known.{name}")) for name in CATEGORICAL]
    for name in NUMERIC:
        sent, known = F.col(f"sent.{name}"), F.col(f"known.{name}")
        near = F.abs(sent - known) <= TOLERANCE * F.greatest(F.abs(known), F.lit(1.0))
        same.append(sent.eqNullSafe(known) | F.coalesce(near, F.lit(False)))
    return reduce(and_, same)


def version_at(moment: Column, periods: list[tuple[datetime, int]]) -> Column:
    """Return the model version that had the traffic at `moment`, given since when which version had it."""
    first = F.lit(periods[0][1] if periods else None).cast("int")
    return reduce(lambda known, period: F.when(moment >= F.lit(period[0]), period[1]).otherwise(known), periods, first)


def collect(schema: str, model: str, run_date: date, days: int, git_commit: str) -> None:
    """Write what the endpoint predicted for the rows of the `days` days before `run_date` to `<schema>.predictions`.

    A response counts where the request has the features that the platform computed for its row. A row that was sent
    several times counts once, with the first response. Where the batch job has scored it as well, the response replaces
    that prediction, because it is the one that somebody acted upon. Collecting a day again changes nothing, unless more
    requests have arrived.

    Args:
        schema: two-part name; `<schema>.features` says which rows these are, and what they look like.
    """
    spark = tables.spark_session()
    start = run_date - timedelta(days=days)
    period = tables.days("event_date", start, run_date)
    predictions = f"{schema}.predictions"
    if not tables.exists(spark, predictions) or "scored_by" not in tables.read(spark, predictions).columns:
        # Its readers find an empty table, or one from the time before there was an endpoint with one more column.
        no_row = F.col("event_date").isNull()  # Delta refuses a condition that Spark can tell is never true
        row = {name: COLUMNS[name] for name in data.ROW} | {"event_date": "date"} | PREDICTION
        columns = ", ".join(f"{name} {kind}" for name, kind in row.items())
        rest = "model_name string, model_version int, git_commit string, scored_at timestamp, scored_by string"
        tables.replace(spark.createDataFrame([], f"{columns}, {rest}"), predictions, no_row)
    found = inference_tables(spark, schema)
    if not found:
        logger.warning("no inference table in %s yet, 0 rows collected: nobody has queried the endpoint", schema)
        return
    since = F.col("request_date") >= F.lit(start)  # nobody sends a row before its day
    log = ["request_time", "status_code", "request", "response"]
    payloads = (tables.read(spark, table).where(since).select(log) for table in found)
    requests = reduce(DataFrame.unionByName, payloads).withColumn("records", reader()("request", "response"))

    answered = F.col("status_code") == 200
    usable = answered & F.col("records").isNotNull()
    counts = requests.agg(
        F.count("*").alias("all"),
        F.count(F.when(~answered, 1)).alias("failed"),
        F.count(F.when(answered & ~usable, 1)).alias("malformed"),
    ).collect()[0]

    sent = requests.where(usable).select("request_time", F.inline("records")).alias("sent")
    known = tables.read(spark, f"{schema}.features").where(period).alias("known")
    # The smoke test of a release names no row, and joins none.
    pairs = sent.join(known, F.col(f"sent.{KEY}") == F.col(f"known.{KEY}"))
    forged = pairs.where(~as_computed()).count()
    rows = (
        pairs.where(as_computed())
        .groupBy(*(f"known.{name}" for name in (*data.ROW, "event_date")))
        .agg(F.min(F.struct("sent.request_time", *(f"sent.{name}" for name in PREDICTION))).alias("first"))
        .select(
            *data.ROW,
            "event_date",
            *(f"first.{name}" for name in PREDICTION),
            F.lit(model).alias("model_name"),
            version_at(F.col("first.request_time"), serving.periods(registry.connect(), model)).alias("model_version"),
            F.lit(git_commit).alias("git_commit"),
            F.col("first.request_time").alias("scored_at"),
            F.lit(ENDPOINT).alias("scored_by"),
        )
    )
    scored_by = F.coalesce("scored_by", F.lit("batch"))  # older rows do not say
    others = tables.read(spark, predictions).where(period & (scored_by != ENDPOINT)).withColumn("scored_by", scored_by)
    unsent = others.join(rows.select(KEY), KEY, "left_anti")
    tables.replace(rows.unionByName(unsent.select(rows.columns)), predictions, period)
    if forged:
        logger.warning(
            "%d responses are left out: their requests have other features than %s.features. Whoever sends them "
            "computes features in another way, or wants another prediction for a row. See docs/serving.md",
            *(forged, schema),
        )
    collected = tables.read(spark, predictions).where(period & (F.col("scored_by") == ENDPOINT)).count()
    logger.info(
        "%d requests since %s: %d failed and %d malformed ones are left out, %s rows of these days collected",
        *(counts["all"], start, counts["failed"], counts["malformed"], f"{collected:,}"),
    )


def main() -> None:
    run(collect)
