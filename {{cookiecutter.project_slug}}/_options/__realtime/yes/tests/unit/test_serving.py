"""Releases to an endpoint, by the real Databricks SDK over real HTTP, against the laptop's serving API."""

import json
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import ApiClient
from databricks.sdk.errors import DatabricksError, NotFound
from mlflow.models import infer_signature
from mlflow.tracking import MlflowClient
from sklearn.dummy import DummyClassifier

from {{ cookiecutter.package_name }} import models
from {{ cookiecutter.package_name }}.platform import registry, serving

from local import serving as laptop

SCHEMA = "catalog.schema"
SETTINGS = serving.Settings("Small", True, "callers", timeout_minutes=1)
IMPATIENT = serving.Settings("Small", True, "callers", timeout_minutes=0.01)
ROWS = pd.DataFrame({"number": [1.0, 2.0, 3.0]})
NewVersion = Callable[[], str]
Writes = Callable[[int], None]
numbers = count(1)


class KilledError(BaseException):
    """Stands for a process that was killed: nothing that it would have done afterwards happens."""


@pytest.fixture
def endpoints(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> laptop.Endpoints:
    """The serving API of an empty workspace, whose updates are quick."""
    for name, value in laptop.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(serving, "FIRST_PAUSE", 0.02)
    started = laptop.start(tmp_path)
    started.seconds = 0.05
    return started


@pytest.fixture(scope="module")
def logged(mlflow_client: MlflowClient, home: Path) -> str:
    """The address of a model that can be loaded."""
    mlflow_client.create_experiment("serving", artifact_location=(home / "serving").as_uri())
    mlflow.set_experiment("serving")
    pipeline = DummyClassifier(strategy="prior").fit(ROWS, [0, 0, 1])
    with mlflow.start_run():
        return mlflow.sklearn.log_model(
            pipeline,
            name="model",
            pyfunc_predict_fn="predict_proba",
            signature=infer_signature(ROWS, pipeline.predict_proba(ROWS)),
            input_example=ROWS,
            serialization_format="cloudpickle",
            pip_requirements=["scikit-learn"],
        ).model_uri


@pytest.fixture
def new_version(logged: str, mlflow_client: MlflowClient) -> Callable[[], str]:
    """Return a function that adds a validated challenger to the test's model, and returns its number."""
    name = f"{SCHEMA}.serving_{next(numbers)}"

    def add() -> str:
        version = mlflow.register_model(logged, name)
        registry.challenge(mlflow_client, version)
        registry.tag(mlflow_client, version, validation_status="PASSED")
        return str(version.version)

    add.model = name  # type: ignore[attr-defined]
    return add


@pytest.fixture
def model(new_version: Any) -> str:
    return new_version.model


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Return a function that lets this number of writes pass, and kills the process right after the last of them."""

    def arrange(survives: int) -> None:
        left = count(1)

        def killing(write: Callable[..., Any], counts: Callable[..., bool]) -> Callable[..., Any]:
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                result = write(*args, **kwargs)
                if counts(*args) and next(left) == survives:
                    raise KilledError
                return result

            return wrapper

        def is_write(_: Any, method: str, path: str, *rest: Any) -> bool:
            return method != "GET" and not path.endswith("/invocations")

        monkeypatch.setattr(ApiClient, "do", killing(ApiClient.do, is_write))
        for name in ("set_registered_model_alias", "delete_registered_model_alias", "set_model_version_tag"):
            monkeypatch.setattr(MlflowClient, name, killing(getattr(MlflowClient, name), lambda *_: True))

    yield arrange


def release(model: str, version: str, settings: serving.Settings = SETTINGS) -> None:
    """Do what the task `activate` does: the endpoint first, then the aliases."""
    serving.release(model, version, SCHEMA, settings)
    registry.activate(registry.connect(), model, version)


def shares(model: str) -> dict[str, int]:
    """Return what the endpoint of `model` serves now."""
    endpoint = serving.find(WorkspaceClient(), serving.endpoint_name(model))
    return serving.traffic(endpoint) if endpoint else {}


def champion(model: str) -> str | None:
    version = registry.find(registry.connect(), model, registry.CHAMPION)
    return str(version.version) if version else None


def ask(model: str, endpoints: laptop.Endpoints, body: Any = None, path: str = "invocations") -> tuple[Any, str]:
    """Send a request as any program does that knows HTTP, and return the answer with the version that gave it."""
    host = laptop.environment(endpoints.file.parents[1])["DATABRICKS_HOST"]
    request = urllib.request.Request(
        f"{host}/serving-endpoints/{serving.endpoint_name(model)}/{path}",
        data=json.dumps(body or {"dataframe_records": [{"number": 2, "id": "t-1"}]}).encode(),
        headers={"Authorization": f"Bearer {laptop.TOKEN}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer), answer.headers["served-model-name"]


# Names


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("prod.sales.model", "prod-sales-model"),
        ("dev.dev_ada_sales.dev_ada_model", "dev-dev_ada_sales-dev_ada_model"),
    ],
)
def test_an_endpoint_is_named_after_its_model(model: str, name: str) -> None:
    assert serving.endpoint_name(model) == name


def test_endpoints_of_different_models_never_have_the_same_name() -> None:
    names = ["a-b.c.d", "a.b-c.d", "a.b.c-d", "a.b.c" + 80 * "d", "a.b.c" + 81 * "d", "a.b.c€", "a.b.c#"]
    made = {serving.endpoint_name(name) for name in names}
    assert len(made) == len(names)
    assert all(len(name) <= 63 and set(name) <= set("abcd-_0123456789ef") for name in made)


# The way that a release takes


def test_the_first_release_makes_the_endpoint(endpoints: laptop.Endpoints, model: str, new_version: NewVersion) -> None:
    assert serving.describe(model) == "-"
    release(model, new_version())

    assert serving.describe(model) == "version 1: 100 % (READY)"
    assert ask(model, endpoints) == ({"predictions": [[pytest.approx(2 / 3), pytest.approx(1 / 3)]]}, "v1")
    known = endpoints.known[serving.endpoint_name(model)]
    (entity,) = known["config"]["served_entities"]
    assert (entity["workload_size"], entity["scale_to_zero_enabled"]) == ("Small", True)
    assert known["permissions"] == [{"group_name": "callers", "permission_level": "CAN_QUERY"}]
    table = known["ai_gateway"]["inference_table_config"]
    assert table["enabled"] and (table["catalog_name"], table["schema_name"]) == ("catalog", "schema")
    assert champion(model) == "1"


def test_nobody_may_ask_before_a_group_is_named(
    endpoints: laptop.Endpoints, model: str, new_version: NewVersion
) -> None:
    closed = replace(SETTINGS, callers_group="", tags="cost-center=ml,owner=fraud team")
    for _ in range(2):
        release(model, new_version(), closed)
        endpoint = endpoints.known[serving.endpoint_name(model)]
        assert endpoint["permissions"] == []
        assert {tag["key"]: tag["value"] for tag in endpoint["tags"]} == {"cost-center": "ml", "owner": "fraud team"}


def test_a_version_gets_traffic_only_after_it_has_answered(
    endpoints: laptop.Endpoints, model: str, new_version: NewVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(model, new_version())
    steps: list[Any] = []
    handle = endpoints.handle

    def watch(method: str, path: str, body: dict[str, Any]) -> Any:
        if method == "PUT":
            routes = body["traffic_config"]["routes"]
            steps.append({route["served_model_name"]: route["traffic_percentage"] for route in routes})
        elif "/invocations" in path:
            steps.append(path.split("/")[-2])
        return handle(method, path, body)

    monkeypatch.setattr(endpoints, "handle", watch)
    release(model, new_version())
    assert steps == [{"v1": 100, "v2": 0}, "v2", {"v2": 100}]
    assert shares(model) == {"2": 100}
    assert ask(model, endpoints)[1] == "v2"


def test_a_version_that_serves_already_changes_nothing(
    endpoints: laptop.Endpoints, model: str, new_version: NewVersion
) -> None:
    release(model, new_version())
    before = json.dumps(endpoints.known)
    release(model, "1")
    assert json.dumps(endpoints.known) == before


def test_an_endpoint_that_somebody_deleted_is_made_again(
    endpoints: laptop.Endpoints, model: str, new_version: NewVersion
) -> None:
    release(model, new_version())
    tables = [endpoints.known[serving.endpoint_name(model)]["ai_gateway"]["inference_table_config"]]
    WorkspaceClient().serving_endpoints.delete(serving.endpoint_name(model))

    release(model, "1")
    assert shares(model) == {"1": 100}
    tables.append(endpoints.known[serving.endpoint_name(model)]["ai_gateway"]["inference_table_config"])
    assert tables[0]["table_name_prefix"] != tables[1]["table_name_prefix"], "the old table cannot be used again"


def test_an_endpoint_of_another_model_is_left_alone(
    endpoints: laptop.Endpoints, model: str, new_version: NewVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(model, new_version())
    name = serving.endpoint_name(model)
    endpoints.known[name]["config"]["served_entities"][0]["entity_name"] = "catalog.schema.other"
    with pytest.raises(serving.ServingError, match=r"serves catalog.schema.other: delete that endpoint"):
        serving.release(model, "1", SCHEMA, SETTINGS)
    assert name in endpoints.known


# What goes wrong


@pytest.mark.parametrize(
    ("fault", "message"),
    [("do_not_start", "The container did not start"), ("do_not_answer", "The model raised an error")],
)
def test_a_version_that_fails_leaves_the_champion_serving(
    endpoints: laptop.Endpoints, model: str, new_version: NewVersion, fault: str, message: str
) -> None:
    release(model, new_version())
    number = new_version()
    getattr(endpoints.faults, fault).add(number)
    with pytest.raises(serving.ServingError, match=f"version 1 goes on serving: .*{message}"):
        release(model, number)
    assert (shares(model), champion(model)) == ({"1": 100}, "1")
    assert ask(model, endpoints)[1] == "v1"

    getattr(endpoints.faults, fault).clear()
    release(model, number)
    assert (shares(model), champion(model)) == ({"2": 100}, "2")


@pytest.mark.parametrize("fault", ["do_not_start", "do_not_answer"])
def test_a_first_version_that_fails_leaves_nothing_behind(
    endpoints: laptop.Endpoints, model: str, new_version: NewVersion, fault: str
) -> None:
    getattr(endpoints.faults, fault).add(new_version())
    with pytest.raises(serving.ServingError, match="nothing is left of it"):
        release(model, "1")
    assert not endpoints.known and champion(model) is None
    getattr(endpoints.faults, fault).clear()
    release(model, "1")
    assert (shares(model), champion(model)) == ({"1": 100}, "1")


def test_a_version_that_does_not_exist_does_not_serve(
    endpoints: laptop.Endpoints, model: str, new_version: NewVersion
) -> None:
    release(model, new_version())
    with pytest.raises(serving.ServingError, match="version 1 goes on serving"):
        serving.release(model, "7", SCHEMA, SETTINGS)
    assert shares(model) == {"1": 100}


def test_an_answer_that_is_no_number_does_not_pass(
    endpoints: laptop.Endpoints, model: str, new_version: NewVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(model, new_version())
    number = new_version()
    for answer in ([[float("nan"), 0.0]] * 3, [[0.5, 0.5]], []):
        monkeypatch.setattr(endpoints, "predict", lambda entity, body, answer=answer: {"predictions": answer})
        with pytest.raises(serving.ServingError, match="answers its input example of 3 rows with"):
            release(model, number)
        assert shares(model) == {"1": 100}


def test_an_update_that_does_not_end_is_given_up(
    endpoints: laptop.Endpoints, model: str, new_version: NewVersion
) -> None:
    release(model, new_version())
    number = new_version()
    endpoints.faults.never_ready = True
    with pytest.raises(serving.ServingError, match=r"could not be moved back to version 1: .* after 0.01 minutes"):
        release(model, number, IMPATIENT)
    assert champion(model) == "1"
    assert ask(model, endpoints)[1] == "v1", "what served before goes on while an update is under way"

    endpoints.faults.never_ready = False
    release(model, number)
    assert (shares(model), champion(model)) == ({"2": 100}, "2")


def test_a_first_update_that_does_not_end_leaves_nothing_behind(
    endpoints: laptop.Endpoints, model: str, new_version: NewVersion
) -> None:
    endpoints.faults.never_ready = True
    with pytest.raises(serving.ServingError, match=r"nothing is left of it: .* after 0.01 minutes"):
        release(model, new_version(), IMPATIENT)
    assert not endpoints.known


def test_conflicts_are_waited_for(endpoints: laptop.Endpoints, model: str, new_version: NewVersion) -> None:
    release(model, new_version())
    endpoints.faults.conflicts = 3
    release(model, new_version())
    assert shares(model) == {"2": 100}

    number = new_version()
    endpoints.faults.conflicts = 1000
    with pytest.raises(serving.ServingError, match="another update of it does not end"):
        release(model, number, IMPATIENT)
    assert (shares(model), champion(model)) == ({"2": 100}, "2")


def test_an_update_that_is_under_way_is_waited_for(
    endpoints: laptop.Endpoints, model: str, new_version: NewVersion
) -> None:
    """It comes from a run that died, or from somebody else."""
    release(model, new_version())
    name, number = serving.endpoint_name(model), new_version()
    dead = serving.Release(registry.connect(), model, number, SCHEMA, SETTINGS)
    entities, routes = dead.config({"1": 100, number: 0})
    WorkspaceClient().serving_endpoints.update_config(name, served_entities=entities, traffic_config=routes)
    with pytest.raises(DatabricksError, match="currently updating"):
        WorkspaceClient().serving_endpoints.update_config(name, served_entities=entities, traffic_config=routes)
    release(model, number)
    assert shares(model) == {"2": 100}


# Runs that are cut off


@pytest.mark.parametrize("survives", range(1, 8))
def test_a_first_release_that_was_cut_off_is_finished_by_the_next_run(
    endpoints: laptop.Endpoints, model: str, new_version: NewVersion, writes: Writes, survives: int
) -> None:
    number = new_version()
    cut_off = killed(lambda: release(model, number), writes, survives)
    for _ in range(2):
        release(model, number)
        assert (shares(model), champion(model)) == ({number: 100}, number)
    assert len(endpoints.known) == 1
    assert [version for _, version in serving.periods(registry.connect(), model)] == [1]
    assert cut_off == (survives <= 5)


@pytest.mark.parametrize("survives", range(1, 9))
def test_a_release_that_was_cut_off_is_finished_by_the_next_run(
    endpoints: laptop.Endpoints, model: str, new_version: NewVersion, writes: Writes, survives: int
) -> None:
    release(model, new_version())
    number = new_version()
    cut_off = killed(lambda: release(model, number), writes, survives)
    assert champion(model) in ("1", "2")
    assert ask(model, endpoints)[1] in ("v1", "v2")
    for _ in range(2):
        release(model, number)
        assert (shares(model), champion(model)) == ({number: 100}, number)
    assert [version for _, version in serving.periods(registry.connect(), model)] == [1, 2]
    assert cut_off == (survives <= 7)


@pytest.mark.parametrize("survives", range(1, 5))
def test_another_version_can_follow_one_that_was_cut_off(
    endpoints: laptop.Endpoints, model: str, new_version: NewVersion, writes: Writes, survives: int
) -> None:
    for first in (True, False):
        assert killed(lambda: release(model, new_version()), writes, survives)
        later = new_version()
        release(model, later)
        assert (shares(model), champion(model)) == ({later: 100}, later), f"first release: {first}"


def killed(action: Callable[[], object], writes: Writes, survives: int) -> bool:
    """Do something that is killed after this number of writes, and tell whether it was."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ApiClient, "do", ApiClient.do)  # so that leaving this block takes all of it back
        for name in ("set_registered_model_alias", "delete_registered_model_alias", "set_model_version_tag"):
            patch.setattr(MlflowClient, name, getattr(MlflowClient, name))
        writes(survives)
        try:
            action()
        except KilledError:
            return True
        return False


# The way back


def target(model: str) -> models.Environment:
    """Return an environment whose job says what its endpoint is made of."""
    parameters = {
        "serving_workload_size": "Small",
        "serving_scale_to_zero": "true",
        "endpoint_callers_group": "callers",
        "serving_timeout_minutes": "1",
        "serving_tags": "",
    }
    task = {"python_wheel_task": {"entry_point": "activate", "named_parameters": parameters}}
    resources = {"registered_models": {"model": {"id": model}}, "jobs": {"training": {"tasks": [task]}}}
    return models.Environment("prod", resources, "")


@pytest.fixture
def returned_to(endpoints: laptop.Endpoints, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands find the registry and the endpoints of the test."""
    monkeypatch.setattr(models.Environment, "connect", lambda self: registry.connect())


@pytest.mark.usefixtures("returned_to")
def test_a_rollback_moves_the_endpoint(endpoints: laptop.Endpoints, model: str, new_version: NewVersion) -> None:
    release(model, new_version())
    release(model, new_version())
    assert "Version 1 of" in models.roll_back(target(model), "ann", "complaints")
    assert (shares(model), champion(model)) == ({"1": 100}, "1")
    assert ask(model, endpoints)[1] == "v1"
    assert [version for _, version in serving.periods(registry.connect(), model)] == [1, 2, 1]
    with pytest.raises(registry.RegistryError, match="no previous champion"):
        models.roll_back(target(model), "ann", "complaints")


@pytest.mark.usefixtures("returned_to")
def test_a_rollback_that_cannot_serve_changes_nothing(
    endpoints: laptop.Endpoints, model: str, new_version: NewVersion
) -> None:
    release(model, new_version())
    release(model, new_version())
    endpoints.faults.do_not_start.add("1")
    with pytest.raises(serving.ServingError, match="version 2 goes on serving"):
        models.roll_back(target(model), "ann", "complaints", take_over=True)
    assert (shares(model), champion(model)) == ({"2": 100}, "2")


@pytest.mark.usefixtures("returned_to")
@pytest.mark.parametrize("survives", range(1, 12))
def test_a_rollback_that_was_cut_off_is_finished_by_the_next_one(
    endpoints: laptop.Endpoints, model: str, new_version: NewVersion, writes: Writes, survives: int
) -> None:
    release(model, new_version())
    release(model, new_version())
    cut_off = killed(lambda: models.roll_back(target(model), "ann", "complaints"), writes, survives)
    if cut_off and survives < 10:
        models.roll_back(target(model), "ann", "complaints", take_over=True)
    assert (shares(model), champion(model)) == ({"1": 100}, "1")
    assert cut_off == (survives <= 10)
    assert registry.find(registry.connect(), model, registry.PREVIOUS) is None


# What is known afterwards


def test_each_moment_has_the_version_that_had_the_traffic(
    endpoints: laptop.Endpoints, model: str, new_version: NewVersion
) -> None:
    before = datetime.now(UTC)
    release(model, new_version())
    between = datetime.now(UTC)
    release(model, new_version())
    (first, one), (second, two) = serving.periods(registry.connect(), model)
    assert (one, two) == (1, 2)
    assert before.timestamp() - 0.001 <= first.timestamp() <= between.timestamp() <= second.timestamp() + 0.001


def test_the_state_survives_the_command(
    endpoints: laptop.Endpoints, model: str, new_version: NewVersion, tmp_path: Path
) -> None:
    release(model, new_version())
    later = laptop.Endpoints(tmp_path)
    assert later.get(serving.endpoint_name(model))["state"] == {"ready": "READY", "config_update": "NOT_UPDATING"}


# The laptop's API itself


def test_traffic_is_shared_as_the_percentages_say(
    endpoints: laptop.Endpoints, model: str, new_version: NewVersion
) -> None:
    release(model, new_version())
    updating = serving.Release(registry.connect(), model, new_version(), SCHEMA, SETTINGS)
    updating.shift({"1": 50, "2": 50})
    assert {ask(model, endpoints)[1] for _ in range(40)} == {"v1", "v2"}
    assert ask(model, endpoints, path="served-models/v1/invocations")[1] == "v1"


def test_the_api_refuses_what_databricks_refuses(
    endpoints: laptop.Endpoints, model: str, new_version: NewVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(model, new_version())
    name = serving.endpoint_name(model)
    client = WorkspaceClient()
    with pytest.raises(NotFound):
        client.serving_endpoints.get("nothing")
    with pytest.raises(DatabricksError, match="already exists"):
        client.serving_endpoints.create(name)
    with pytest.raises(DatabricksError, match="not allowed"):
        client.serving_endpoints.create("with.dots")
    with pytest.raises(DatabricksError, match="neither dataframe_records nor dataframe_split"):
        client.serving_endpoints.query(name, inputs=[1])
    with pytest.raises(DatabricksError, match="number"):
        client.serving_endpoints.query(name, dataframe_records=[{"other": 1}])
    assert client.serving_endpoints.query(name, dataframe_records=[{"number": 1}]).served_model_name == "v1"
    with pytest.raises(DatabricksError, match="token"):
        WorkspaceClient(token="wrong").serving_endpoints.get(name)
