{% if cookiecutter.__prod_champion == "received" -%}
import getpass
import json
{% endif -%}
import re
from itertools import count
from pathlib import Path
{%- if cookiecutter.__prod_champion == "received" %}
from types import SimpleNamespace
{%- endif %}

import pytest
from mlflow.tracking import MlflowClient

from {{ cookiecutter.package_name }} import models
from {{ cookiecutter.package_name }}.platform import registry{{ ', serving' if cookiecutter.__realtime == 'yes' }}

from local.environment import LaptopEnvironment

numbers = count(1)


@pytest.fixture
def model(home: Path, mlflow_client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> str:
    """The model of every target; it has no version yet."""
    name = f"catalog.schema.commands_{next(numbers)}"
    resources = {"registered_models": {"model": {"id": name}}, "jobs": {}}
{%- if cookiecutter.__realtime == "yes" %}
    monkeypatch.setattr(models, "serving_settings", lambda target: None)
    monkeypatch.setattr(serving, "release", lambda *arguments: None)  # these versions cannot be loaded
{%- endif %}
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
{%- if cookiecutter.__prod_champion == "received" %}


def waiting(client: MlflowClient, model: str) -> str:
    """Add a version that has passed the gate as champion and challenger, and return its evidence."""
    client.create_registered_model(model)
    version = client.create_model_version(model, source="file:///none")
    for alias in (registry.CHAMPION, registry.CHALLENGER):
        client.set_registered_model_alias(model, alias, version.version)
    results = {"metrics": {"roc_auc": 0.9, "speed": None}, "champion": {"roc_auc": 0.8}, "champion_version": "7"}
    found = {"files_sha256": "0abc", "validation_run": "run", "validation_results": json.dumps(results)}
    compared = {"margins": {"roc_auc": [0.05, 0.02]}, "weakest": "##vso[a = b", "page_sha256": "0def"}
    found[registry.COMPARISON] = json.dumps(compared)
    registry.tag(client, version, validation_status="PASSED", git_commit="##vso[task.x]\x1b[2J", **found)
    return registry.evidence(registry.get(client, model, "1"))


def test_what_is_released_is_shown_with_what_its_gate_found(
    mlflow_client: MlflowClient, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        command("show", "--target", "staging")
    assert error.value.code == f"models: {model} has no version with the alias 'champion'."

    evidence = waiting(mlflow_client, model)
    command("show", "--target", "staging")
    shown = capsys.readouterr().out
    for text in ("0.9 ± 0.05 (champion 7: 0.8, difference +0.1 ± 0.02)", "speed  ", "0abc", evidence):
        assert text in shown
    assert "##vso[" not in shown and "\x1b" not in shown  # the log of a pipeline would obey
    for field, value in (("version", "1"), ("evidence", evidence)):
        command("show", "--target", "staging", "--field", field)
        assert capsys.readouterr().out == f"{value}\n"

    registry.tag(mlflow_client, registry.get(mlflow_client, model, "1"), validation_status="FAILED")
    with pytest.raises(SystemExit) as error:
        command("show", "--target", "staging")
    assert "has validation_status FAILED: choose one that PASSED" in str(error.value.code)


def test_only_what_was_shown_is_approved(
    mlflow_client: MlflowClient,
    model: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    evidence = waiting(mlflow_client, model)
    resources = {"registered_models": {"model": {"id": model}}, "jobs": {"promotion": {}}}
    monkeypatch.setattr(models, "deployed", lambda target: LaptopEnvironment(target, resources, "", home))
    approve: tuple[str, ...] = ("approve", "--target", "prod", "--version", "1")
    no_evidence: list[tuple[tuple[str, ...], str]] = [
        (approve, "No terminal can show what is approved"),
        ((*approve, "--evidence", "of another version"), "is not what was shown to you"),
    ]
    for arguments, refusal in no_evidence:
        with pytest.raises(SystemExit) as error:
            command(*arguments)
        assert refusal in str(error.value.code)
    not_named: list[tuple[tuple[str, ...], str]] = [
        (("approve", "--target", "prod"), "required: --version"),
        ((*approve[:-1], "challenger"), "'challenger' is not a number"),
        (("promote", "--target", "prod", "--approve"), "--approve needs --version with a number, and --evidence"),
    ]
    for arguments, refusal in not_named:
        with pytest.raises(SystemExit):
            command(*arguments)
        assert refusal in capsys.readouterr().err
    assert not registry.is_approved(registry.get(mlflow_client, model, "1"))

    command(*approve, "--evidence", evidence, "--by", "ann")

    tags = registry.get(mlflow_client, model, "1").tags
    assert (tags["approved_by"], tags["approved_as"]) == ("ann", getpass.getuser())
    assert registry.is_approved(registry.get(mlflow_client, model, "1"))


@pytest.mark.parametrize("typed", ["", "yes", "2", "1"])
def test_whoever_sits_at_a_terminal_reads_it_first(
    mlflow_client: MlflowClient,
    model: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: str,
) -> None:
    evidence = waiting(mlflow_client, model)
    resources = {"registered_models": {"model": {"id": model}}, "jobs": {"promotion": {}}}
    monkeypatch.setattr(models, "deployed", lambda target: LaptopEnvironment(target, resources, "", home))
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("builtins.input", lambda prompt: typed)
    try:
        command("approve", "--target", "prod", "--version", "1")
    except SystemExit as error:
        assert "was not approved" in str(error.code)
    assert evidence in capsys.readouterr().out
    assert registry.is_approved(registry.get(mlflow_client, model, "1")) == (typed == "1")
{%- endif %}
