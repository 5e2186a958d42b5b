"""Task `ask_endpoint`: sends transactions to the endpoint, as the application does that uses it. Never in prod."""

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
from databricks.sdk import WorkspaceClient
from pyspark.sql import functions as F

from . import serving, tables
from .features import FEATURES, LOOKBACK, compute_features
from .task import run

ROWS_PER_REQUEST = 1000  # an inference table leaves out requests of more than a MiB
PAYLOAD = """
    databricks_request_id STRING, request_date DATE, request_time TIMESTAMP, status_code INT, request STRING,
    response STRING
"""


def ask(endpoint: str, rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Send `rows` (transaction_id and FEATURES) to an endpoint, and yield each request as an inference table has it.

    The transaction_id is no input of the model, which ignores it. `collect` finds the transaction by it.

    Raises:
        DatabricksError: if the endpoint does not answer.
    """
    workspace = WorkspaceClient()
    for first in range(0, len(rows), ROWS_PER_REQUEST):
        part = rows[["transaction_id", *FEATURES]].iloc[first : first + ROWS_PER_REQUEST]
        question = {"dataframe_records": json.loads(part.to_json(orient="records"))}
        answer = workspace.api_client.do("POST", f"/serving-endpoints/{endpoint}/invocations", body=question)
        moment = datetime.now(UTC)
        yield {
            "databricks_request_id": str(uuid.uuid4()),
            "request_date": moment.date(),
            "request_time": moment,
            "status_code": 200,
            "request": json.dumps(question),
            "response": json.dumps(answer),
        }


def ask_endpoint(source_table: str, schema: str, model: str, run_date: date, days: int) -> None:
    """Ask the endpoint of `model` for the transactions of the `days` days before `run_date`.

    Databricks delivers an inference table up to an hour later, too late for a test. So questions and answers are
    written to a table of the same form, `<schema>.requests_integration_test_payload`, and `collect` reads both.
    """
    spark = tables.spark_session()
    start = run_date - timedelta(days=days)
    history = tables.read(spark, source_table).where(tables.days("event_time", start - LOOKBACK, run_date))
    rows = compute_features(history).where(tables.days("event_date", start, run_date)).toPandas()
    asked = list(ask(serving.endpoint_name(model), rows))
    frame = spark.createDataFrame(asked, PAYLOAD)
    today = F.col("request_date") >= F.lit(min(request["request_date"] for request in asked))
    tables.replace(frame, f"{schema}.{serving.PAYLOAD_PREFIX}integration_test_payload", today)


def main() -> None:
    run(ask_endpoint)
