"""Batch, an endpoint, or both: what each answer renders, and a project with an endpoint from its tests to its end."""

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import Bake
from deltalake import DeltaTable
from helpers import CHOICES, TARGETS, commit, every_inference, every_pattern, files, load_bundle, run, sync

TASKS = {
    "batch": {"predict": "features"},
    "realtime": {"collect": "features"},
    "batch-and-realtime": {"predict": "features", "collect": "predict"},
}
SETTINGS = {
    *("serving_workload_size", "serving_scale_to_zero", "serving_timeout_minutes", "endpoint_callers_group"),
    "serving_tags",
}
with_endpoint = pytest.mark.parametrize("inference", CHOICES["inference"][1:], ids=lambda answer: f"inference:{answer}")


def tasks(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {task["task_key"]: task for task in job["tasks"]}


@every_pattern
def test_batch_alone_knows_nothing_of_an_endpoint(pattern: str, bake: Bake) -> None:
    words = re.compile(r"serving_|endpoint|scale.to.zero|scored_by|ask_for_days|real.?time", re.IGNORECASE)
    for name, content in files(bake(deployment_pattern=pattern, ci_provider="none")).items():
        found = [line for line in content.decode().splitlines() if words.search(line)]
        assert not found, f"{name}: {found[:3]}"


@every_pattern
@every_inference
def test_the_inference_job_does_what_was_asked_for(pattern: str, inference: str, bake: Bake) -> None:
    for target in TARGETS:
        job = load_bundle(bake(deployment_pattern=pattern, inference=inference), target)["resources"]["jobs"]
        found = tasks(job["inference"])
        assert found.keys() == {"check_data", "features"} | TASKS[inference].keys()
        for task, before in TASKS[inference].items():
            assert found[task]["depends_on"] == [{"task_key": before}]
            assert "git_commit" in found[task]["python_wheel_task"]["named_parameters"]


@every_pattern
@with_endpoint
def test_whoever_activates_says_what_the_endpoint_is_made_of(pattern: str, inference: str, bake: Bake) -> None:
    project = bake(deployment_pattern=pattern, inference=inference)
    for target in TARGETS:
        bundle = load_bundle(project, target)
        # An endpoint in the bundle could not be deployed before there is a model, and would have a second owner.
        assert "model_serving_endpoints" not in bundle["resources"]
        activating = [job for job in bundle["resources"]["jobs"].values() if "activate" in tasks(job)]
        assert len(activating) == 1
        given = tasks(activating[0])["activate"]["python_wheel_task"]["named_parameters"]
        assert given.keys() >= SETTINGS
        assert given["serving_scale_to_zero"] is (target != "prod")
        assert given["endpoint_callers_group"] == "", "who reads predictions must not write them"
        assert given["serving_timeout_minutes"] * 60 < activating[0]["timeout_seconds"] / 2


@every_pattern
@with_endpoint
def test_the_integration_test_asks_the_endpoint_and_removes_its_own(pattern: str, inference: str, bake: Bake) -> None:
    for target in TARGETS:
        bundle = load_bundle(bake(deployment_pattern=pattern, inference=inference), target)
        job = bundle["resources"]["jobs"].get("integration_test")
        if job is None:
            continue
        found = tasks(job)
        assert found["inference"]["depends_on"] == [{"task_key": "query_endpoint"}]
        assert found["query_endpoint"]["depends_on"] == [{"task_key": "training"}]
        assert found["check_endpoint"]["depends_on"] == [{"task_key": "check_results"}]
        given = found["check_endpoint"]["python_wheel_task"]["named_parameters"]
        assert given["keep_endpoint"] is (given["model"] == bundle["resources"]["registered_models"]["model"]["id"])


# Projects that are set up and run


def checked(bake_anew: Bake, **answers: str) -> Path:
    """Render a project, and see to it that its style is clean and its own tests pass."""
    project = bake_anew(**answers)
    commit(project)
    sync(project)
    for command in ("uv run ruff check", "uv run ruff format --check", "uv run mypy", "uv run pytest -q"):
        result = run(*command.split(), cwd=project, timeout=1500)
        assert result.returncode == 0, f"{command}\n{result.stdout[-6000:]}"
    passed = re.search(r"(\d+) passed", result.stdout)
    assert passed and int(passed[1]) > 150, result.stdout[-2000:]
    assert "skipped" not in result.stdout.splitlines()[-1]
    return project


@pytest.mark.slow
def test_a_project_with_both_passes_its_own_tests(bake_anew: Bake) -> None:
    checked(bake_anew, deployment_pattern="deploy-model", inference="batch-and-realtime", ci_provider="none")


@pytest.mark.slow
def test_a_project_with_an_endpoint_lives_its_life(bake_anew: Bake) -> None:
    """What the lifecycle leaves behind is read from outside, by none of the project's own code."""
    project = checked(bake_anew, inference="realtime")
    played = run("uv", "run", "python", "-m", "local", "lifecycle", cwd=project, timeout=1500)
    assert played.returncode == 0, played.stdout[-6000:]
    assert "Everything the pattern promises holds" in played.stdout

    state = project / ".local"
    endpoints = json.loads((state / "serving.json").read_text(encoding="utf-8"))
    names = {f"{target}-fraud_detection-fraud_detection_model" for target in TARGETS}
    assert endpoints.keys() == names, "the throw-away endpoint of the integration test is gone"
    with closing(sqlite3.connect(state / "mlflow.db")) as database:
        champions = dict(
            database.execute("SELECT name, version FROM registered_model_aliases WHERE alias = 'champion'").fetchall()
        )
    for target in TARGETS:
        endpoint = endpoints[f"{target}-fraud_detection-fraud_detection_model"]
        (entity,) = endpoint["config"]["served_entities"]
        assert entity["entity_name"] == f"{target}.fraud_detection.fraud_detection_model"
        assert entity["entity_version"] == str(champions[entity["entity_name"]])
        assert entity["scale_to_zero_enabled"] is (target != "prod")
        assert endpoint["permissions"] == [], "nobody named a group of callers"

        rows = DeltaTable(state / "lakehouse" / target / "fraud_detection" / "predictions").to_pyarrow_table()
        predictions = rows.to_pylist()
        assert len({row["transaction_id"] for row in predictions}) == len(predictions) > 0
        for row in predictions:
            assert row["scored_by"] == "endpoint" and 0 <= row["fraud_score"] <= 1
            assert row["model_version"] in {1, 2, 3}

    # The endpoints are still there for the next command.
    status = run("uv", "run", "python", "-m", "local", "models", "status", cwd=project)
    assert status.returncode == 0, status.stdout
    assert len(re.findall(r"^  endpoint +version \d: 100 %", status.stdout, re.MULTILINE)) == 3
    assert [line for line in (played.stdout + status.stdout).splitlines() if len(line) > 80] == []
