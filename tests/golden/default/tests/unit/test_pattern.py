"""What the deployment pattern of this project demands of its bundle files. An edit that breaks it fails here."""

import inspect
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from local.bundle import BundleError, load_bundle, target_names
from local.jobs import DYNAMIC, JobRun, Laptop

ROOT = Path(__file__).parents[2]

# The pattern deploy-code: every environment trains its own champion.
JOBS = {
    "dev": {"sample_data", "training", "inference", "monitoring", "integration_test"},
    "staging": {"sample_data", "training", "inference", "monitoring", "integration_test"},
    "prod": {"sample_data", "training", "inference", "monitoring"},
}
SCHEDULED: dict[str, set[str]] = {
    "dev": set(),
    "staging": set(),
    "prod": {"training", "inference", "monitoring"},
}
TRAINS_ON = {"dev": "all data", "staging": "a part", "prod": "all data"}
READS_CATALOGS_OF = {"dev": {"dev"}, "staging": {"staging"}, "prod": {"prod"}}
DRIFT_STARTS_TRAINING = {"dev": True, "staging": True, "prod": True}
REVIEWED = {"dev": False, "staging": True, "prod": True}  # by the data scientists, read-only

TARGETS = list(JOBS)
BUNDLES = {target: load_bundle(ROOT, target) for target in TARGETS}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ENTRY_POINTS: dict[str, str] = PYPROJECT["project"]["entry-points"]["tasks"]

every_target = pytest.mark.parametrize("target", TARGETS)


def jobs(target: str) -> dict[str, Any]:
    return BUNDLES[target]["resources"]["jobs"]


