"""Task `collect`: what the endpoint answered becomes rows of `predictions`, the table that monitoring reads."""

import logging
from datetime import date, datetime, timedelta
from functools import reduce

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from . import registry, serving, tables
from .drift import SCORE
from .task import run

logger = logging.getLogger(__name__)

ENDPOINT = "endpoint"  # in the column `scored_by`
REQUEST = """
    dataframe_records ARRAY<STRUCT<transaction_id: STRING>>,
    dataframe_split STRUCT<columns: ARRAY<STRING>, data: ARRAY<ARRAY<STRING>>>
"""
RESPONSE = "predictions ARRAY<ARRAY<DOUBLE>>"
PREDICTIONS = f"""
    transaction_id STRING, event_time TIMESTAMP, event_date DATE, {SCORE} DOUBLE, model_name STRING, model_version INT,
    git_commit STRING, scored_at TIMESTAMP, scored_by STRING
"""


def inference_tables(spark: SparkSession, schema: str) -> list[str]:
    """Return the three-part names of the tables that endpoints of this project wrote their requests to."""
    names = (table.name for table in spark.catalog.listTables(tables.quote(schema)))
    return [
        f"{schema}.{name}"
        for name in sorted(names)
        if name.startswith(serving.PAYLOAD_PREFIX) and name.endswith("_payload")
    ]


def unpack(payloads: DataFrame) -> DataFrame:
    """Return one row per request, with what it asked for and what it was answered.

    Returns:
        `request_time`, `status_code`, `ids` (the transaction_id of each record, null where a record has none) and
        `scores` (probability of 1 per record). The two are null, or of different length, where a request or its answer
        is not of the form that callers agree on: `dataframe_records` or `dataframe_split`.
    """
    parsed = payloads.select(
        "request_time",
        "status_code",
        F.from_json("request", REQUEST).alias("asked"),
        F.from_json("response", RESPONSE).alias("answered"),
    )
    position = F.expr("CAST(array_position(asked.dataframe_split.columns, 'transaction_id') AS INT) - 1")
    return parsed.withColumn("position", position).select(
        "request_time",
        "status_code",
        F.coalesce(
            F.expr("transform(asked.dataframe_records, record -> record.transaction_id)"),
            F.expr("transform(asked.dataframe_split.data, record -> get(record, position))"),
        ).alias("ids"),
        F.expr("transform(answered.predictions, probabilities -> get(probabilities, 1))").alias("scores"),
    )


def version_at(moment: Column, periods: list[tuple[datetime, int]]) -> Column:
    """Return the model version that had the traffic at `moment`, given since when which version had it."""
    first = F.lit(periods[0][1] if periods else None).cast("int")
    return reduce(lambda known, period: F.when(moment >= F.lit(period[0]), period[1]).otherwise(known), periods, first)


def collect(schema: str, model: str, run_date: date, days: int, git_commit: str) -> None:
    """Write what the endpoint answered for the transactions of the `days` days before `run_date` to `predictions`.

    A transaction that was asked for several times counts once, with its last answer. Where the batch job has scored
    it as well, the answer of the endpoint replaces that score, because it is the one that somebody acted upon.
    Collecting a day again changes nothing, unless more requests have arrived.

    Args:
        schema: two-part name; `<schema>.features` says which transactions these are, and when they happened.
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
    requests = unpack(reduce(DataFrame.unionByName, payloads))

    answered = F.col("status_code") == 200
    complete = (F.size("ids") == F.size("scores")) & ~F.exists("scores", lambda score: score.isNull())
    usable = answered & F.coalesce(complete, F.lit(False))
    counts = requests.agg(
        F.count("*").alias("all"),
        F.count(F.when(~answered, 1)).alias("failed"),
        F.count(F.when(answered & ~usable, 1)).alias("malformed"),
    ).collect()[0]

    records = (
        requests.select("request_time", F.inline(F.when(usable, F.arrays_zip("ids", "scores"))))
        # The smoke test of a release names no transaction.
        .where(F.col("ids").isNotNull())
        .groupBy(F.col("ids").alias("transaction_id"))
        .agg(F.max(F.struct("request_time", "scores")).alias("last"))
    )
    transactions = tables.read(spark, f"{schema}.features").where(period)
    moment = F.col("last.request_time")
    rows = transactions.join(records, "transaction_id").select(
        "transaction_id",
        "event_time",
        "event_date",
        F.col("last.scores").alias(SCORE),
        F.lit(model).alias("model_name"),
        version_at(moment, serving.periods(registry.connect(), model)).alias("model_version"),
        F.lit(git_commit).alias("git_commit"),
        moment.alias("scored_at"),
        F.lit(ENDPOINT).alias("scored_by"),
    )
    scored_by = F.coalesce("scored_by", F.lit("batch"))  # older rows do not say
    others = tables.read(spark, predictions).where(period & (scored_by != ENDPOINT)).withColumn("scored_by", scored_by)
    unasked = others.join(rows.select("transaction_id"), "transaction_id", "left_anti")
    tables.replace(rows.unionByName(unasked.select(rows.columns)), predictions, period)
    collected = tables.read(spark, predictions).where(period & (F.col("scored_by") == ENDPOINT)).count()
    logger.info(
        "%d requests since %s: %d failed and %d malformed ones are left out, %d transactions of these days collected",
        *(counts["all"], start, counts["failed"], counts["malformed"], collected),
    )


def main() -> None:
    run(collect)
