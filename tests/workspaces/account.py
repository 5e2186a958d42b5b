"""A rendered project in emulated workspaces: it is deployed, its jobs run as their identities, and people use it.

Tables are those of the laptop, Delta below `.local/lakehouse`, on which Spark here enforces no privileges. Everything
about models goes to the workspace of the target, with the token of whoever does it.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import date
from functools import partial
from importlib import import_module
from io import StringIO
from multiprocessing import forkserver
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import mlflow
from metastore import Metastore
from mlflow.utils.rest_utils import get_workspace_client
from pyspark.sql import SparkSession
from task_process import execute_as
from workspace import Workspace, serving

from local import jobs
from local.bundle import load_bundle
from local.engine import STATE, open_session
from PACKAGE import models
from PACKAGE.platform import tables

TARGETS = ("dev", "staging", "prod")
SCIENTIST, APPROVER, OUTSIDER = "ada", "grace", "mallory"
# An emulated workspace that fails will fail again.
IMPATIENT = {"MLFLOW_DATABRICKS_ENDPOINT_HTTP_RETRY_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
GROUPS = {"data-scientists": {SCIENTIST}, "model-approvers": {APPROVER}}
DATABRICKS = {"MLFLOW_TRACKING_URI": "databricks", "MLFLOW_REGISTRY_URI": "databricks-uc", **IMPATIENT}


def identity_of(target: str) -> str:
    """Return who deploys a target, and whom its jobs run as: in dev a data scientist, else a service principal."""
    return SCIENTIST if target == "dev" else f"service-principal-of-{target}"


@dataclass
class Deployment:
    """The project in the workspace of one target."""

    target: str
    workspace: Workspace
    identity: str
    bundle: dict[str, Any]

    @property
    def catalog(self) -> str:
        return self.bundle["var"]["catalog"]

    @property
    def model(self) -> str:
        return self.bundle["resources"]["registered_models"]["model"]["id"]

    def environment(self, identity: str) -> dict[str, str]:
        """Return the variables that lead somebody's MLflow and SDK to this workspace."""
        own = {"DATABRICKS_HOST": self.workspace.address, "DATABRICKS_TOKEN": identity, "DATABRICKS_AUTH_TYPE": "pat"}
        return DATABRICKS | own


