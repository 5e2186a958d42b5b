import re
from itertools import count
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from fraud_detection import models
from fraud_detection.platform import registry

from local.environment import LaptopEnvironment

numbers = count(1)


@pytest.fixture
def model(home: Path, mlflow_client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> str:
    """The model of every target; it has no version yet."""
    name = f"catalog.schema.commands_{next(numbers)}"
    resources = {"registered_models": {"model": {"id": name}}, "jobs": {}}
    monkeypatch.setattr(models, "deployed", lambda target: LaptopEnvironment(target, resources, "", home))
    return name


def command(*arguments: str) -> None:
    models.main(list(arguments), models.deployed)


def test_an_empty_registry_has_nothing_to_tell(model: str) -> None:
    rows = models.describe(models.deployed("prod"))
    assert rows.pop("model") == model
    assert set(rows.values()) == {"-"}
    assert {"champion", "challenger", "previous", "trained in", "approved by"} <= rows.keys()


def test_status_shows_one_column_per_target(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    command("status")
    assert capsys.readouterr().out.splitlines()[0].split() == models.TARGETS


def test_status_fits_a_terminal_and_cuts_nothing_that_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = {"champion": "-", "previous": "-", "model": "-", "commit": "-", "approved by": "-"}
    told = {
        "dev": empty | {"champion": "1", "model": f"dev.{'long_' * 12}model", "commit": "0123abc"},
        "prod": empty | {"champion": "2", "approved by": "ann [red]of[/red] ###vso[task.x] ::error:: the board " * 4},
    }
    monkeypatch.setattr(models, "describe", lambda target: told[target.name])
    shown = models.status([models.Environment(name, {}, "") for name in told])

    assert max(map(len, shown.splitlines())) <= 80
    rows = {line.split("  ")[0]: line.split() for line in shown.splitlines()}
    assert rows["champion"] == ["champion", "1", "2"] and rows["commit"] == ["commit", "0123abc", "-"]
    assert "previous" not in shown, "no environment has one"
    assert told["dev"]["model"] in shown and "[red]of[/red]" in shown
    assert not re.search("##|::", shown), "the log of a pipeline would obey"


def test_a_rollback_that_cannot_be_done_is_one_sentence(mlflow_client: MlflowClient, model: str) -> None:
    with pytest.raises(SystemExit) as error:
        command("rollback", "--target", "prod")
    assert error.value.code == f"models: {model} has no version with the alias 'champion'."

    mlflow_client.create_registered_model(model)
    version = mlflow_client.create_model_version(model, source="file:///none")
    mlflow_client.set_registered_model_alias(model, registry.CHAMPION, version.version)
    with pytest.raises(SystemExit) as error:
        command("rollback", "--target", "prod")
    assert str(error.value.code).startswith(f"models: {model} has no previous champion to return to")


def test_a_rollback_needs_its_target(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command("rollback")
    assert "--target" in capsys.readouterr().err


def test_a_reason_that_fits_no_tag_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command("rollback", "--target", "prod", "--reason", "x" * 1001)
    assert "--reason: has 1001 characters: write at most 1000" in capsys.readouterr().err


def test_a_rollback_says_what_it_did(
    mlflow_client: MlflowClient, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mlflow_client.create_registered_model(model)
    for alias in (registry.PREVIOUS, registry.CHAMPION):
        version = mlflow_client.create_model_version(model, source="file:///none")
        mlflow_client.set_registered_model_alias(model, alias, version.version)

    command("rollback", "--target", "prod", "--by", "ann", "--reason", "complaints")

    assert capsys.readouterr().out == f"Version 1 of {model} serves again in prod; version 2 no longer does.\n"
    assert registry.get(mlflow_client, model, "2").tags["rolled_back_by"] == "ann"


def test_status_tells_what_serves_and_what_the_gate_refused(mlflow_client: MlflowClient, model: str) -> None:
    mlflow_client.create_registered_model(model)
    for alias, status in ((registry.CHAMPION, "PASSED"), (registry.CHALLENGER, "FAILED")):
        version = mlflow_client.create_model_version(model, source="file:///none")
        registry.tag(mlflow_client, version, validation_status=status, environment="dev")
        mlflow_client.set_registered_model_alias(model, alias, version.version)

    rows = models.describe(models.deployed("prod"))

    assert (str(rows["champion"]), rows["challenger"], rows["previous"]) == ("1", "2 (FAILED)", "-")
    assert rows["trained in"] == "dev"
