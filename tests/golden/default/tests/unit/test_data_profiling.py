"""The monitor is made once and then refreshed: the real SDK talks to a small server that keeps monitors."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from databricks.sdk.errors import NotFound

from fraud_detection.tasks import data_profiling

IDS = {
    "/api/2.1/unity-catalog/tables/prod.facts.predictions": {"table_id": "table-1"},
    "/api/2.1/unity-catalog/schemas/prod.facts": {"schema_id": "schema-1"},
}
MONITORS = "/api/data-quality/v1/monitors"


class Workspace(ThreadingHTTPServer):
    """Answers for one table and one schema."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.monitors: dict[str, Any] = {}
        self.refreshes = 0
        self.refreshing = False

    def get(self, path: str) -> Any:
        return self.monitors.get(path.removeprefix(f"{MONITORS}/table/"), IDS.get(path))

    def post(self, path: str, body: Any) -> Any:
        if path == MONITORS:
            self.monitors[body["object_id"]] = body
            return body
        if path == f"{MONITORS}/table/table-1/refreshes" and not self.refreshing:
            self.refreshes += 1
            return body | {"refresh_id": self.refreshes}
        return None


class Answer(BaseHTTPRequestHandler):
    server: Workspace

    def do_GET(self) -> None:
        self.reply(self.server.get(self.path), 404, "RESOURCE_DOES_NOT_EXIST")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.reply(self.server.post(self.path, body), 409, "RESOURCE_CONFLICT")

    def reply(self, found: Any, otherwise: int, code: str) -> None:
        self.send_response(200 if found else otherwise)
        self.end_headers()
        self.wfile.write(json.dumps(found or {"error_code": code, "message": self.path}).encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def workspace(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    with Workspace() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("DATABRICKS_HOST", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("DATABRICKS_TOKEN", "token")
        yield server
        server.shutdown()


def test_the_monitor_is_made_once_and_then_refreshed(workspace: Workspace) -> None:
    for _ in range(3):
        data_profiling.data_profiling("prod.facts")
    profile = {
        "output_schema_id": "schema-1",
        "skip_builtin_dashboard": True,
        "time_series": {"granularities": ["AGGREGATION_GRANULARITY_1_DAY"], "timestamp_column": "event_date"},
    }
    monitor = {"object_type": "table", "object_id": "table-1", "data_profiling_config": profile}
    assert workspace.monitors == {"table-1": monitor}
    assert workspace.refreshes == 2


def test_a_refresh_under_way_is_enough(workspace: Workspace) -> None:
    data_profiling.data_profiling("prod.facts")
    workspace.refreshing = True
    data_profiling.data_profiling("prod.facts")


def test_without_predictions_there_is_nothing_to_profile(workspace: Workspace) -> None:
    with pytest.raises(NotFound, match=r"prod.other.predictions"):
        data_profiling.data_profiling("prod.other")