class Account:
    """All environments of a project, and whoever works with them."""

    def __init__(self, root: Path, deployments: dict[str, Deployment], realtime: bool) -> None:
        self.servers = ExitStack()
        self.root, self.deployments, self.realtime = root, deployments, realtime
        self.laptop = jobs.Laptop(root)
        self.endpoints: dict[str, Any] = {}
        self.lakehouse = root.resolve() / STATE / "lakehouse"

    # --- what an administrator does

    def grant_what_the_documents_say(self) -> None:
        """Execute each GRANT of the project's documents that is about catalogs, schemas and models."""
        for page in sorted((self.root / "docs").glob("*.md")):
            text = page.read_text(encoding="utf-8")
            for block in re.findall(r"```sql\n(.*?)```", text, re.DOTALL):
                for statement in block.split(";"):
                    self.grant(statement)

    def grant(self, statement: str) -> None:
        match = re.search(r"GRANT ([A-Z, ]+) ON (CATALOG|SCHEMA|FUNCTION) (\S+) TO `(.+)`", statement)
        if match is None or "<catalog>" in match[3]:  # a table of the team's own, which is no matter of models
            return
        securable = match[3].replace("`", "").replace("dev_<name>_", "")
        if match[4].startswith("<application"):  # the one of the catalog
            catalog = securable.split(".")[0]
            principal = next(d.identity for d in self.deployments.values() if d.catalog == catalog)
        else:
            named = re.fullmatch(r"<identity of (\w+)>", match[4])
            principal = identity_of(named[1]) if named else match[4]
        for metastore in {id(d.workspace.metastore): d.workspace.metastore for d in self.deployments.values()}.values():
            metastore.grant(principal, match[1].split(","), securable)

    def move_away(self, target: str) -> None:
        """Give a target a workspace of its own in another metastore; it can still log in to the others."""
        deployment = self.deployments[target]
        old = deployment.workspace
        for other in self.deployments.values():
            other.workspace.members.add(deployment.identity)
        elsewhere = Metastore(GROUPS, owners={deployment.catalog: "owner of the catalogs"})
        workspace = Workspace(f"{target}-elsewhere", 2000, Path(mkdtemp()) / "state", elsewhere, set(old.members))
        self.servers.enter_context(serving(workspace))
        self.serve(workspace)
        deployment.workspace = workspace
        self.grant_what_the_documents_say()
        self.deploy(target)

    # --- what the Databricks CLI does

    def deploy(self, target: str) -> None:
        """Create or update the resources of a target as its identity. Nothing runs."""
        deployment = self.deployments[target]
        metastore, identity = deployment.workspace.metastore, deployment.identity
        resources = deployment.bundle["resources"]
        for schema in resources["schemas"].values():
            metastore.create_schema(identity, schema["id"])
            metastore.set_grants(schema["id"], schema.get("grants"))
            folder = self.root / STATE / "lakehouse" / schema["catalog_name"] / schema["name"]
            folder.mkdir(parents=True, exist_ok=True)
        for model in resources["registered_models"].values():
            metastore.create_model(identity, model["id"], model.get("comment", ""))
            metastore.set_grants(model["id"], model.get("grants"))
        with self.working_as(identity, target):
            client = mlflow.MlflowClient()
            for experiment in resources["experiments"].values():
                if client.get_experiment_by_name(experiment["name"]) is None:
                    client.create_experiment(experiment["name"])
        for number, (key, job) in enumerate(resources["jobs"].items(), start=100 * (1 + TARGETS.index(target))):
            deployment.workspace.jobs[number] = job | {"key": key, "target": target}

    def run(self, target: str, job: str, until: str | None = None, **parameters: object) -> None:
        """Run a job of a target to its end or to a task, as the identity that deploys it.

        Raises:
            jobs.JobError: if a task fails.
        """
        deployment = self.deployments[target]
        texts = {
            name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in parameters.items()
        }
        jobs.execute = partial(execute_as, deployment.environment(deployment.identity))
        jobs.JobRun(self.laptop, deployment.bundle, job, texts).run(until)

    def cli(self, identity: str, *arguments: str) -> str:
        """Answer what the project's commands ask the Databricks CLI for.

        Raises:
            models.CommandError: if the CLI would fail.
        """
        match arguments:
            case ["bundle", "summary", "--target", target, "--output", "json"]:
                return self.summary(target, identity)
            case ["bundle", "run", job, "--target", target, *pairs]:
                # Each value is a row of CSV, so the pair stands in quotes.
                texts = [pair.strip('"').partition("=") for pair in pairs if pair != "--params"]
                if identity != self.deployments[target].identity:  # only who deployed finds the deployment
                    raise models.CommandError(f"{identity} has not deployed {target}")
                try:
                    self.run(target, job, **{name: value for name, _, value in texts})
                except jobs.JobError as error:
                    raise models.CommandError(str(error)) from None
                return ""
        raise AssertionError(f"nobody calls databricks {' '.join(arguments)}")

    def summary(self, target: str, identity: str) -> str:
        """Return what `bundle summary` prints; only who deployed finds ids in it."""
        deployment = self.deployments[target]
        resources = json.loads(json.dumps(load_bundle(self.root, target)["resources"]))
        numbers = {job["key"]: number for number, job in deployment.workspace.jobs.items() if job["target"] == target}
        for key, job in resources["jobs"].items():
            job.pop("id")
            if identity == deployment.identity:
                job["id"] = str(numbers[key])
        if identity != deployment.identity:
            for kind in ("schemas", "registered_models"):
                for resource in resources[kind].values():
                    resource.pop("id")
        return json.dumps({"resources": resources, "workspace": {"host": deployment.workspace.address}})

    # --- what people do

    def ask(self, target: str, identity: str, today: date, days: int) -> None:
        """Let `identity` send the rows of the `days` days before `today` to the endpoint of a target."""
        deployment = self.deployments[target]
        source = deployment.bundle["var"]["source_table"]
        with self.working_as(identity, target):
            import_module("endpoints").ask_for_days(self.lakehouse, source, deployment.model, today, days)

    def served(self, target: str) -> dict[int, int]:
        """Return the share of the requests that each version of a target gets, in percent."""
        deployment = self.deployments[target]
        return self.endpoints[deployment.workspace.name].served(deployment.model)

    def serve(self, workspace: Workspace) -> None:
        """Give a workspace serving endpoints, if the project has any use for them."""
        if self.realtime:
            self.endpoints[workspace.name] = import_module("endpoints").WorkspaceEndpoints(self.root, workspace)

    def rows(self, target: str, table: str, condition: str) -> list[Any]:
        """Return the rows of a table of a target."""
        schema = self.deployments[target].bundle["resources"]["schemas"]["schema"]["id"]
        return tables.read(open_session(self.lakehouse), f"{schema}.{table}").where(condition).collect()

    def versions(self, target: str) -> dict[int, Any]:
        deployment = self.deployments[target]
        return deployment.workspace.metastore.models[deployment.model].versions

    @contextmanager
    def working_as(self, identity: str, target: str = "") -> Iterator[None]:
        """Let the code of this process log in as `identity`, to the workspace of `target`.

        Without a target it logs in to whichever workspace it calls, with OIDC as pipelines do.
        """
        pipeline = {"DATABRICKS_AUTH_TYPE": "env-oidc", "DATABRICKS_OIDC_TOKEN": identity}
        before = dict(os.environ)
        os.environ.update(self.deployments[target].environment(identity) if target else DATABRICKS | pipeline)
        get_workspace_client.cache_clear()
        mlflow.set_tracking_uri("databricks")
        mlflow.set_registry_uri("databricks-uc")
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)
            get_workspace_client.cache_clear()

    def type(self, identity: str, *arguments: str) -> str:
        """Type `uv run models …` as `identity`, and return what it prints.

        Raises:
            SystemExit: with the sentence that it ends with, if it fails.
        """
        out, argv, databricks = StringIO(), sys.argv, models.databricks
        sys.argv = ["models", *arguments]
        models.databricks = lambda *call: self.cli(identity, *call)
        try:
            with self.working_as(identity), redirect_stdout(out), redirect_stderr(out):
                models.main()
        except SystemExit as error:
            raise SystemExit(f"{out.getvalue()}{error.code}") from None
        finally:
            sys.argv, models.databricks = argv, databricks
        print(f"    {identity}: models {' '.join(arguments)}\n      {out.getvalue().strip()}", flush=True)
        return out.getvalue()


