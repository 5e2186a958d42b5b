"""The life of a model on emulated workspaces, told with a rendered project's own jobs and commands.

    python workspaces PATTERN INFERENCE NUMBER_OF_WORKSPACES

Runs in the folder of the project, with its packages. What is checked is written from the definition of the patterns.
"""

import json
import runpy
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace

import cloudpickle
import mlflow
from account import APPROVER, OUTSIDER, SCIENTIST, TARGETS, Account, account, identity_of
from databricks.sdk.errors import DatabricksError
from mlflow.exceptions import MlflowException

from local.engine import open_session
from local.jobs import JobError
from PACKAGE.platform import registry

DAY_ONE = date(2026, 3, 2)
WEEK = timedelta(days=7)


def promise(holds: object, text: str) -> None:
    assert holds, text
    print(f"    -> {text}", flush=True)


def refused(because: str, action: Callable[[], object]) -> None:
    """Do what must be refused, with `because` in the message."""
    try:
        action()
    except (DatabricksError, JobError, MlflowException, SystemExit) as error:
        assert because in str(error), f"refused, but not with '{because}': {error}"
        print(f"    -> refused: {because}", flush=True)
    else:
        raise AssertionError(f"this should have been refused: {because}")


class Story:
    def __init__(self, life: Account) -> None:
        self.life, self.realtime = life, life.realtime

    def aliases(self, target: str) -> dict[str, int]:
        deployment = self.life.deployments[target]
        return dict(deployment.workspace.metastore.models[deployment.model].aliases)

    def tags(self, target: str, alias: str = "champion") -> dict[str, str]:
        deployment = self.life.deployments[target]
        model = deployment.workspace.metastore.models[deployment.model]
        return model.versions[model.aliases[alias]].tags

    def card(self, target: str, alias: str = "champion") -> str:
        """Return the description of a version."""
        deployment = self.life.deployments[target]
        model = deployment.workspace.metastore.models[deployment.model]
        return model.versions[model.aliases[alias]].message.description

    def sample(self, target: str, today: date, **parameters: object) -> None:
        self.life.run(target, "sample_data", run_date=today, days=60, rows_per_day=400, **parameters)

    def use(self, target: str, today: date) -> None:
        """Score the last week, as an application too where there is an endpoint, and monitor it."""
        if self.realtime:
            if identity_of(target) != SCIENTIST:
                refused("does not have CAN_MANAGE", lambda: self.life.ask(target, SCIENTIST, today, days=7))
            self.life.ask(target, identity_of(target), today, days=7)
        self.life.run(target, "inference", run_date=today, days=7)
        self.life.run(target, "monitoring", run_date=today)
        champion = self.aliases(target)["champion"]
        week = f"event_date >= '{today - WEEK}' AND event_date < '{today}'"
        rows = self.life.rows(target, "predictions", week)
        promise(
            {row["model_version"] for row in rows} == {champion}, f"version {champion} scored the last week in {target}"
        )
        if self.realtime:
            promise({row["scored_by"] for row in rows} >= {"endpoint"}, "answers of the endpoint were collected")

    def train(self, target: str, today: date, **parameters: object) -> None:
        self.life.run(target, "training", run_date=today, days=60, **parameters)
        promise(self.tags(target)["environment"] == target, f"the champion of {target} was trained in {target}")
        promise("challenger" not in self.aliases(target), "and is no challenger any more")

    def explore(self, target: str) -> None:
        """A data scientist runs the notebook: it reads, trains and logs, and leaves the registry alone."""
        before, versions = self.aliases(target), len(self.life.versions(target))
        model = self.life.deployments[target].model
        widgets = SimpleNamespace(text=lambda name, default: None, get=lambda name: model if name == "model" else "")
        open_session(self.life.lakehouse)
        with self.life.working_as(SCIENTIST, target):
            found = runpy.run_path("notebooks/explore.py", {"dbutils": SimpleNamespace(widgets=widgets)})
            logged = mlflow.get_run(found["run"].info.run_id).data
        promise(logged.metrics == found["tested"].metrics, "the notebook logged its variant")
        promise("it is" in found["comparison"], "and compared it with the champion")
        promise((self.aliases(target), len(self.life.versions(target))) == (before, versions), "and registered nothing")

    def receives(self, target: str, source: str, today: date) -> None:
        """Release the champion of `source` to `target`, as the pipeline does."""
        own, before = identity_of(target), self.aliases(target)
        number, evidence = self.shown(source)
        promise(number == str(self.aliases(source)["champion"]), f"version {number} of {source} may be released")
        promote = ("promote", "--target", target, "--version", number, "--param", f"run_date={today}")
        if target == "prod" and not before:
            self.waits_for_approval(promote)
            approvers = "Grace H."
        elif target == "prod":
            promote += ("--approve", "--by", "the pipeline", "--reason", "reviewed there", "--evidence", evidence)
            approvers = "the pipeline"
        else:
            approvers = own
        self.life.type(own, *promote)
        tags, after = self.tags(target), self.aliases(target)
        promise(after.get("previous") == before.get("champion"), f"version {after.get('previous')} is kept as previous")
        promise(tags["source_model"] == self.life.deployments[source].model, f"it was received from {source}")
        promise(tags["source_version"] == number, f"as version {number} there")
        promise(tags["environment"] != target, f"and trained in {tags['environment']}")
        promise(target != "prod" or tags["approved_by"] == approvers, f"and {tags['approved_by']} has approved it")
        card = self.card(target)
        promise(all(f"`{text}`" in card for text in ("PASSED", number, tags["approved_by"])), "its card says so too")
        if not before:
            versions = len(self.life.versions(target))
            self.life.type(own, *promote)
            promise(self.aliases(target) == after, "the same release once more changes nothing")
            promise(len(self.life.versions(target)) == versions, "and makes no version")

    def shown(self, target: str, version: str = "champion", to: str = "") -> list[str]:
        """Return number and evidence of a version, as its owner or `to` somebody else sees them."""
        show = ("show", "--target", target, "--version", version, "--field")
        return [self.life.type(to or identity_of(target), *show, field).strip() for field in ("version", "evidence")]

    def waits_for_approval(self, promote: tuple[str, ...]) -> None:
        """The release to prod stops, and only who may approve lets it go on."""
        refused("waits for an approval", lambda: self.life.type(identity_of("prod"), *promote))
        promise(self.tags("prod", "challenger")["validation_status"] == "PASSED", "acceptance has passed")
        promise("champion" not in self.aliases("prod"), "nothing serves without approval")
        waiting = str(self.aliases("prod")["challenger"])
        _, evidence = self.shown("prod", waiting, to=APPROVER)
        version = ("approve", "--target", "prod", "--version", waiting)
        approve = (*version, "--evidence", evidence, "--by", "Grace H.", "--reason")
        refused("APPLY_TAG", lambda: self.life.type(SCIENTIST, *approve, "looks good to me"))
        refused("USE_CATALOG", lambda: self.life.type(OUTSIDER, *approve, "looks good to me"))
        refused("write at most 1000", lambda: self.life.type(APPROVER, *approve, "because " * 130))
        refused("not what was shown", lambda: self.life.type(APPROVER, *version, "--evidence", "0" * 64))
        self.life.type(APPROVER, *approve, "better on the holdout")
        promise(self.tags("prod", "challenger")["approved_as"] == APPROVER, f"signed in as {APPROVER}")

    def roll_back(self, target: str) -> None:
        own, previous = identity_of(target), self.aliases(target)["previous"]
        refused("does not have", lambda: self.life.type(SCIENTIST, "rollback", "--target", target))
        self.life.type(own, "rollback", "--target", target, "--reason", "too many complaints")
        after = self.aliases(target)
        promise(after["champion"] == previous and "previous" not in after, f"version {previous} serves again")
        if self.realtime:
            promise(self.life.served(target) == {previous: 100}, "and the endpoint serves it, and nothing else")

    def status(self, target: str) -> None:
        """Whoever may look sees what serves, and each environment answers for itself."""
        for deployment in self.life.deployments.values():
            deployment.workspace.calls.clear()
        table = self.life.type(SCIENTIST, "status").splitlines()
        row = next(line.split()[1:] for line in table if line.startswith("champion"))
        champions = [str(self.aliases(target).get("champion", "-")) for target in TARGETS]
        promise(row == champions, f"a data scientist sees that versions {', '.join(champions)} serve")
        for deployment in self.life.deployments.values():
            asked = {
                path for who, _, path in deployment.workspace.calls if who == SCIENTIST and "unity-catalog" in path
            }
            promise(asked, f"the workspace of {deployment.target} was asked")
        refused("USE_CATALOG", lambda: self.life.type(OUTSIDER, "status", "--target", target))

    def history(self, target: str) -> None:
        """Every version is seen with its tags, although a search answers in pages and without tags."""
        deployment = self.life.deployments[target]
        with self.life.working_as(identity_of(target), target):
            found = registry.versions(registry.connect(), deployment.model)
        numbers = sorted(self.life.versions(target), reverse=True)
        promise([int(version.version) for version in found] == numbers, f"all of {len(numbers)} versions are found")
        promise(all(version.tags["git_commit"] is not None for version in found), "with their tags")

    def interrupted(self, target: str, source: str, today: date) -> None:
        """The machine of a promotion dies while files are copied: the next run makes one version of it, not two."""
        deployment = self.life.deployments[target]
        catalog, schema, _ = deployment.model.split(".")
        scratch = f"{catalog}.{schema}.interrupted"
        metastore = deployment.workspace.metastore
        metastore.create_model(deployment.identity, scratch, "")
        given = {"run_date": today, "source_version": self.aliases(source)["champion"], "model_name": scratch}
        metastore.uploads_left = 3
        refused("no longer valid", lambda: self.life.run(target, "promotion", **given))
        metastore.uploads_left = None
        statuses = [version.ready for version in metastore.models[scratch].versions.values()]
        promise(statuses == [False], "a version without its files is left behind")
        self.life.run(target, "promotion", until="receive", **given)
        statuses = [version.ready for version in metastore.models[scratch].versions.values()]
        promise(statuses == [True], "the next run has replaced it")


