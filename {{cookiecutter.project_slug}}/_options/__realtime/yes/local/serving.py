"""The laptop's serving endpoints: answers the part of the Databricks API that the project calls, over real HTTP.

Endpoints load models from the laptop's registry and predict with them. Their state is kept in `.local/serving.json`,
and each request is written to the endpoint's inference table, a Delta table below `.local/lakehouse`.
"""

import json
import logging
import random
import re
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from mlflow.exceptions import MlflowException
from mlflow.utils.proto_json_utils import dataframe_from_parsed_json

from .engine import STATE

TOKEN = "laptop"
# Column, type in Delta, type in Parquet: the part of an inference table that a laptop can fill.
PAYLOAD = [
    ("client_request_id", "string", pa.string()),
    ("databricks_request_id", "string", pa.string()),
    ("request_date", "date", pa.date32()),
    ("request_time", "timestamp", pa.timestamp("us", tz="UTC")),
    ("status_code", "integer", pa.int32()),
    ("execution_duration_ms", "long", pa.int64()),
    ("request", "string", pa.string()),
    ("response", "string", pa.string()),
    ("served_entity_id", "string", pa.string()),
]


class ApiError(Exception):
    """An answer other than 200, as Databricks words it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass
class Faults:
    """What goes wrong, for tests and for the lifecycle."""

    do_not_start: set[str] = field(default_factory=set)  # versions whose container does not come up
    do_not_answer: set[str] = field(default_factory=set)  # versions that answer each request with an error
    never_ready: bool = False  # updates stay under way
    conflicts: int = 0  # how many updates are refused, as if another one was under way


class Endpoints:
    """The endpoints of one laptop."""

    def __init__(self, root: Path, seconds: float = 0.3) -> None:
        """Take over what an earlier command left in `root`.

        Args:
            seconds: how long an update takes.
        """
        self.file = root.resolve() / STATE / "serving.json"
        self.lakehouse = root.resolve() / STATE / "lakehouse"
        self.seconds = seconds
        self.faults = Faults()
        self.lock = threading.RLock()
        self.models: dict[tuple[str, str], Any] = {}
        self.known: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8")) if self.file.exists() else {}

    def handle(self, method: str, path: str, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """Return what the API answers, and its headers.

        Raises:
            ApiError: for any answer but 200.
        """
        routes: list[tuple[str, str, Callable[..., Any]]] = [
            ("GET", "/.well-known/databricks-config", lambda: {}),  # the SDK asks every host for it
            ("POST", "/api/2.0/serving-endpoints", lambda: self.create(body)),
            ("GET", "/api/2.0/serving-endpoints/([^/]+)", self.get),
            ("PUT", "/api/2.0/serving-endpoints/([^/]+)/config", lambda name: self.update(name, body)),
            ("DELETE", "/api/2.0/serving-endpoints/([^/]+)", self.delete),
            ("PATCH", "/api/2.0/permissions/serving-endpoints/([^/]+)", lambda id: self.permit(id, body)),
            ("POST", "/serving-endpoints/([^/]+)/invocations", lambda name: self.invoke(name, None, body)),
            (
                *("POST", "/serving-endpoints/([^/]+)/served-models/([^/]+)/invocations"),
                lambda name, served: self.invoke(name, served, body),
            ),
        ]
        for wanted, pattern, action in routes:
            if method == wanted and (match := re.fullmatch(pattern, path)):
                answer = action(*match.groups())
                return answer if isinstance(answer, tuple) else (answer, {})
        raise ApiError(404, "ENDPOINT_NOT_FOUND", f"No API found for '{method} {path}'")

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        name = body["name"]
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,63}", name):
            raise ApiError(400, "INVALID_PARAMETER_VALUE", f"Endpoint name {name} is not allowed.")
        with self.lock:
            if name in self.known:
                raise ApiError(409, "RESOURCE_ALREADY_EXISTS", f"Endpoint with name {name} already exists.")
            table = body.get("ai_gateway", {}).get("inference_table_config", {})
            if table.get("enabled") and self.payload_folder(table).exists():
                raise ApiError(400, "INVALID_PARAMETER_VALUE", f"Table {table['table_name_prefix']}_payload exists.")
            self.known[name] = {
                "id": uuid.uuid4().hex,
                "name": name,
                "creation_timestamp": _now(),
                "ai_gateway": body.get("ai_gateway", {}),
                "tags": body.get("tags", []),
                "state": {"ready": "NOT_READY", "config_update": "NOT_UPDATING"},
                "permissions": [],
            }
            try:
                return self.begin(name, body["config"])
            except ApiError:
                del self.known[name]
                raise

    def get(self, name: str) -> dict[str, Any]:
        with self.lock:
            endpoint = self.settle(name)
            self.save()
            return {key: value for key, value in endpoint.items() if key != "permissions"}

    def update(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            endpoint = self.settle(name)
            if self.faults.conflicts > 0 or endpoint["state"]["config_update"] == "IN_PROGRESS":
                self.faults.conflicts -= 1
                raise ApiError(409, "RESOURCE_CONFLICT", f"Endpoint {name} is currently updating.")
            return self.begin(name, body)

    def delete(self, name: str) -> dict[str, Any]:
        with self.lock:
            self.settle(name)
            del self.known[name]
            self.save()
            return {}

    def permit(self, identifier: str, body: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            for endpoint in self.known.values():
                if endpoint["id"] == identifier:
                    new = [entry for entry in body["access_control_list"] if entry not in endpoint["permissions"]]
                    endpoint["permissions"] += new
                    self.save()
                    return {"object_id": f"/serving-endpoints/{identifier}"}
        raise ApiError(404, "RESOURCE_DOES_NOT_EXIST", f"No endpoint has the id {identifier}.")

    def begin(self, name: str, config: dict[str, Any]) -> dict[str, Any]:
        """Start an update to `config`, which is over after some seconds."""
        for entity in config["served_entities"]:
            try:
                self.look_up(entity["entity_name"], entity["entity_version"])
            except MlflowException as error:
                raise ApiError(404, "RESOURCE_DOES_NOT_EXIST", str(error)) from None
        if sum(route["traffic_percentage"] for route in config["traffic_config"]["routes"]) != 100:
            raise ApiError(400, "INVALID_PARAMETER_VALUE", "Traffic percentages must add up to 100.")
        endpoint = self.known[name]
        endpoint["state"]["config_update"] = "IN_PROGRESS"
        endpoint["pending_config"] = config | {"start_time": _now()}
        endpoint["last_updated_timestamp"] = _now()
        self.save()
        return {key: value for key, value in endpoint.items() if key != "permissions"}

    def settle(self, name: str) -> dict[str, Any]:
        """Return an endpoint, with its update finished if the time for that has come."""
        if name not in self.known:
            raise ApiError(404, "RESOURCE_DOES_NOT_EXIST", f"Endpoint with name '{name}' does not exist.")
        endpoint = self.known[name]
        pending = endpoint.get("pending_config")
        over = pending and _now() >= pending["start_time"] + 1000 * self.seconds and not self.faults.never_ready
        if endpoint["state"]["config_update"] != "IN_PROGRESS" or not over:
            return endpoint
        failures = {entity["name"]: self.failure_of(entity) for entity in pending["served_entities"]}
        if any(failures.values()):
            for entity in pending["served_entities"]:
                message = failures[entity["name"]] or ""
                state = "DEPLOYMENT_FAILED" if message else "DEPLOYMENT_READY"
                entity["state"] = {"deployment": state, "deployment_state_message": message}
            endpoint["state"]["config_update"] = "UPDATE_FAILED"
        else:
            for entity in pending["served_entities"]:
                entity["state"] = {"deployment": "DEPLOYMENT_READY", "deployment_state_message": ""}
            endpoint["config"] = {key: value for key, value in pending.items() if key != "start_time"}
            del endpoint["pending_config"]
            endpoint["state"] = {"ready": "READY", "config_update": "NOT_UPDATING"}
        return endpoint

    def failure_of(self, entity: dict[str, Any]) -> str:
        """Return why a served entity does not start, nothing if it does."""
        if entity["entity_version"] in self.faults.do_not_start:
            return "The container did not start."
        try:
            self.model(entity)
        except Exception as error:  # whatever a broken model raises
            return f"{type(error).__name__}: {error}"
        return ""

    def model(self, entity: dict[str, Any]) -> Any:
        key = entity["entity_name"], entity["entity_version"]
        if key not in self.models:
            self.models[key] = mlflow.pyfunc.load_model(self.look_up(*key))
        return self.models[key]

    def look_up(self, model: str, version: str) -> str:
        """Return the address of a version's files.

        Raises:
            MlflowException: if there is no such version.
        """
        mlflow.MlflowClient().get_model_version(model, version)
        return f"models:/{model}/{version}"

    def invoke(self, name: str, served: str | None, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """Predict with one served model, or with one that the traffic percentages choose."""
        with self.lock:
            endpoint = self.settle(name)
            self.save()
            config = endpoint.get("config")
        if config is None:
            raise ApiError(404, "RESOURCE_DOES_NOT_EXIST", f"Endpoint {name} is not ready.")
        if served is None:
            routes = config["traffic_config"]["routes"]
            weights = [route["traffic_percentage"] for route in routes]
            served = random.choices([route["served_model_name"] for route in routes], weights)[0]
        entity = next((entity for entity in config["served_entities"] if entity["name"] == served), None)
        if entity is None:
            raise ApiError(404, "RESOURCE_DOES_NOT_EXIST", f"Endpoint {name} has no served model {served}.")
        started = time.perf_counter()
        failed, answer = None, {}
        try:
            answer = self.predict(entity, body)
        except ApiError as error:
            failed, answer = error, {"error_code": error.code, "message": str(error)}
        table = endpoint["ai_gateway"].get("inference_table_config", {})
        if table.get("enabled"):
            moment = datetime.now(UTC)
            row = {
                "client_request_id": body.get("client_request_id"),
                "databricks_request_id": str(uuid.uuid4()),
                "request_date": moment.date(),
                "request_time": moment,
                "status_code": failed.status if failed else 200,
                "execution_duration_ms": round(1000 * (time.perf_counter() - started)),
                "request": json.dumps(body),
                "response": json.dumps(answer),
                "served_entity_id": f"{endpoint['id']}-{served}",
            }
            with self.lock:
                append(self.payload_folder(table), row)
        if failed:
            raise failed
        return answer, {"served-model-name": str(served)}

    def predict(self, entity: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        if entity["entity_version"] in self.faults.do_not_answer:
            raise ApiError(400, "BAD_REQUEST", "The model raised an error.")
        orient = next((key for key in ("records", "split") if f"dataframe_{key}" in body), None)
        if orient is None:
            raise ApiError(400, "BAD_REQUEST", "The request has neither dataframe_records nor dataframe_split.")
        try:
            model = self.model(entity)
            # As the scoring server of MLflow does, which serves on Databricks as well.
            rows = dataframe_from_parsed_json(body[f"dataframe_{orient}"], orient, model.metadata.get_input_schema())
            return {"predictions": np.asarray(model.predict(rows)).tolist()}
        except Exception as error:  # a request that does not fit the model
            raise ApiError(400, "BAD_REQUEST", f"{type(error).__name__}: {error}") from error

    def payload_folder(self, table: dict[str, Any]) -> Path:
        return self.lakehouse / table["catalog_name"] / table["schema_name"] / f"{table['table_name_prefix']}_payload"

    def save(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(self.known, indent=1), encoding="utf-8")


def append(table: Path, row: dict[str, Any]) -> None:
    """Add a row of PAYLOAD to a Delta table, which is made if there is none."""
    log = table / "_delta_log"
    log.mkdir(parents=True, exist_ok=True)
    version = len(list(log.glob("*.json")))
    data = table / f"part-{version:08d}-{uuid.uuid4()}.parquet"
    columns = pa.schema([(name, kind) for name, _, kind in PAYLOAD])
    pq.write_table(pa.Table.from_pylist([row], columns), data)
    actions: list[dict[str, Any]] = []
    if version == 0:
        fields = [{"name": name, "type": kind, "nullable": True, "metadata": {}} for name, kind, _ in PAYLOAD]
        metadata = {
            "id": str(uuid.uuid4()),
            "format": {"provider": "parquet", "options": {}},
            "schemaString": json.dumps({"type": "struct", "fields": fields}),
            "partitionColumns": [],
            "configuration": {},
            "createdTime": _now(),
        }
        actions = [{"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}, {"metaData": metadata}]
    size = data.stat().st_size
    file = {"path": data.name, "partitionValues": {}, "size": size, "modificationTime": _now(), "dataChange": True}
    actions.append({"add": file})
    (log / f"{version:020d}.json").write_text("\n".join(map(json.dumps, actions)), encoding="utf-8")


def _now() -> int:
    """Return the time in milliseconds."""
    return round(1000 * time.time())


class Handler(BaseHTTPRequestHandler):
    """Hands requests to the endpoints of its server."""

    endpoints: Endpoints

    def answer(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        headers: dict[str, str] = {}
        try:
            if self.headers.get("Authorization") != f"Bearer {TOKEN}" and not self.path.startswith("/.well-known/"):
                raise ApiError(401, "UNAUTHENTICATED", "The token is not valid.")
            (content, headers), status = self.endpoints.handle(self.command, self.path.partition("?")[0], body), 200
        except ApiError as error:
            content, status = {"error_code": error.code, "message": str(error)}, error.status
        data = json.dumps(content).encode()
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json", "Content-Length": str(len(data))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the terminal quiet."""


STARTED: dict[Path, tuple[Endpoints, str]] = {}


def start(root: Path) -> Endpoints:
    """Return the endpoints of the laptop state in `root`, which a server of this process answers for."""
    return _started(root)[0]


def environment(root: Path) -> dict[str, str]:
    """Return the environment variables that lead the Databricks SDK to the laptop's endpoints."""
    return {"DATABRICKS_HOST": _started(root)[1], "DATABRICKS_TOKEN": TOKEN, "DATABRICKS_AUTH_TYPE": "pat"}


def _started(root: Path) -> tuple[Endpoints, str]:
    root = root.resolve()
    if root not in STARTED:
        endpoints = Endpoints(root)
        # It warns at each request of the key, which the model ignores as it should.
        logging.getLogger("mlflow.models.utils").setLevel(logging.ERROR)
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"endpoints": endpoints}))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        STARTED[root] = endpoints, f"http://127.0.0.1:{server.server_port}"
    return STARTED[root]
