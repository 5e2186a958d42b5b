"""A workspace in memory, as far as the Databricks CLI needs one for the bundles of these projects.

It keeps what it is given and gives it back: files, jobs and their runs, experiments, schemas, models, dashboards,
alerts, grants and permissions. Each token is a workspace of its own. It runs no job: a run has succeeded as soon as it
has started. It has one SQL warehouse, which runs no query. Ask for anything else, and the answer is 501 with the name
of what is missing.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import PurePosixPath
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

USER = {"id": "1", "userName": "tester@example.com", "groups": [{"display": "users"}]}
OIDC_TOKEN = "oauth-token"  # for whoever logs in with OIDC, whatever it shows
WAREHOUSE = {"id": "0123456789abcdef", "name": "Serverless Starter Warehouse"}
IDS = count(1000)  # no two things anywhere have the same


class MissingError(LookupError):
    """There is no such thing in the workspace."""


@dataclass
class Workspace:
    """What one workspace holds."""

    files: dict[str, bytes | None] = field(default_factory=lambda: {"/": None})  # None for a folder
    things: dict[str, dict[str, Any]] = field(default_factory=lambda: defaultdict(dict))  # by kind and id
    grants: dict[str, dict[str, set[str]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(set)))
    permissions: dict[str, list[Any]] = field(default_factory=dict)

    def get(self, kind: str, key: str) -> Any:
        """Return a thing, or raise MissingError."""
        if key not in self.things[kind]:
            raise MissingError(f"{kind} {key}")
        return self.things[kind][key]

    # Files

    def status(self, path: str) -> Any:
        if path not in self.files:
            raise MissingError(f"path {path}")
        kind = "DIRECTORY" if self.files[path] is None else "FILE"
        return {"path": path, "object_type": kind, "object_id": 1 + list(self.files).index(path)}

    def make_folder(self, path: str) -> Any:
        for folder in (path, *map(str, PurePosixPath(path).parents)):
            self.files.setdefault(folder, None)
        return {}

    def write(self, path: str, content: bytes, overwrite: bool) -> Any:
        """Raises FileExistsError if there is such a file already, and MissingError if its folder is missing."""
        self.status(str(PurePosixPath(path).parent))
        if path in self.files and not overwrite:
            raise FileExistsError(path)
        self.files[path] = content
        return {}

    def read(self, path: str) -> bytes:
        self.status(path)
        return self.files[path] or b""

    def contents(self, path: str) -> Any:
        self.status(path)
        inside = [name for name in self.files if name != path and str(PurePosixPath(name).parent) == path]
        return {"objects": [self.status(name) for name in inside]}

    def delete(self, path: str) -> Any:
        self.status(path)
        for name in [name for name in self.files if f"{name}/".startswith(f"{path}/")]:
            del self.files[name]
        return {}

    # Jobs

    def make_job(self, settings: Any) -> Any:
        number = next(IDS)
        self.things["jobs"][str(number)] = {
            "job_id": number,
            "creator_user_name": USER["userName"],
            "settings": settings,
        }
        return {"job_id": number}

    def start(self, job: int) -> Any:
        self.get("jobs", str(job))
        number = next(IDS)
        state = {"life_cycle_state": "TERMINATED", "result_state": "SUCCESS"}
        run = {
            "run_id": number,
            "job_id": job,
            "state": state,
            "run_page_url": f"http://workspace/jobs/{job}/runs/{number}",
        }
        self.things["runs"][str(number)] = run
        return {"run_id": number}

    # Dashboards and alerts

    def write_dashboard(self, given: Any, where: dict[str, str], key: str = "") -> Any:
        """Make or change the draft of a dashboard. Its datasets get the catalog and the schema that are asked for.

        Raises MissingError if there is no such folder.
        """
        known = self.get("dashboards", key) if key else {"dashboard_id": f"{next(IDS):032x}", "published": None}
        if "parent_path" in given and not key:
            self.status(given["parent_path"])
            given = given | {"parent_path": given["parent_path"].removeprefix("/Workspace")}
        if "serialized_dashboard" in given:
            content = json.loads(given["serialized_dashboard"])
            for dataset in content["datasets"]:
                dataset |= {name.removeprefix("dataset_"): value for name, value in where.items()}
            given = given | {"serialized_dashboard": json.dumps(content)}
        number = next(IDS)  # serves as a clock as well
        draft = {"etag": str(number), "update_time": moment(number), "lifecycle_state": "ACTIVE"}
        self.things["dashboards"][known["dashboard_id"]] = known | given | draft
        return self.draft(known["dashboard_id"])

    def draft(self, key: str) -> Any:
        return {name: value for name, value in self.get("dashboards", key).items() if name != "published"}

    def publish(self, key: str, given: Any) -> Any:
        self.get("dashboards", key)["published"] = given | {"revision_create_time": moment(next(IDS))}
        return self.published(key)

    def published(self, key: str) -> Any:
        found = self.get("dashboards", key)["published"]
        if found is None:
            raise MissingError(f"published dashboard {key}")
        return found

    def make_alert(self, given: Any) -> Any:
        key = str(next(IDS))
        self.things["alerts"][key] = given | {"id": key, "lifecycle_state": "ACTIVE"}
        return self.things["alerts"][key]

    # Unity Catalog and permissions

    def make(self, kind: str, given: Any) -> Any:
        """Make a schema or a registered model, and return it."""
        name = ".".join(given[part] for part in ("catalog_name", "schema_name", "name") if part in given)
        self.things[kind][name] = given | {"full_name": name, "owner": USER["userName"]}
        return self.things[kind][name]

    def grant(self, what: str, changes: list[Any]) -> Any:
        for change in changes:
            self.grants[what][change["principal"]] |= set(change.get("add", []))
            self.grants[what][change["principal"]] -= set(change.get("remove", []))
        return self.granted(what)

    def granted(self, what: str) -> Any:
        found = self.grants[what].items()
        return {"privilege_assignments": [{"principal": who, "privileges": sorted(had)} for who, had in found if had]}

    def permit(self, what: str, entries: list[Any]) -> Any:
        def answered(entry: Any) -> Any:
            level = {"permission_level": entry["permission_level"], "inherited": False}
            return {name: value for name, value in entry.items() if name != "permission_level"} | {
                "all_permissions": [level]
            }

        self.permissions[what] = [answered(entry) for entry in entries]
        return self.permitted(what)

    def permitted(self, what: str) -> Any:
        return {"object_id": f"/{what}", "access_control_list": self.permissions.get(what, [])}

    def experiment(self, **wanted: str) -> Any:
        for found in self.things["experiments"].values():
            if wanted.items() <= found.items():
                return {"experiment": found}
        raise MissingError(f"experiment {wanted}")

    def make_experiment(self, given: Any) -> Any:
        number = str(next(IDS))
        where = {"lifecycle_stage": "active", "artifact_location": f"dbfs:/{number}"}
        self.things["experiments"][number] = {"experiment_id": number, **where, **given}
        return {"experiment_id": number}


def moment(number: int) -> str:
    """Return a time that is the later, the larger the number is."""
    return f"{datetime.fromtimestamp(number, UTC):%Y-%m-%dT%H:%M:%SZ}"


def routes(workspace: Workspace, query: dict[str, str], content: bytes, address: str) -> dict[str, Callable[..., Any]]:
    """Return what answers each method and path; the groups of a path are the arguments."""
    body = json.loads(content) if content[:1] == b"{" else {}
    things, catalog = workspace.things, "/api/2.1/unity-catalog"
    kinds = {"schemas": "schemas", "models": "registered models"}
    lakeview = "/api/2.0/lakeview/dashboards"

    def change(kind: str, key: str) -> Any:
        return workspace.get(kind, key).update(body) or workspace.get(kind, key)

    def remove(kind: str, key: str) -> Any:
        workspace.get(kind, key)
        del things[kind][key]
        return {}

    return {
        "GET /.well-known/databricks-config": lambda: {"oidc_endpoint": f"{address}/oidc", "workspace_id": "1"},
        "GET /oidc/.well-known/oauth-authorization-server": lambda: {
            "authorization_endpoint": f"{address}/oidc/v1/authorize",
            "token_endpoint": f"{address}/oidc/v1/token",
        },
        "POST /oidc/v1/token": lambda: {"access_token": OIDC_TOKEN, "token_type": "Bearer", "expires_in": 3600},
        "POST /telemetry-ext": lambda: {"errors": [], "numProtoSuccess": 1},
        "GET /api/2.0/preview/scim/v2/Me": lambda: USER,
        "GET /api/2.0/workspace/get-status": lambda: workspace.status(query["path"]),
        "GET /api/2.0/workspace/list": lambda: workspace.contents(query["path"]),
        "GET /api/2.0/workspace/export": lambda: workspace.read(query["path"]),
        "POST /api/2.0/workspace/mkdirs": lambda: workspace.make_folder(body["path"]),
        "POST /api/2.0/workspace/delete": lambda: workspace.delete(body["path"]),
        "GET /api/2.0/workspace-files/(.+)": lambda path: workspace.read(f"/{path}"),
        "POST /api/2.0/workspace-files/import-file/(.+)": lambda path: workspace.write(
            f"/{path}", content, query.get("overwrite") == "true"
        ),
        "POST /api/2.2/jobs/create": lambda: workspace.make_job(body),
        "POST /api/2.2/jobs/reset": lambda: change("jobs", str(body["job_id"])) and {},
        "POST /api/2.2/jobs/delete": lambda: remove("jobs", str(body["job_id"])),
        "POST /api/2.2/jobs/run-now": lambda: workspace.start(body["job_id"]),
        "GET /api/2.2/jobs/get": lambda: workspace.get("jobs", query["job_id"]),
        "GET /api/2.2/jobs/list": lambda: {"jobs": list(things["jobs"].values())},
        "GET /api/2.2/jobs/runs/get": lambda: workspace.get("runs", query["run_id"]),
        "GET /api/2.2/jobs/runs/list": lambda: {"runs": list(things["runs"].values())},
        "POST /api/2.0/mlflow/experiments/create": lambda: workspace.make_experiment(body),
        "POST /api/2.0/mlflow/experiments/delete": lambda: remove("experiments", body["experiment_id"]),
        "GET /api/2.0/mlflow/experiments/get": lambda: workspace.experiment(experiment_id=query["experiment_id"]),
        "GET /api/2.0/mlflow/experiments/get-by-name": lambda: workspace.experiment(name=query["experiment_name"]),
        "GET /api/2.0/sql/warehouses": lambda: {"warehouses": [WAREHOUSE]},
        f"POST {lakeview}": lambda: workspace.write_dashboard(body, query),
        rf"GET {lakeview}/(\w+)": workspace.draft,
        rf"PATCH {lakeview}/(\w+)": lambda key: workspace.write_dashboard(body, query, key),
        rf"DELETE {lakeview}/(\w+)": lambda key: remove("dashboards", key),
        rf"POST {lakeview}/(\w+)/published": lambda key: workspace.publish(key, body),
        rf"GET {lakeview}/(\w+)/published": workspace.published,
        "POST /api/2.0/alerts": lambda: workspace.make_alert(body),
        r"GET /api/2.0/alerts/(\d+)": lambda key: workspace.get("alerts", key),
        r"PATCH /api/2.0/alerts/(\d+)": lambda key: change("alerts", key),
        r"DELETE /api/2.0/alerts/(\d+)": lambda key: remove("alerts", key),
        f"POST {catalog}/(schemas|models)": lambda kind: workspace.make(kinds[kind], body),
        f"GET {catalog}/(schemas|models)/(.+)": lambda kind, name: workspace.get(kinds[kind], name),
        f"PATCH {catalog}/(schemas|models)/(.+)": lambda kind, name: change(kinds[kind], name),
        f"DELETE {catalog}/(schemas|models)/(.+)": lambda kind, name: remove(kinds[kind], name),
        f"GET {catalog}/permissions/(.+)": workspace.granted,
        f"PATCH {catalog}/permissions/(.+)": lambda what: workspace.grant(what, body["changes"]),
        "GET /api/2.0/permissions/(.+)": workspace.permitted,
        "PUT /api/2.0/permissions/(.+)": lambda what: workspace.permit(what, body["access_control_list"]),
    }


class Server(ThreadingHTTPServer):
    """Answers for the workspaces of all tokens."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.workspaces: dict[str, Workspace] = defaultdict(Workspace)
        self.lock = Lock()


class Answer(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        code, found = 501, {"error_code": "NOT_IMPLEMENTED", "message": f"{self.command} {url.path}"}
        with self.server.lock:
            workspace = self.server.workspaces[self.headers.get("Authorization", "")]
            for route, function in routes(workspace, query, content, self.server.address).items():
                if match := re.fullmatch(route, f"{self.command} {unquote(url.path)}"):
                    code, found = self.ask(lambda: function(*match.groups()))  # noqa: B023 - called at once
                    break
        data = found if isinstance(found, bytes) else json.dumps(found).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/octet-stream" if data is found else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - names of the base class

    def ask(self, function: Callable[[], Any]) -> tuple[int, Any]:
        try:
            return 200, function()
        except MissingError as error:
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"{error} does not exist"}
        except FileExistsError as error:
            return 409, {"error_code": "RESOURCE_ALREADY_EXISTS", "message": f"{error} already exists"}

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def start() -> str:
    """Start a server that lives as long as this process, and return its address."""
    server = Server()
    Thread(target=server.serve_forever, daemon=True).start()
    return server.address