def tasks(target: str, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return (job, task) of each task that has the field `kind`."""
    for job, settings in jobs(target).items():
        for task in settings["tasks"]:
            if kind in task:
                yield job, task


def parameters(target: str, job: str) -> dict[str, str]:
    """Return the parameters of a job with their defaults."""
    return {parameter["name"]: parameter["default"] for parameter in jobs(target)[job].get("parameters", [])}


def names(target: str, job: str) -> set[tuple[str, str]]:
    """Return (name, value) of what a job gives to its tasks: its own parameters stand over theirs."""
    own = parameters(target, job)
    wheels = [task["python_wheel_task"] for key, task in tasks(target, "python_wheel_task") if key == job]
    given = {(name, value) for wheel in wheels for name, value in wheel["named_parameters"].items() if name not in own}
    return given | set(own.items())


def granted(target: str, kind: str) -> set[tuple[str, str]]:
    """Return (principal, privilege) of each grant on a kind of resources."""
    return {
        (grant["principal"], privilege)
        for resource in BUNDLES[target]["resources"][kind].values()
        for grant in resource.get("grants", [])
        for privilege in grant["privileges"]
    }


def schema(target: str) -> str:
    """Return the two-part name of the schema that a target deploys."""
    return BUNDLES[target]["resources"]["schemas"]["schema"]["id"]


def upstream(settings: dict[str, Any], key: str) -> set[str]:
    """Return the tasks of a job that must succeed before the task `key`."""
    needs = {task["task_key"]: {need["task_key"] for need in task.get("depends_on", [])} for task in settings["tasks"]}
    found: set[str] = set()
    waiting = {key}
    while waiting:
        waiting = {need for task in waiting for need in needs[task]} - found
        found |= waiting
    return found


def test_the_environments_are_those_of_the_pattern() -> None:
    assert target_names(ROOT) == TARGETS


@every_target
def test_exactly_the_jobs_of_the_pattern_exist(target: str) -> None:
    assert jobs(target).keys() == JOBS[target]


@every_target
def test_only_the_jobs_of_the_pattern_start_by_themselves(target: str) -> None:
    started = {
        job
        for job, settings in jobs(target).items()
        for start in ("schedule", "trigger", "triggers", "continuous")
        if start in settings and "PAUSED" not in str(settings[start]).replace("UNPAUSED", "")
    }
    assert started == SCHEDULED[target]


def test_training_starts_when_the_project_says() -> None:
    """In one environment, that of the model which prod serves, where the schedule may be paused."""
    trainings = [jobs(target)["training"] for target in TRAINS_ON]
    (schedule,) = (training["schedule"] for training in trainings if "schedule" in training)
    assert schedule["quartz_cron_expression"] == BUNDLES["prod"]["var"]["retraining_schedule"]


@pytest.mark.parametrize("target", TRAINS_ON)
def test_training_reads_as_much_as_the_pattern_says(target: str) -> None:
    share = float(parameters(target, "training")["training_fraction"])
    assert (share == 1) if TRAINS_ON[target] == "all data" else (0 < share < 1)


@pytest.mark.parametrize("target", [target for target in TARGETS if "integration_test" in JOBS[target]])
def test_the_integration_test_trains_on_a_part(target: str) -> None:
    calls = (task["run_job_task"] for job, task in tasks(target, "run_job_task") if job == "integration_test")
    (training,) = (call["job_parameters"] for call in calls if call["job_id"] == "training")
    assert 0 < float(training["training_fraction"]) < 1


def test_an_environment_that_receives_its_model_does_not_train() -> None:
    for target in TARGETS:
        called = {task["python_wheel_task"]["entry_point"] for _, task in tasks(target, "python_wheel_task")}
        assert ("train" in called) == (target in TRAINS_ON), target


def test_no_two_environments_share_a_schema() -> None:
    assert len({schema(target) for target in TARGETS}) == len(TARGETS)


@every_target
def test_an_environment_works_in_its_own_schema(target: str) -> None:
    """It writes there and to that of its integration test, and reads no catalog but those that the pattern says."""
    own = schema(target)
    readable = tuple(f"{BUNDLES[name]['var']['catalog']}." for name in READS_CATALOGS_OF[target])
    for job in jobs(target):
        for name, value in names(target, job):
            if name in ("schema", "model") and not DYNAMIC.fullmatch(value):
                assert value.startswith(own), f"{job}: {name}"
            if name in ("source_table", "source_model") and not DYNAMIC.fullmatch(value):
                assert value.startswith(readable), f"{job}: {name}"


def test_who_starts_a_job_chooses_no_names() -> None:
    """Except whoever deploys, and could release other names: they stand in the files, and a run changes its dates."""
    levels = {
        (target, job): {entry["level"] for entry in settings["permissions"]}
        for target in TARGETS
        for job, settings in jobs(target).items()
    }
    started_by_others = [where for where, found in levels.items() if found & {"CAN_MANAGE_RUN", "CAN_MANAGE"}]
    assert ("prod", "inference") in started_by_others
    for target, job in started_by_others:
        if job == "promotion":
            continue
        assert parameters(target, job).keys() <= {"run_date", "days", "training_fraction", "rows_per_day", "drift"}
        with pytest.raises(BundleError, match="has no parameter 'source_table'"):
            JobRun(Laptop(ROOT), BUNDLES[target], job, {"source_table": "somewhere.else.source"})


def test_nothing_fills_prod_with_sample_data_by_itself() -> None:
    called = {task["run_job_task"]["job_id"] for _, task in tasks("prod", "run_job_task")}
    assert "sample_data" not in called | SCHEDULED["prod"]
    filling = {
        job
        for job, task in tasks("prod", "python_wheel_task")
        if task["python_wheel_task"]["entry_point"] == "sample_data"
    }
    assert filling <= {"sample_data"}


@every_target
def test_a_candidate_becomes_champion_only_through_the_gate(target: str) -> None:
    activating = {
        job: task["task_key"]
        for job, task in tasks(target, "python_wheel_task")
        if task["python_wheel_task"]["entry_point"] == "activate"
    }
    assert activating.keys() == JOBS[target] & {"training", "promotion"}
    for job, key in activating.items():
        settings = jobs(target)[job]
        assert "validate" in upstream(settings, key)
        assert upstream(settings, "validate") & {"train", "receive"}
        assert not any("run_if" in task for task in settings["tasks"])


@every_target
def test_drift_starts_training_where_the_pattern_says(target: str) -> None:
    retraining = [task for job, task in tasks(target, "run_job_task") if job == "monitoring"]
    assert [task["run_job_task"]["job_id"] for task in retraining] == ["training"] * DRIFT_STARTS_TRAINING[target]
    for task in retraining:
        assert task["depends_on"] == [{"task_key": "drift_detected", "outcome": "true"}]


@every_target
def test_data_scientists_review_what_they_do_not_own(target: str) -> None:
    group = BUNDLES[target]["var"]["data_scientists_group"]
    allowed = {job: settings["permissions"] for job, settings in jobs(target).items()}
    if REVIEWED[target]:
        for job, permissions in allowed.items():
            assert {"group_name": group, "level": "CAN_VIEW"} in permissions, job
        assert {(group, privilege) for privilege in ("USE_SCHEMA", "SELECT", "EXECUTE")} <= granted(target, "schemas")
    else:
        assert not any(allowed.values())
        assert not granted(target, "schemas")


@every_target
def test_a_right_on_the_model_comes_with_the_way_to_it(target: str) -> None:
    """USE SCHEMA on its schema. USE CATALOG is not the bundle's to grant: see docs/access.md."""
    for principal, privilege in granted(target, "registered_models"):
        assert (principal, "USE_SCHEMA") in granted(target, "schemas"), privilege


@every_target
def test_no_deployment_deletes_what_lasts(target: str) -> None:
    """The CLI refuses what `prevent_destroy` forbids, but deletes what has left the bundle files altogether."""
    for kind, key in (("registered_models", "model"), ("schemas", "schema"), ("experiments", "experiment")):
        assert key in BUNDLES[target]["resources"][kind], f"{kind}.{key} would be deleted, with all that is in it"
        lifecycle = BUNDLES[target]["resources"][kind][key].get("lifecycle", {})
        assert lifecycle.get("prevent_destroy", False) == REVIEWED[target], f"see {kind}.{key} in protected.yml"


@every_target
def test_every_task_calls_a_function_with_exactly_its_parameters(target: str) -> None:
    for job, task in tasks(target, "python_wheel_task"):
        wheel = task["python_wheel_task"]
        name, where = wheel["entry_point"], f"{job}.{task['task_key']}"
        assert wheel["package_name"] == PYPROJECT["project"]["name"], where
        assert name in ENTRY_POINTS, where
        function = getattr(import_module(ENTRY_POINTS[name].partition(":")[0]), name)
        own, needed = wheel["named_parameters"].keys(), inspect.signature(function).parameters.keys()
        assert own, f"{where}: Databricks hands the parameters of a job only to tasks that have named ones"
        assert own <= needed <= own | parameters(target, job).keys(), where


@every_target
def test_every_job_parameter_that_is_read_exists(target: str) -> None:
    for job, settings in jobs(target).items():
        read = {found.removeprefix("job.parameters.") for found in DYNAMIC.findall(str(settings["tasks"]))}
        elsewhere = {found for found in read if "." in found}  # values of tasks
        assert read - elsewhere <= parameters(target, job).keys(), job


@every_target
def test_every_called_job_has_the_parameters_it_is_given(target: str) -> None:
    """By the task, and by Databricks, which hands the parameters of a job to the jobs that it starts."""
    for job, task in tasks(target, "run_job_task"):
        call = task["run_job_task"]
        given = call.get("job_parameters", {}).keys() | parameters(target, job).keys()
        assert given <= parameters(target, call["job_id"]).keys(), f"{job}.{task['task_key']}"


def test_every_entry_point_is_used_by_a_job() -> None:
    wheels = [task["python_wheel_task"] for target in TARGETS for _, task in tasks(target, "python_wheel_task")]
    assert ENTRY_POINTS.keys() == {wheel["entry_point"] for wheel in wheels}