PAYLOAD = """
import json, os
from pathlib import Path
import mlflow
found = sorted(name for name in os.environ if name.startswith(("DATABRICKS", "MLFLOW")))
Path({report!r}).write_text(json.dumps(found))
mlflow.set_registry_uri("databricks-uc")
os.environ.setdefault("DATABRICKS_HOST", {host!r})
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
client = mlflow.MlflowClient()
for number in map(str, {numbers}):
    try:
        client.set_model_version_tag({model!r}, number, "approved_evidence", {evidence!r})
        client.set_model_version_tag({model!r}, number, "approval", "Approved")
        client.set_registered_model_alias({model!r}, "champion", number)
    except Exception:
        pass
"""


def hijack(story: Story) -> None:
    """A version of the source approves itself while it is loaded, with whatever credentials it finds there."""
    prod, own = story.life.deployments["prod"], identity_of("staging")
    before, report = story.aliases("prod"), Path(mkdtemp()) / "found.json"
    numbers = range(1, max(story.life.versions("prod")) + 3)
    with story.life.working_as(own, "staging"):
        client, source = registry.connect(), story.life.deployments["staging"].model
        champion = registry.get(client, source, "champion")
        with registry.downloaded(source, str(champion.version)) as files:
            targets = {"host": prod.workspace.address, "model": prod.model, "numbers": list(numbers)}
            payload = PAYLOAD.format(report=str(report), evidence="0" * 64, **targets)
            pickled = (files / "model.pkl").read_bytes()
            (files / "model.pkl").write_bytes(cloudpickle.dumps(Trojan(payload, pickled)))
            forged = champion.tags | {"files_sha256": registry.files_sha256(files)}
            mlflow.set_experiment("/Shared/attack")
            with mlflow.start_run() as run:
                mlflow.log_artifacts(str(files), "model")
        version = mlflow.register_model(f"runs:/{run.info.run_id}/model", source, tags=forged)
    promote = ("promote", "--target", "prod", "--version", str(version.version), "--param", f"run_date={DAY_ONE}")
    refused("waits for an approval", lambda: story.life.type(identity_of("prod"), *promote))
    promise(report.exists() and json.loads(report.read_text()) == [], "it ran, and found no credentials")
    after = story.aliases("prod")
    promise({**after, "challenger": 0} == {**before, "challenger": 0}, "it moved no alias")
    promise("approval" not in story.tags("prod", "challenger"), "and approved nothing")


