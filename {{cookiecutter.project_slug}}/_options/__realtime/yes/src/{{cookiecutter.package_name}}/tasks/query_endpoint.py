"""Task `query_endpoint`: sends rows to the endpoint, as the application that uses it does. Never in prod."""

import json
import logging
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
from databricks.sdk import WorkspaceClient
from pyspark.sql import functions as F

from ..platform import data, serving, tables
from ..platform.parameters import run
from ..problem.features import FEATURES
from ..problem.source import KEY

logger = logging.getLogger(__name__)

ROWS_PER_REQUEST = 1000  # an inference table leaves out requests of more than a MiB
PAYLOAD = """
    databricks_request_id STRING, request_date DATE, request_time TIMESTAMP, status_code INT, request STRING,
    response STRING
"""


def query(endpoint: str, rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Send `rows` (KEY and FEATURES) to an endpoint, and yield each request as an inference table has it.

    The key is not an input of the model, which ignores it. `collect` finds the row by it.

    Raises:
        DatabricksError: if the endpoint does not answer.
    """
    workspace = WorkspaceClient()
    for first in range(0, len(rows), ROWS_PER_REQUEST):
        part = rows[[KEY, *FEATURES]].iloc[first : first + ROWS_PER_REQUEST]
        request = {"dataframe_records": json.loads(part.to_json(orient="records", double_precision=15))}
        response = workspace.api_client.do("POST", f"/serving-endpoints/{endpoint}/invocations", body=request)
        moment = datetime.now(UTC)
        yield {
            "databricks_request_id": str(uuid.uuid4()),
            "request_date": moment.date(),
            "request_time": moment,
            "status_code": 200,
            "request": json.dumps(request),
            "response": json.dumps(response),
        }


def query_endpoint(source_table: str, schema: str, model: str, run_date: date, days: int) -> None:
    """Query the endpoint of `model` for the rows of the `days` days before `run_date`.

    Databricks delivers an inference table up to an hour later, too late for a test. So requests and responses are
    written to a table of the same form, `<schema>.requests_integration_test_payload`, and `collect` reads both.
    """
    spark = tables.spark_session()
    rows = data.feature_rows(spark, source_table, run_date - timedelta(days=days), run_date).toPandas()
    requests = list(query(serving.endpoint_name(model), rows))
    frame = spark.createDataFrame(requests, PAYLOAD)
    today = F.col("request_date") >= F.lit(min(request["request_date"] for request in requests))
    tables.replace(frame, f"{schema}.{serving.PAYLOAD_PREFIX}integration_test_payload", today)
    logger.info("%s rows sent in %d requests, each was answered", f"{len(rows):,}", len(requests))


def main() -> None:
    run(query_endpoint)
