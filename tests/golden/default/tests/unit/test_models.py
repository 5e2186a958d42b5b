import sys
from itertools import count
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from fraud_detection import models, registry

numbers = count(1)


@pytest.fixture
def model(home: Path, mlflow_client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> str:
    """The model of every target; it has no version yet."""
    name = f"catalog.schema.commands_{next(numbers)}"
    resources = {"registered_models": {"model": {"id": name}}, "jobs": {}}
    monkeypatch.chdir(home)  # the laptop's registry is found from the folder of the project
    monkeypatch.setattr(models, "open_target", lambda target, local: models.Target(target, True, resources, ""))
    return name


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["models", *arguments])
    models.main()


def test_an_empty_registry_has_nothing_to_tell(model: str) -> None:
    rows = models.describe(models.open_target("prod", local=True))
    assert rows.pop("model") == model
    assert set(rows.values()) == {"-"}
    assert {"champion", "challenger", "previous", "trained in", "approved by"} <= rows.keys()


def test_status_shows_one_column_per_target(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command(monkeypatch, "status")
    assert capsys.readouterr().out.splitlines()[0].split() == models.TARGETS


def test_a_rollback_that_cannot_be_done_is_one_sentence(
    mlflow_client: MlflowClient, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as error:
        command(monkeypatch, "rollback", "--target", "prod")
    assert error.value.code == f"models: {model} has no version with the alias 'champion'."

    mlflow_client.create_registered_model(model)
    version = mlflow_client.create_model_version(model, source="file:///none")
    mlflow_client.set_registered_model_alias(model, registry.CHAMPION, version.version)
    with pytest.raises(SystemExit) as error:
        command(monkeypatch, "rollback", "--target", "prod")
    assert str(error.value.code).startswith(f"models: {model} has no previous champion to return to")


def test_a_rollback_needs_its_target(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command(monkeypatch, "rollback")
    assert "--target" in capsys.readouterr().err


def test_a_reason_that_fits_no_tag_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command(monkeypatch, "rollback", "--target", "prod", "--reason", "x" * 1001)
    assert "--reason: has 1001 characters: write at most 1000" in capsys.readouterr().err


def test_a_rollback_says_what_it_did(
    mlflow_client: MlflowClient, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mlflow_client.create_registered_model(model)
    for alias in (registry.PREVIOUS, registry.CHAMPION):
        version = mlflow_client.create_model_version(model, source="file:///none")
        mlflow_client.set_registered_model_alias(model, alias, version.version)

    command(monkeypatch, "rollback", "--target", "prod", "--by", "ann", "--reason", "complaints")

    assert capsys.readouterr().out == f"Version 1 of {model} serves again in prod; version 2 does not any more.\n"
    assert registry.get(mlflow_client, model, "2").tags["rolled_back_by"] == "ann"


def test_status_tells_what_serves_and_what_the_gate_refused(mlflow_client: MlflowClient, model: str) -> None:
    mlflow_client.create_registered_model(model)
    for alias, status in ((registry.CHAMPION, "PASSED"), (registry.CHALLENGER, "FAILED")):
        version = mlflow_client.create_model_version(model, source="file:///none")
        registry.tag(mlflow_client, version, validation_status=status, environment="dev")
        mlflow_client.set_registered_model_alias(model, alias, version.version)

    rows = models.describe(models.open_target("prod", local=True))

    assert (str(rows["champion"]), rows["challenger"], rows["previous"]) == ("1", "2 (FAILED)", "-")
    assert rows["trained in"] == "dev"
