"""Emulated workspaces: MLflow's own tracking server, a Unity Catalog, and what else a project asks of a workspace.

Several workspaces may share a metastore. Each token is an identity, and each workspace lets in only its members. Runs,
experiments and LoggedModels belong to one workspace: the others know nothing of them.
"""

import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from metastore import ApiError, Metastore, Registry
from mlflow.exceptions import MlflowException
from mlflow.server import app, handlers
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

Endpoints = Callable[[str, str, str, dict[str, Any]], tuple[dict[str, Any], dict[str, str]]]


@cache
def new_database() -> Path:
    """Return a database of MLflow without runs. To make one takes it seconds, to copy it none."""
    path = Path(mkdtemp()) / "mlflow.db"
    SqlAlchemyStore(f"sqlite:///{path.as_posix()}", path.parent.as_uri()).engine.dispose()
    return path


HERE = threading.local()  # the tracking store of the workspace that answers in this thread
vars(handlers)["_get_tracking_store"] = lambda *_: HERE.store


class Workspace:
    """One workspace, at an address of its own."""

    def __init__(self, name: str, number: int, folder: Path, metastore: Metastore, members: set[str]) -> None:
        """
        Args:
            number: id of the workspace.
            folder: where the tracking server keeps runs and their artifacts.
            members: identities that may log in.
        """
        folder.mkdir(parents=True)
        self.name, self.number, self.metastore, self.members = name, number, metastore, members
        database = Path(shutil.copy(new_database(), folder))
        self.store = SqlAlchemyStore(f"sqlite:///{database.as_posix()}", (folder / "artifacts").as_uri())
        self.registry = Registry(metastore, self.has_logged_model)
        self.endpoints: Endpoints | None = None
        self.jobs: dict[int, dict[str, Any]] = {}  # settings of the deployed jobs, by id
        self.calls: list[tuple[str, str, str]] = []  # identity, method and path of each call
        self.address = ""

    def has_logged_model(self, model_id: str) -> bool:
        try:
            self.store.get_logged_model(model_id)
        except MlflowException:
            return False
        return True

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        request = Request(environ)
        environ["wsgi.input"] = BytesIO(request.get_data())  # the tracking server reads it as well
        try:
            answer = self.answer(request)
        except ApiError as error:
            answer = {"error_code": error.code, "message": str(error)}, {}, error.status
        if answer is None:  # a call to the tracking server
            HERE.store = self.store
            return app(environ, self.with_number(start_response))
        content, headers, status = answer
        data = content if isinstance(content, bytes) else json.dumps(content)
        response = Response(data, status, {"Content-Type": "application/json"} | headers)
        return response(environ, self.with_number(start_response))

    def with_number(self, start_response: Any) -> Any:
        """Return a `start_response` that says which workspace answered, as Databricks does."""
        return lambda status, headers, *rest: start_response(
            status, [*headers, ("x-databricks-org-id", str(self.number))], *rest
        )

    def answer(self, request: Request) -> tuple[Any, dict[str, str], int] | None:
        """Return content, headers and status; None for what the tracking server answers."""
        method, path = request.method, request.path
        if path == "/.well-known/databricks-config":
            return {}, {}, 200
        if path == "/oidc/.well-known/oauth-authorization-server":
            endpoint = f"{self.address}/oidc/v1/token"
            return {"token_endpoint": endpoint, "authorization_endpoint": endpoint}, {}, 200
        if path == "/oidc/v1/token":  # the token of a CI job says who it is
            return {"access_token": request.form["subject_token"], "token_type": "Bearer", "expires_in": 3600}, {}, 200
        if path.startswith("/presigned/"):  # whoever has the address needs no token
            return self.file(method, path.removeprefix("/presigned"), request), {}, 200
        identity = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.calls.append((identity, method, path))
        if identity not in self.members:
            raise ApiError(403, "PERMISSION_DENIED", f"User '{identity}' is not authorized for workspace {self.name}.")
        body = (request.get_json(silent=True) or {}) if method != "GET" else request.args.to_dict()
        if path.startswith("/api/2.0/mlflow/unity-catalog/"):
            return self.registry.handle(identity, method, path, body), {}, 200
        if path.startswith("/api/2.0/fs/directories/"):
            with self.metastore.lock:
                return self.registry.list_files(identity, path.removeprefix("/api/2.0/fs/directories")), {}, 200
        if match := re.fullmatch("/api/2.0/fs/create-(upload|download)-url", path):
            with self.metastore.lock:
                self.registry.located(identity, body["path"], writes=match[1] == "upload")
            return {"url": f"{self.address}/presigned{body['path']}?as={identity}", "headers": []}, {}, 200
        if path == "/api/2.0/preview/scim/v2/Me":
            return {"userName": identity, "id": identity}, {}, 200
        if path == "/api/2.2/jobs/get":
            if (job := self.jobs.get(int(body["job_id"]))) is None:
                raise ApiError(400, "INVALID_PARAMETER_VALUE", f"Job {body['job_id']} does not exist.")
            return {"job_id": int(body["job_id"]), "settings": job}, {}, 200
        if "serving-endpoints" in path and self.endpoints is not None:
            return *self.endpoints(identity, method, path, body), 200
        if path.startswith("/api/2.0/mlflow/"):
            if path.endswith("/experiments/create") and not body["name"].startswith("/"):
                raise ApiError(400, "INVALID_PARAMETER_VALUE", f"Got an invalid experiment name '{body['name']}'.")
            return None
        raise ApiError(404, "ENDPOINT_NOT_FOUND", f"No API found for '{method} {path}'")

    def file(self, method: str, path: str, request: Request) -> bytes:
        with self.metastore.lock:
            version, name = self.registry.located(request.args["as"], path, writes=method == "PUT")
            if method == "PUT":
                if self.metastore.uploads_left is not None:
                    self.metastore.uploads_left -= 1
                    if self.metastore.uploads_left < 0:
                        raise ApiError(403, "FORBIDDEN", "This address is no longer valid.")
                version.files[name] = request.get_data()
                return b""
            if name not in version.files:
                raise ApiError(404, "NOT_FOUND", f"No file {path}.")
            return version.files[name]


class Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        """Keep the terminal quiet."""


@contextmanager
def serving(*workspaces: Workspace) -> Iterator[None]:
    """Let the workspaces answer, each at its own address on this machine."""
    servers = [make_server("127.0.0.1", 0, workspace, threaded=True, request_handler=Quiet) for workspace in workspaces]
    for workspace, server in zip(workspaces, servers, strict=True):
        workspace.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        for server in servers:
            server.shutdown()