class Trojan:
    """Unpickled, runs a text as code, and is the object that was pickled before."""

    def __init__(self, code: str, pickled: bytes) -> None:
        self.code, self.pickled = code, pickled

    def __reduce__(self) -> tuple[object, ...]:
        return eval, (f"(exec({self.code!r}, {{}}), __import__('cloudpickle').loads({self.pickled!r}))[1]",)


def judge(story: Story) -> None:
    """The emulated workspaces are as strict as what they stand for: else none of the promises would mean much."""
    models = {target: story.life.deployments[target].model for target in TARGETS}
    received = f"models:/{models['prod']}/1"
    with story.life.working_as(identity_of("prod"), "prod"):
        client = registry.connect()
        if len({id(deployment.workspace) for deployment in story.life.deployments.values()}) > 1:
            refused("not found", lambda: mlflow.models.get_model_info(received))
            refused("non-empty string", lambda: client.copy_model_version(received, models["prod"]))
        refused("1001 characters", lambda: client.set_model_version_tag(models["prod"], "1", "reason", "x" * 1001))
        refused("APPLY_TAG", lambda: client.set_model_version_tag(models["staging"], "1", "approval", "Approved"))
        refused("OWNER", lambda: client.set_registered_model_alias(models["staging"], "champion", "1"))
        refused("OWNER", lambda: client.update_model_version(models["staging"], "1", "the best of all"))
    with story.life.working_as(identity_of("staging"), "staging"):
        client = registry.connect()
        refused("EXECUTE", lambda: client.get_model_version(models["prod"], "1"))
        refused(
            "CREATE_MODEL_VERSION",
            lambda: client.create_model_version(models["prod"], f"models:/{models['staging']}/1"),
        )