@contextmanager
def spark_apart(catalogs: list[str]) -> Iterator[None]:
    """Run Spark in a process without anybody's credentials, which is where functions run on Databricks as well."""
    serve = (
        "import os, sys; from local.engine import spark_server\n"
        "with spark_server(sys.argv[1:]): print(os.environ['SPARK_REMOTE'], flush=True); sys.stdin.read()"
    )
    known = {name: os.environ[name] for name in ("PATH", "PYTHONPATH")} | {"HOME": mkdtemp()}
    command = [sys.executable, "-c", serve, *catalogs]
    with subprocess.Popen(command, env=known, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None and server.stdout is not None
        os.environ["SPARK_REMOTE"] = server.stdout.readline().strip()
        try:
            yield
        finally:
            if (session := SparkSession.getActiveSession()) is not None:
                session.stop()
            server.stdin.close()


@contextmanager
def account(root: Path, workspaces: int, realtime: bool) -> Iterator[Account]:
    """Start the workspaces of the project in `root`, three or one, that share a metastore."""
    folder = Path(mkdtemp())
    bundles = {target: load_bundle(root, target) for target in TARGETS}
    catalogs = list(dict.fromkeys(bundle["var"]["catalog"] for bundle in bundles.values()))
    metastore = Metastore(GROUPS, owners=dict.fromkeys(catalogs, "owner of the catalogs"))
    people = {SCIENTIST, APPROVER, OUTSIDER}
    places = [
        Workspace(name, number, folder / name, metastore, people | set(map(identity_of, TARGETS[number::workspaces])))
        for number, name in enumerate(TARGETS[:workspaces])
    ]
    deployments = {
        target: Deployment(target, places[number % workspaces], identity_of(target), bundles[target])
        for number, target in enumerate(TARGETS)
    }
    with serving(*places), spark_apart(catalogs):
        if sys.platform == "linux":
            jobs.PROCESSES.set_forkserver_preload(["task_process"])
            forkserver.ensure_running()
        started = Account(root, deployments, realtime)
        for place in places:
            started.serve(place)
        with started.servers:
            yield started
