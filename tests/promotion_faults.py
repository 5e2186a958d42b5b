"""Runs inside a rendered project (as tests/integration/test_promotion_faults.py): promotions that are cut off anywhere.

Every write to the registry and to a table is a place where the process may die, before it or right after it. Started
again, the promotion must end as one clean run does.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from urllib.parse import unquote, urlparse

import mlflow
import pytest
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient
from sklearn.linear_model import LogisticRegression

from local.engine import environment, open_session, spark_server
from PACKAGE import models
from PACKAGE.platform import config, registry, tables
from PACKAGE.platform.registry import RegistryError
from PACKAGE.tasks import activate, approval, features, receive, sample_data, train, validate

TODAY = date(2026, 3, 2)
SOURCE = "staging.risk.model"
SCHEMA = "prod.risk"
SOURCE_TABLE = f"{SCHEMA}.source"
WRITES = [
    (MlflowClient, "create_model_version"),
    (MlflowClient, "set_model_version_tag"),
    (MlflowClient, "delete_model_version_tag"),
    (MlflowClient, "set_registered_model_alias"),
    (MlflowClient, "delete_registered_model_alias"),
    (MlflowClient, "set_registered_model_tag"),
    (MlflowClient, "delete_registered_model_tag"),
    (tables, "replace"),
    (tables, "add_once"),
]
TIMES_AND_RUNS = {
    "challenged_at",
    "received_at",
    "approved_at",
    "validated_at",
    "released_at",
    "validation_run",
    "validation_results",  # with the time that scoring takes
    "validation_comparison",  # likewise
    "approved_evidence",
    "source_evidence",
}
NUMBERS = itertools.count()


class Killed(BaseException):
    """The process dies here; nothing in the code under test may catch it."""


@pytest.fixture(scope="module", autouse=True)
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Spark with Delta tables, MLflow on sqlite, and two versions in staging, the second better than the first."""
    root = tmp_path_factory.mktemp("platform")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(root).items():
            patch.setenv(name, value)
        for name in ("SAIL_CATALOG__LIST", "SAIL_CATALOG__DEFAULT_CATALOG", "SPARK_REMOTE"):
            patch.setenv(name, os.environ.get(name, ""))
        for schema in ("staging/risk", "prod/risk"):
            (root / "lakehouse" / schema).mkdir(parents=True)
        patch.setitem(config.load_config().gate.min_labels, "rows", 100)
        with spark_server(["staging", "prod"]):
            open_session(root / "lakehouse")
            values: dict[str, str] = {}
            patch.setattr(train, "set_task_value", values.__setitem__)
            patch.setattr(train, "log_plots", lambda *_: None)
            patch.setitem(train.PARAMETERS, "max_iter", 20)
            for table in (SOURCE_TABLE, "staging.risk.source"):
                sample_data.sample_data(table, TODAY, days=60, rows_per_day=150, drift=False)
            for schema in (SCHEMA, "staging.risk"):
                features.features(f"{schema}.source", schema, TODAY, days=60)
            for fraction in (0.5, 1.0):
                arguments = {"source_table": "staging.risk.source", "schema": "staging.risk", "model": SOURCE}
                train.train(
                    **arguments,
                    experiment="/staging",
                    run_date=TODAY,
                    days=60,
                    training_fraction=fraction,
                    environment="staging",
                    git_commit="abc",
                )
                validate.validate(
                    **arguments,
                    version=values["version"],
                    experiment="/staging",
                    run_date=TODAY,
                    days=60,
                    environment="staging",
                )
                activate.activate("staging.risk", SOURCE, values["version"], "staging", "tester", False)
            yield


