import getpass
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from mlflow.tracking import MlflowClient

from fraud_detection.platform import registry

numbers = count(1)


@pytest.fixture
def client(mlflow_client: MlflowClient) -> MlflowClient:
    return mlflow_client


@pytest.fixture
def model(client: MlflowClient) -> str:
    """The name of a registered model without versions."""
    return client.create_registered_model(f"catalog.schema.registry_{next(numbers)}").name


@pytest.fixture
def killed_after(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Return a function that lets a number of alias writes pass and fails from then on."""

    def arrange(survives: int) -> None:
        writes = count()

        def limited(write: Callable[..., None]) -> Callable[..., None]:
            def wrapper(*args: object) -> None:
                if next(writes) >= survives:
                    raise KilledError
                write(*args)

            return wrapper

        for name in ("set_registered_model_alias", "delete_registered_model_alias"):
            monkeypatch.setattr(MlflowClient, name, limited(getattr(MlflowClient, name)))

    yield arrange


class KilledError(Exception):
    """Stands for a process that was killed."""


def add_challenger(client: MlflowClient, model: str, status: str = "PASSED") -> str:
    """Add a version with this outcome of the gate as challenger, and return its number."""
    version = client.create_model_version(model, source="file:///none")
    registry.challenge(client, version)
    result = {name: "gate result" for name in registry.GATE_RESULT} | {"validation_status": status}
    registry.tag(client, version, **result)
    return str(version.version)


def add_champions(client: MlflowClient, model: str, number: int) -> None:
    for _ in range(number):
        registry.activate(client, model, add_challenger(client, model))


def aliases(client: MlflowClient, model: str) -> dict[str, str]:
    return {alias: str(version) for alias, version in client.get_registered_model(model).aliases.items()}


def test_a_version_is_found_by_alias_and_by_number(client: MlflowClient, model: str) -> None:
    add_champions(client, model, 1)
    assert registry.get(client, model, "champion").version == registry.get(client, model, "1").version
    assert registry.find(client, model, "previous") is None
    assert registry.find(client, "catalog.schema.nothing", "champion") is None
    for unknown in ("previous", "7"):
        with pytest.raises(registry.RegistryError, match=f"{model} has no version with the .* '{unknown}'"):
            registry.get(client, model, unknown)


def test_the_first_champion_has_no_previous(client: MlflowClient, model: str) -> None:
    champion, previous = registry.activate(client, model, add_challenger(client, model))
    assert (str(champion.version), previous) == ("1", None)
    assert aliases(client, model) == {"champion": "1"}


def test_the_champion_before_is_kept_as_previous(client: MlflowClient, model: str) -> None:
    add_champions(client, model, 3)
    assert aliases(client, model) == {"champion": "3", "previous": "2"}


@pytest.mark.parametrize("status", ["FAILED", "PENDING"])
def test_a_version_that_did_not_pass_the_gate_does_not_serve(client: MlflowClient, model: str, status: str) -> None:
    add_champions(client, model, 1)
    refused = add_challenger(client, model, status)
    with pytest.raises(registry.RegistryError, match=f"validation_status {status}: only PASSED may serve"):
        registry.activate(client, model, refused)
    assert aliases(client, model) == {"champion": "1", "challenger": "2"}


def test_a_version_that_was_overtaken_does_not_serve(client: MlflowClient, model: str) -> None:
    overtaken, newer = add_challenger(client, model), add_challenger(client, model)
    with pytest.raises(registry.RegistryError, match="not the challenger any more"):
        registry.activate(client, model, overtaken)
    assert aliases(client, model) == {"challenger": newer}


def test_a_new_challenger_has_passed_nothing(client: MlflowClient, model: str) -> None:
    number = add_challenger(client, model)
    registry.approve(client, registry.get(client, model, number), by="ann", reason="looks good")
    assert registry.get(client, model, number).tags["approved_by"] == "ann"

    registry.challenge(client, registry.get(client, model, number))

    tags = registry.get(client, model, number).tags
    assert tags["validation_status"] == "PENDING"
    assert not {"approval", "approved_by", "approved_at"} & tags.keys()


@pytest.mark.parametrize("changed", [*registry.GATE_RESULT, registry.COMPARISON])
def test_an_approval_is_of_one_version_as_the_gate_left_it(client: MlflowClient, model: str, changed: str) -> None:
    number = add_challenger(client, model)
    registry.approve(client, registry.get(client, model, number), by="ann", reason="looks good")
    approved = registry.get(client, model, number)
    assert registry.is_approved(approved)
    assert approved.tags["approved_as"] == getpass.getuser()

    client.set_model_version_tag(model, number, changed, "something else")

    assert not registry.is_approved(registry.get(client, model, number))
    other = registry.get(client, model, add_challenger(client, model))
    registry.tag(client, other, **{name: approved.tags[name] for name in registry.APPROVAL})
    assert not registry.is_approved(registry.get(client, model, str(other.version)))


def test_what_the_gate_has_not_decided_cannot_be_approved(client: MlflowClient, model: str) -> None:
    version = client.create_model_version(model, source="file:///none")
    registry.challenge(client, version)
    with pytest.raises(registry.RegistryError, match="has no files_sha256: its gate has not decided"):
        registry.approve(client, registry.get(client, model, "1"), by="ann", reason="looks good")


def test_no_second_operation_moves_aliases(client: MlflowClient, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "PATIENCE", 0)
    refused = pytest.raises(registry.RegistryError, match=r"activate_1 has been moving the aliases of .* --take-over")
    with registry.alone(client, model, "activate_1"):
        with refused, registry.alone(client, model, "rollback_1"):
            raise AssertionError("two at once")
        with registry.alone(client, model, "activate_1"):  # the same run, started again after its machine died
            pass
    assert client.get_registered_model(model).tags == {}


@pytest.mark.parametrize("how", ["the same again", "takes over", "hours later"])
def test_an_operation_that_died_stops_others_no_longer_than_it_has_to(
    client: MlflowClient, model: str, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(registry, "PATIENCE", 0)
    hours = 5 if how == "hours later" else 0
    since = (datetime.now(UTC) - timedelta(hours=hours)).isoformat()
    client.set_registered_model_tag(model, "changing_rollback_1", since)
    operation = "rollback_1" if how == "the same again" else "activate_2"
    with registry.alone(client, model, operation, take_over=how == "takes over"):
        pass
    assert client.get_registered_model(model).tags == {}


@pytest.mark.parametrize("survives", [0, 1, 2])
def test_an_interrupted_activation_ends_in_the_same_state_when_it_is_run_again(
    client: MlflowClient,
    model: str,
    killed_after: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    survives: int,
) -> None:
    add_champions(client, model, 2)
    number = add_challenger(client, model)

    killed_after(survives)
    with pytest.raises(KilledError):
        registry.activate(client, model, number)
    assert aliases(client, model)["champion"] in ("2", "3")
    monkeypatch.undo()

    for _ in range(2):
        registry.activate(client, model, number)
        assert aliases(client, model) == {"champion": "3", "previous": "2"}


def test_a_rollback_returns_to_previous_once(client: MlflowClient, model: str) -> None:
    add_champions(client, model, 2)
    now, before = registry.roll_back(client, model, by="ann", reason="complaints")
    assert (str(now.version), str(before.version)) == ("1", "2")
    assert aliases(client, model) == {"champion": "1"}
    assert registry.get(client, model, "2").tags["rolled_back_reason"] == "complaints"

    with pytest.raises(registry.RegistryError, match="no previous champion to return to"):
        registry.roll_back(client, model, by="ann", reason="complaints")
    assert aliases(client, model) == {"champion": "1"}


@pytest.mark.parametrize("survives", [0, 1])
def test_an_interrupted_rollback_ends_in_the_same_state_when_it_is_run_again(
    client: MlflowClient,
    model: str,
    killed_after: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    survives: int,
) -> None:
    add_champions(client, model, 2)
    killed_after(survives)
    with pytest.raises(KilledError):
        registry.roll_back(client, model, by="ann", reason="complaints")
    monkeypatch.undo()

    registry.roll_back(client, model, by="ann", reason="complaints")
    assert aliases(client, model) == {"champion": "1"}


def test_a_refusal_says_what_to_grant(client: MlflowClient, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unity Catalog refuses, instead of finding nothing, who may not see a model."""

    def refuse(*_: object, **__: object) -> None:
        raise MlflowException("ann does not have EXECUTE. Config: host=https://somewhere", PERMISSION_DENIED)

    number = add_challenger(client, model)
    version = registry.get(client, model, number)
    for call in ("get_model_version", "get_model_version_by_alias", "search_model_versions", "set_model_version_tag"):
        monkeypatch.setattr(MlflowClient, call, refuse)
    for action in (
        lambda: registry.find(client, model, "champion"),
        lambda: registry.get(client, model, number),
        lambda: registry.versions(client, model),
        lambda: registry.approve(client, version, by="ann", reason="looks good"),
    ):
        with pytest.raises(registry.RegistryError) as error:
            action()
        assert str(error.value).startswith("ann does not have EXECUTE. Check the name, or grant")
        assert "USE SCHEMA" in str(error.value) and "somewhere" not in str(error.value)


def test_a_tag_that_is_too_long_is_refused_before_anything_is_written(client: MlflowClient, model: str) -> None:
    number = add_challenger(client, model)
    with pytest.raises(registry.RegistryError, match="approval_reason has 1001 characters"):
        registry.approve(client, registry.get(client, model, number), by="ann", reason="x" * 1001)
    assert not {"approval", "approved_by"} & registry.get(client, model, number).tags.keys()


def test_versions_are_found_beyond_the_first_page(client: MlflowClient, model: str) -> None:
    for _ in range(3):
        add_challenger(client, model)
    search = partial(client.search_model_versions, max_results=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "search_model_versions", search)
        found = registry.versions(client, model)
    assert [int(version.version) for version in found] == [3, 2, 1]
    assert all(version.tags["validation_status"] == "PASSED" for version in found)