def deploy_code(story: Story) -> None:
    """Every environment trains for itself."""
    today = DAY_ONE
    for target in ("dev", "prod"):
        story.sample(target, today)
        story.train(target, today)
        story.use(target, today)
    story.explore("dev")
    story.life.run("staging", "integration_test", run_date=today)
    promise(story.tags("staging")["environment"] == "staging", "the integration test of staging passed")
    today += WEEK
    story.sample("prod", today)
    story.train("prod", today)
    promise(story.aliases("prod") == {"champion": 2, "previous": 1}, "the second training serves in prod")
    story.use("prod", today)
    few = {"run_date": today, "days": 60, "training_fraction": 0.05}
    refused("did not pass", lambda: story.life.run("prod", "training", **few))
    promise(story.aliases("prod") == {"champion": 2, "previous": 1, "challenger": 3}, "the gate held")
    story.history("prod")
    story.roll_back("prod")
    story.status("prod")


def deploy_model(story: Story) -> None:
    """Dev trains, staging receives from dev, and prod from staging: a copy of a copy."""
    today = DAY_ONE
    for target in TARGETS:
        story.sample(target, today)
    for _ in range(2):
        story.train("dev", today)
        story.receives("staging", "dev", today)
        story.receives("prod", "staging", today)
        promise(story.tags("prod")["training_run"] == story.tags("dev")["training_run"], "prod serves what dev trained")
        story.use("prod", today)
        today += WEEK
        for target in TARGETS:
            story.sample(target, today)
    story.history("prod")
    story.roll_back("prod")
    story.status("prod")
    story.interrupted("staging", "dev", today - WEEK)


def hybrid(story: Story) -> None:
    """Staging trains on the data of prod, and prod receives from staging."""
    today = DAY_ONE
    story.life.run("staging", "integration_test", run_date=today)
    promise("champion" not in story.aliases("staging"), "the integration test left no champion behind")
    for _ in range(2):
        story.sample("prod", today)
        story.train("staging", today)
        promise(story.tags("staging")["training_table"].startswith("prod."), "on the table of prod")
        story.receives("prod", "staging", today)
        story.use("prod", today)
        today += WEEK
    story.history("prod")
    story.roll_back("prod")
    story.status("prod")


def export(story: Story) -> None:
    """Prod moves to another metastore, and receives what staging trained through somebody's machine."""
    life, today = story.life, DAY_ONE
    life.move_away("prod")
    story.sample("prod", today)
    own = identity_of("prod")
    number = str(story.aliases("staging")["champion"])
    command = ("promote", "--target", "prod", "--version", number, "--param", f"run_date={today}")
    refused("another metastore", lambda: life.type(own, *command))
    _, evidence = story.shown("staging")
    released = (*command, "--source", "staging", "--export", "--approve", "--evidence", evidence)
    for _ in range(2):
        life.type(own, *released)
        promise(story.aliases("prod") == {"champion": 1}, "version 1 of the other metastore serves, carried over once")
    promise(story.tags("prod")["source_version"] == number, "and names its source")
    story.use("prod", today)


STORIES = {
    "deploy-code": [deploy_code],
    "deploy-model": [deploy_model, export],
    "hybrid": [hybrid, judge, hijack, export],
}


def main() -> None:
    pattern, inference, workspaces = sys.argv[1:]
    print(f"{pattern}, {inference}, {workspaces} workspaces, MLflow {mlflow.__version__}", flush=True)
    with account(Path.cwd(), int(workspaces), realtime=inference != "batch") as life:
        life.grant_what_the_documents_say()
        for target in TARGETS:
            life.deploy(target)
        story = Story(life)
        for tell in STORIES[pattern]:
            print(f"\n{tell.__doc__}", flush=True)
            tell(story)
    print("Every promise holds.")