@pytest.fixture
def values(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The task values that `receive` sets."""
    found: dict[str, str] = {}
    monkeypatch.setattr(receive, "set_task_value", found.__setitem__)
    return found


@pytest.fixture
def model() -> str:
    return with_champion()


def without_version() -> str:
    """Return a new model of prod, as a deployment makes it."""
    return registry.connect().create_registered_model(f"prod.risk.model_{next(NUMBERS)}").name


def copied(model: str, source_version: str) -> ModelVersion:
    """Return a version of `model` that was received from staging at some time."""
    client = registry.connect()
    tags = receive.tags_of_copy(registry.get(client, SOURCE, source_version))
    return client.create_model_version(model, f"models:/{SOURCE}/{source_version}", tags=tags)


def with_champion() -> str:
    """Return a new model of prod whose champion came from version 1 of staging, without the time of a promotion."""
    client, name = registry.connect(), without_version()
    version = copied(name, "1")
    client.set_registered_model_alias(name, registry.CHAMPION, version.version)
    return name


def promote(model: str, source_version: str, values: dict[str, str], approved_by: str = "owner") -> None:
    """Run the tasks of the promotion job in their order."""
    take(model, "", SOURCE, source_version)
    hold_against_gate(model, values["version"])
    shown = registry.evidence(registry.get(registry.connect(), SOURCE, source_version)) if approved_by else ""
    decide(model, values["version"], approved_by, shown)
    serve(model, values["version"], approved_by)


def decide(model: str, version: str, approved_by: str = "owner", evidence: str = "") -> None:
    """Run the task `approval`, by default with what whoever asks is shown of the source."""
    if approved_by and not evidence:
        evidence = registry.get(registry.connect(), model, version).tags["source_evidence"]
    approval.approval(model, version, approved_by, "release", evidence, "prod", required=True)


def serve(model: str, version: str, approved_by: str = "owner") -> None:
    activate.activate(SCHEMA, model, version, "prod", approved_by, approval_required=True)


def take(model: str, model_version: str, source_model: str, source_version: str) -> None:
    receive.receive(model, model_version, source_model, source_version, source_model, approval_required=True)


def hold_against_gate(model: str, version: str) -> None:
    validate.validate(SOURCE_TABLE, SCHEMA, model, version, "/prod", TODAY, 60, "prod")


def state(model: str) -> dict[str, object]:
    """Return what a promotion may change, without the times and run ids that differ from run to run."""
    client = registry.connect()
    log = tables.read(tables.spark_session(), f"{SCHEMA}.release_log").where(f"model = '{model}'").collect()
    return {
        "aliases": aliases_of(model),
        "versions": {
            found.version: {key: value for key, value in found.tags.items() if not skipped(key)}
            for found in registry.versions(client, model)
        },
        "log": sorted(
            str({key: value for key, value in row.asDict().items() if not skipped(key) and key != "model"})
            for row in log
        ),
    }


def aliases_of(model: str) -> dict[str, str]:
    """Return the version behind each alias; sqlite answers integers, Unity Catalog text."""
    return {alias: str(version) for alias, version in registry.connect().get_registered_model(model).aliases.items()}


def skipped(key: str) -> bool:
    return key in TIMES_AND_RUNS or key == "milliseconds_per_1000_rows"


@contextmanager
def dying_at(number: int | None, after: bool) -> Iterator[Callable[[], int]]:
    """Raise Killed at the write with this number, before or after it; yield a function that counts the writes."""
    count = 0
    depth = 0

    def wrap(write: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*args: object, **kwargs: object) -> object:
            nonlocal count, depth
            mine = count
            if depth == 0:  # a write inside another one is part of it
                count += 1
            depth += 1
            try:
                if depth == 1 and mine == number and not after:
                    raise Killed
                result = write(*args, **kwargs)
                if depth == 1 and mine == number:
                    raise Killed
                return result
            finally:
                depth -= 1

        return wrapped

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in WRITES:
            patch.setattr(owner, name, wrap(getattr(owner, name)))
        yield lambda: count
    mlflow.end_run()


def test_cut_off_anywhere_and_started_again_ends_as_one_clean_run(model: str, values: dict[str, str]) -> None:
    with dying_at(None, after=False) as writes:
        promote(model, "2", values)
    clean = state(model)
    assert clean["aliases"] == {"champion": "2", "previous": "1"}
    assert writes() > 15

    for number, after in itertools.product(range(writes()), (False, True)):
        other = with_champion()
        with dying_at(number, after), pytest.raises(Killed):
            promote(other, "2", values)
        promote(other, "2", values)
        assert state(other) == clean, f"died {'after' if after else 'before'} write {number}"


def test_promoting_again_changes_nothing(model: str, values: dict[str, str]) -> None:
    promote(model, "2", values)
    before = state(model)
    with dying_at(None, after=False) as writes:
        promote(model, "2", values)
    assert state(model) == before
    assert writes() == 3  # add_once looks, and finds the release, between the announcement and its end


def with_previous() -> str:
    """Return a new model of prod with a champion, version 2, and a previous one."""
    client, name = registry.connect(), with_champion()
    version = copied(name, "2")
    client.set_registered_model_alias(name, registry.PREVIOUS, "1")
    client.set_registered_model_alias(name, registry.CHAMPION, version.version)
    return name


def test_rollback_cut_off_anywhere() -> None:
    model = with_previous()
    with dying_at(None, after=False) as writes:
        registry.roll_back(registry.connect(), model, "owner", "test")
    aliases = aliases_of(model)
    assert aliases == {"champion": "1"}
    # The last write ends the rollback: dying after it is a finished rollback.
    for number, after in itertools.product(range(writes()), (False, True)):
        if (number, after) == (writes() - 1, True):
            continue
        other = with_previous()
        with dying_at(number, after), pytest.raises(Killed):
            registry.roll_back(registry.connect(), other, "owner", "test")
        now, replaced = registry.roll_back(registry.connect(), other, "owner", "test")
        assert (int(now.version), int(replaced.version)) == (1, 2)
        assert aliases_of(other) == aliases


def test_of_two_at_once_one_wins(model: str, values: dict[str, str]) -> None:
    third = without_version()
    take(third, "", SOURCE, "1")
    first = values["version"]
    take(third, "", SOURCE, "2")
    second = values["version"]
    for version in (first, second):
        hold_against_gate(third, version)
        decide(third, version)
    with pytest.raises(RegistryError, match="not the challenger any more, version 2 is"):
        serve(third, first)
    serve(third, second)
    assert aliases_of(third) == {"champion": second}
    log = tables.read(tables.spark_session(), f"{SCHEMA}.release_log").where(f"model = '{third}'").collect()
    assert [row["model_version"] for row in log] == [int(second)]


def test_nothing_serves_without_an_approval_and_the_release_goes_on_after_it(
    model: str, values: dict[str, str]
) -> None:
    with pytest.raises(approval.ApprovalError, match="uv run models approve --target prod"):
        promote(model, "2", values, approved_by="")
    client = registry.connect()
    assert aliases_of(model) == {"champion": "1", "challenger": "2"}
    registry.approve(client, registry.get(client, model, "challenger"), "alice", "looks good")
    promote(model, "2", values, approved_by="")
    champion = registry.get(client, model, "champion")
    assert str(champion.version) == "2"
    assert champion.tags["approved_by"] == "alice"
    assert champion.tags["approval_reason"] == "looks good"


def test_an_approval_holds_for_one_release_only(model: str, values: dict[str, str]) -> None:
    promote(model, "2", values)
    registry.roll_back(registry.connect(), model, "owner", "test")
    with pytest.raises(approval.ApprovalError):
        promote(model, "2", values, approved_by="")


def test_lineage_travels_and_decisions_stay_behind(model: str, values: dict[str, str]) -> None:
    promote(model, "2", values)
    client = registry.connect()
    source, received = registry.get(client, SOURCE, "2"), registry.get(client, model, "champion")
    for name in ("git_commit", "environment", "training_table", "training_table_version", "training_run"):
        assert received.tags[name] == source.tags[name]
    assert (received.tags["source_model"], received.tags["source_version"]) == (SOURCE, "2")
    assert received.tags["validation_run"] != source.tags["validation_run"]
    assert received.tags["approved_by"] == "owner"


def test_a_version_that_was_received_before_names_its_last_source(values: dict[str, str]) -> None:
    first, second = without_version(), without_version()
    promote(first, "2", values)
    take(second, "", first, "champion")
    tags = registry.get(registry.connect(), second, "challenger").tags
    assert (tags["source_model"], tags["source_version"]) == (first, "1")
    assert tags["validation_status"] == "PENDING"
    assert "approved_by" not in tags
    assert tags["environment"] == "staging"


def test_prod_receives_from_the_model_that_its_release_names(values: dict[str, str]) -> None:
    arguments = ("prod.risk.empty", "", "dev.mallory.model", "1", SOURCE)
    with pytest.raises(RegistryError, match=r"receives from staging\.risk\.model, not from dev\.mallory\.model"):
        receive.receive(*arguments, approval_required=True)


def test_missing_source(values: dict[str, str]) -> None:
    with pytest.raises(RegistryError, match=r"no version with the number '99'.*another metastore.*--export"):
        take("prod.risk.empty", "", SOURCE, "99")


def test_source_that_failed_its_own_gate_is_not_received(values: dict[str, str]) -> None:
    client = registry.connect()
    version = client.create_model_version(SOURCE, client.get_model_version(SOURCE, "1").source)
    registry.tag(client, version, validation_status="FAILED", training_run="other")
    with pytest.raises(RegistryError, match="release one that PASSED"):
        take("prod.risk.empty", "", SOURCE, str(version.version))


def test_source_deleted_between_the_steps(model: str, values: dict[str, str]) -> None:
    client = registry.connect()
    source = client.copy_model_version(f"models:/{SOURCE}/2", "staging.risk.short_lived")
    take(model, "", "staging.risk.short_lived", str(source.version))
    received = values["version"]
    client.delete_model_version("staging.risk.short_lived", source.version)
    hold_against_gate(model, received)  # the copy stands on its own
    decide(model, received)
    serve(model, received)
    assert registry.get(client, model, "champion").version == int(received)


@pytest.mark.parametrize("fault", ["no-signature", "does-not-load", "nan"])
def test_a_version_that_cannot_serve_here_is_refused(
    model: str, values: dict[str, str], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = registry.connect()
    mlflow.set_experiment("/staging")
    with mlflow.start_run() as run:
        if fault == "no-signature":
            info = mlflow.sklearn.log_model(LogisticRegression(), name="model", serialization_format="cloudpickle")
            uri = info.model_uri
        else:
            uri = client.get_model_version(SOURCE, "2").source
    version = mlflow.register_model(uri, "staging.risk.broken")
    registry.tag(client, version, validation_status="PASSED", training_run=run.info.run_id)
    take(model, "", "staging.risk.broken", str(version.version))
    expected = "no signature"
    if fault == "does-not-load":
        expected = "does not load or score here"

        def broken(uri: str) -> None:
            raise ModuleNotFoundError("No module named 'torch'")

        monkeypatch.setattr(mlflow.pyfunc, "load_model", broken)
    if fault == "nan":
        expected = "average_precision is not known"
        original = validate.assess
        monkeypatch.setattr(validate, "assess", lambda *a: original(*a) | {"average_precision": float("nan")})
    with pytest.raises(validate.GateError, match=expected):
        hold_against_gate(model, values["version"])
    with pytest.raises(RegistryError, match="only PASSED may serve"):
        serve(model, values["version"])
    assert registry.get(client, model, "champion").version == 1


def test_first_release_into_an_empty_environment(values: dict[str, str]) -> None:
    empty = without_version()
    promote(empty, "2", values)
    assert aliases_of(empty) == {"champion": "1"}


def test_a_version_that_is_here_already_as_a_deployment_job_gives_it(model: str, values: dict[str, str]) -> None:
    client = registry.connect()
    version = client.create_model_version(model, f"models:/{SOURCE}/2")
    take(model, str(version.version), "", "")
    press_button(model, values["version"])  # before the gate has decided, so it says nothing
    hold_against_gate(model, values["version"])
    with pytest.raises(approval.ApprovalError, match="waits for an approval"):
        decide(model, values["version"], approved_by="")
    press_button(model, values["version"])
    decide(model, values["version"], approved_by="")
    serve(model, values["version"], approved_by="")
    assert registry.get(client, model, "champion").tags["approved_by"] == "button of the model page"


def press_button(model: str, version: str) -> None:
    """Set the tag that *Approve* on the page of the version sets."""
    registry.connect().set_model_version_tag(model, version, "approval", "Approved")


def test_carried_over_between_two_registries(tmp_path, values: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sqlite registries stand for two metastores: a copy is impossible, the export works, and only once."""
    here = registry.connect()
    elsewhere = environment(tmp_path / "elsewhere")
    model = "prod.risk.exported"

    class Side:
        def __init__(self, name: str, variables: dict[str, str]) -> None:
            self.model, self.variables = name, variables
            self.resources = {"experiments": {"experiment": {"name": "/exported"}}}

        def connect(self) -> MlflowClient:
            for name, value in self.variables.items():
                monkeypatch.setenv(name, value)
            mlflow.set_tracking_uri(self.variables["MLFLOW_TRACKING_URI"])
            return registry.connect()

    original = {name: os.environ[name] for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
    source, target = Side(SOURCE, original), Side(model, elsewhere)
    try:
        client = target.connect()
        client.create_registered_model(model)
        with pytest.raises(RegistryError, match="another metastore"):
            take(model, "", SOURCE, "2")
        first = models.carry_over(source, target, "2")
        assert models.carry_over(source, target, "2") == first
        client = target.connect()
        tags = client.get_model_version(model, first).tags
        assert (tags["source_model"], tags["source_version"], tags["environment"]) == (SOURCE, "2", "staging")
        loaded = mlflow.pyfunc.load_model(f"models:/{model}/{first}")
        assert loaded.metadata.signature is not None
        take(model, first, "", "")
        assert registry.get(client, model, "challenger").version == int(values["version"]) == int(first)
    finally:
        source.connect()
    assert here.get_model_version(SOURCE, "2")


def test_two_source_versions_of_one_training_run_are_two_versions(model: str, values: dict[str, str]) -> None:
    """A source sets its own tags, so they do not say which copy is which."""
    client = registry.connect()
    forged = client.create_model_version(SOURCE, f"models:/{SOURCE}/1", tags=registry.get(client, SOURCE, "2").tags)
    take(model, "", SOURCE, "2")
    first = values["version"]
    take(model, "", SOURCE, str(forged.version))
    assert values["version"] != first


def test_nothing_that_the_source_says_about_decisions_is_believed(model: str, values: dict[str, str]) -> None:
    client = registry.connect()
    forged = {
        "received_as": f"{model}/2",
        "approval": "Approved",
        "approved_by": "nobody",
        "source_model": "prod.risk.x",
    }
    tags = registry.get(client, SOURCE, "2").tags | forged
    version = client.create_model_version(SOURCE, f"models:/{SOURCE}/2", tags=tags, description="approved by nobody")
    take(model, "", SOURCE, str(version.version))
    copy = registry.get(client, model, values["version"])
    assert "The gate of this environment has not decided yet" in copy.description
    assert "nobody" not in copy.description.lower().replace("nobody has tested", "")
    received = copy.tags
    assert (received["source_model"], received["source_version"]) == (SOURCE, str(version.version))
    assert received["validation_status"] == "PENDING"
    assert not {"approval", "approved_by", "received_as"} & received.keys()


def own_files(model: str) -> tuple[str, Path]:
    """Return the number of a version of `model` that was received from staging, and its files, a copy of its own."""
    source = registry.get(registry.connect(), SOURCE, "2")
    mlflow.set_experiment("/prod")
    with registry.downloaded(SOURCE, "2") as folder, mlflow.start_run() as run:
        mlflow.log_artifacts(str(folder), "model")
    uri = f"runs:/{run.info.run_id}/model"
    version = mlflow.register_model(uri, model, tags=receive.tags_of_copy(source))
    return str(version.version), Path(unquote(urlparse(version.source).path))


def tamper(files: Path) -> None:
    with (files / "model.pkl").open("ab") as file:
        file.write(b" ")  # which changes nothing for pickle


def test_an_approval_is_not_of_another_version(model: str, values: dict[str, str]) -> None:
    shown = registry.evidence(registry.get(registry.connect(), SOURCE, "1"))
    take(model, "", SOURCE, "2")
    hold_against_gate(model, values["version"])
    for evidence in (shown, "", "0" * 64):
        with pytest.raises(approval.ApprovalError, match="What was approved is not version 2 of staging"):
            approval.approval(model, values["version"], "owner", "release", evidence, "prod", required=True)
    assert "approval" not in registry.get(registry.connect(), model, values["version"]).tags


def test_a_source_that_changes_after_it_was_shown_is_not_what_was_approved(model: str, values: dict[str, str]) -> None:
    client = registry.connect()
    tags = registry.get(client, SOURCE, "2").tags
    client.create_registered_model("staging.risk.changing")
    other = client.create_model_version("staging.risk.changing", f"models:/{SOURCE}/2", tags=tags)
    shown = registry.evidence(other)
    client.set_model_version_tag(other.name, other.version, "files_sha256", "0" * 64)
    take(model, "", other.name, str(other.version))
    hold_against_gate(model, values["version"])
    with pytest.raises(approval.ApprovalError, match="What was approved is not version"):
        decide(model, values["version"], evidence=shown)


def test_files_that_are_not_those_of_the_source_are_not_what_was_approved(model: str, values: dict[str, str]) -> None:
    number, files = own_files(model)
    tamper(files)
    take(model, number, "", "")
    hold_against_gate(model, number)
    with pytest.raises(approval.ApprovalError, match="are not those that were approved"):
        decide(model, number)
    with pytest.raises(RegistryError, match="Nobody has approved version"):
        serve(model, number)


@pytest.mark.parametrize("approves", ["with the release", "afterwards"])
def test_files_that_change_after_the_approval_do_not_serve(model: str, values: dict[str, str], approves: str) -> None:
    client = registry.connect()
    number, files = own_files(model)
    take(model, number, "", "")
    hold_against_gate(model, number)
    if approves == "afterwards":
        registry.approve(client, registry.get(client, model, number), "alice", "looks good")
    else:
        decide(model, number)
    tamper(files)
    with pytest.raises(RegistryError, match="is not what passed the gate"):
        serve(model, number)
    assert aliases_of(model)["champion"] == "1"


def test_who_may_write_tags_does_not_open_the_gate(model: str, values: dict[str, str]) -> None:
    """An approver may tag a version, and so could write that it has passed. The gate's own table knows better."""
    client = registry.connect()
    take(model, "", SOURCE, "2")
    version = values["version"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(config.load_config().gate.min_labels, "rows", 10**9)
        with pytest.raises(validate.GateError, match="holdout has"):
            hold_against_gate(model, version)
    client.set_model_version_tag(model, version, "validation_status", "PASSED")
    registry.approve(client, registry.get(client, model, version), "mallory", "trust me")
    decide(model, version, approved_by="")
    with pytest.raises(RegistryError, match="is not what passed the gate"):
        serve(model, version)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(config.load_config().gate.min_labels, "rows", 10**9)
        with pytest.raises(validate.GateError, match="holdout has"):  # nor does it keep the gate from looking again
            hold_against_gate(model, version)
    assert aliases_of(model)["champion"] == "1"


def test_an_approval_holds_against_the_champion_that_it_was_given_for(model: str, values: dict[str, str]) -> None:
    client = registry.connect()
    take(model, "", SOURCE, "2")
    hold_against_gate(model, values["version"])
    registry.approve(client, registry.get(client, model, values["version"]), "alice", "looks good")
    run = registry.get(client, model, values["version"]).tags["validation_run"]
    hold_against_gate(model, values["version"])
    assert registry.get(client, model, values["version"]).tags["validation_run"] == run  # it goes on from there
    client.set_registered_model_alias(model, registry.CHAMPION, copied(model, "1").version)
    hold_against_gate(model, values["version"])
    with pytest.raises(approval.ApprovalError, match="waits for an approval"):
        decide(model, values["version"], approved_by="")
