"""Serving endpoints of an emulated workspace: the laptop's, with permissions and with models of Unity Catalog."""

from datetime import date, timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from metastore import ApiError, denied
from mlflow.exceptions import MlflowException
from workspace import Workspace

from local import serving
from local.engine import open_session
from PACKAGE.platform.data import feature_rows
from PACKAGE.platform.serving import endpoint_name
from PACKAGE.tasks.query_endpoint import query


class WorkspaceEndpoints(serving.Endpoints):
    """The endpoints of one workspace. Whoever made one owns it; callers need what the owner has given them."""

    def __init__(self, root: Path, workspace: Workspace) -> None:
        super().__init__(root)
        self.file = Path(mkdtemp()) / "serving.json"
        self.workspace = workspace
        self.owners: dict[str, str] = {}
        workspace.endpoints = self.answer

    def answer(
        self, identity: str, method: str, path: str, body: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Answer a call of somebody.

        Raises:
            ApiError: for any answer but 200.
        """
        config = body.get("config", body)
        for entity in config.get("served_entities", []):
            self.workspace.metastore.need(identity, ("EXECUTE",), entity["entity_name"])
        name = next(
            (known for known in self.known if f"/{known}" in path or f"/{self.known[known]['id']}" in path), None
        )
        if name is not None and identity != self.owners[name] and not self.may_query(identity, name, path, method):
            raise denied(f"{identity} does not have CAN_MANAGE on endpoint {name}.")
        try:
            answer = self.handle(method, path, body)
        except serving.ApiError as error:
            raise ApiError(error.status, error.code, str(error)) from None
        if path == "/api/2.0/serving-endpoints":
            self.owners[body["name"]] = identity
        return answer

    def may_query(self, identity: str, name: str, path: str, method: str) -> bool:
        groups = {entry["group_name"] for entry in self.known[name]["permissions"]}
        allowed = any(identity in self.workspace.metastore.groups.get(group, ()) for group in groups)
        return allowed and (method == "GET" or path.endswith(f"/{name}/invocations"))

    def look_up(self, model: str, version: str) -> str:
        try:
            found = self.workspace.metastore.version(model, version)
        except ApiError as error:
            raise MlflowException(str(error)) from None
        folder = Path(mkdtemp())
        for path, content in found.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        return str(folder)

    def served(self, model: str) -> dict[int, int]:
        """Return the share of the requests that each version of `model` gets, in percent."""
        routes = self.get(endpoint_name(model))["config"]["traffic_config"]["routes"]
        return {int(route["served_model_name"].removeprefix("v")): route["traffic_percentage"] for route in routes}


def ask_for_days(lakehouse: Path, source_table: str, model: str, today: date, days: int) -> None:
    """Send the rows of the `days` days before `today` to the endpoint of `model`, as whoever is logged in."""
    first = today - timedelta(days=days)
    rows = feature_rows(open_session(lakehouse), source_table, first, today).toPandas()
    print(f"    {len(list(query(endpoint_name(model), rows)))} requests are answered", flush=True)
