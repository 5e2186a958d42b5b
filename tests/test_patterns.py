"""What the three patterns promise, environment by environment.

The tables here are written from the definition of the patterns, and share nothing with the template's own variables.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conftest import Bake
from helpers import PATTERNS, TARGETS, load_bundle, strings

CATALOGS = {"dev": "alpha_dev", "staging": "beta_staging", "prod": "gamma_prod"}
GROUP = "reviewers"
APPROVERS = "owners"
CRON = "0 45 2 ? * TUE"
MAKE_AND_USE = {"sample_data", "inference", "monitoring"}


@dataclass(frozen=True)
class Environment:
    """One line of the tables: an environment of a pattern."""

    pattern: str
    target: str
    champion: str  # "trained" here, or "received"
    jobs: set[str]  # besides sample_data, inference and monitoring
    scheduled: set[str] = field(default_factory=set)
    paused: set[str] = field(default_factory=set)  # has a schedule, off by default
    training_fraction: float = 1.0
    # Parameter -> environment whose catalog it names by default, where that is not the own one.
    reads: dict[str, str] = field(default_factory=dict)
    retrain_in: str | None = None  # what the drift alarm names; None where drift starts training
    ships: bool = False  # what is trained here serves prod
    reviewed: bool = True  # data scientists look on, read-only


TABLE = [
    # Code moves, every environment trains for itself; staging on a part, prod on everything, by itself.
    Environment("deploy-code", "dev", "trained", {"training", "integration_test"}, reviewed=False),
    Environment("deploy-code", "staging", "trained", {"training", "integration_test"}, training_fraction=0.2),
    Environment("deploy-code", "prod", "trained", {"training"}, {"training", "inference", "monitoring"}, ships=True),
    # The model is trained once, in dev; retraining by itself is possible there, and off.
    Environment(
        "deploy-model",
        "dev",
        "trained",
        {"training", "integration_test"},
        paused={"training"},
        retrain_in="dev",
        ships=True,
        reviewed=False,
    ),
    Environment("deploy-model", "staging", "received", {"promotion"}, reads={"source_model": "dev"}, retrain_in="dev"),
    Environment(
        "deploy-model",
        "prod",
        "received",
        {"promotion"},
        {"inference", "monitoring"},
        reads={"source_model": "staging"},
        retrain_in="dev",
    ),
    # Code moves; staging trains the model that ships, on the data of prod, by itself; prod receives it.
    Environment("hybrid", "dev", "trained", {"training", "integration_test"}, reviewed=False),
    Environment(
        "hybrid",
        "staging",
        "trained",
        {"training", "integration_test"},
        {"training"},
        reads={"source_table": "prod"},
        ships=True,
    ),
    Environment(
        "hybrid",
        "prod",
        "received",
        {"promotion"},
        {"inference", "monitoring"},
        reads={"source_model": "staging"},
        retrain_in="staging",
    ),
]


def environments(lines: list[Environment]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "environment", lines, ids=lambda environment: f"pattern:{environment.pattern}-target:{environment.target}"
    )


every_environment = environments(TABLE)
TRAINING = [line for line in TABLE if line.champion == "trained"]
RECEIVING = [line for line in TABLE if line.champion == "received"]
TESTING = [line for line in TABLE if "integration_test" in line.jobs]


@pytest.fixture
def project(environment: Environment, bake: Bake) -> Path:
    """A project whose names cannot be mistaken for each other."""
    answers = {f"{target}_catalog": catalog for target, catalog in CATALOGS.items()}
    answers |= {"schema_name": "facts", "model_name": "oracle", "project_slug": "delta-project"}
    return bake(
        deployment_pattern=environment.pattern,
        data_scientists_group=GROUP,
        model_approvers_group=APPROVERS,
        retraining_schedule=CRON,
        **answers,
    )


@pytest.fixture
def bundle(environment: Environment, project: Path) -> dict[str, Any]:
    return load_bundle(project, environment.target)


@pytest.fixture
def jobs(bundle: dict[str, Any]) -> dict[str, Any]:
    return bundle["resources"]["jobs"]


def defaults(job: dict[str, Any]) -> dict[str, str]:
    """Return the parameters of a job with their defaults."""
    return {parameter["name"]: parameter["default"] for parameter in job["parameters"]}


def settled(job: dict[str, Any]) -> dict[str, str]:
    """Return what the tasks of a job are given where nobody says otherwise: its own parameters stand over theirs."""
    given = {name: value for _, parameters in entry_points(job) for name, value in parameters.items()}
    return given | defaults(job)


def tasks(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {task["task_key"]: task for task in job["tasks"]}


def needs(job: dict[str, Any], task: str) -> set[str]:
    """Return the tasks of a job that must succeed before `task`, directly or not."""
    before = {need["task_key"] for need in tasks(job)[task].get("depends_on", [])}
    return before | {earlier for need in before for earlier in needs(job, need)}


def entry_points(job: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (entry point, its parameters) of each task of a job that runs the project's code."""
    for task in job["tasks"]:
        if wheel := task.get("python_wheel_task"):
            yield wheel["entry_point"], wheel["named_parameters"]


def called_jobs(job: dict[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (job, its parameters) of each task of a job that runs another job."""
    for task in job["tasks"]:
        if call := task.get("run_job_task"):
            yield call["job_id"], call.get("job_parameters", {})


def names_of_the_test(job: dict[str, Any]) -> dict[str, str]:
    """Return what the integration test works on: the names that it hands to the training."""
    given = dict(called_jobs(job))["training"] | {"source_table": defaults(job)["source_table"]}
    return {name: given[name] for name in ("source_table", "schema", "model", "experiment")}


def test_the_table_is_complete() -> None:
    lines = [(line.pattern, line.target) for line in TABLE]
    assert lines == [(pattern, target) for pattern in PATTERNS for target in TARGETS], "TABLE in tests/test_patterns.py"


@every_environment
def test_exactly_these_jobs_exist(environment: Environment, jobs: dict[str, Any]) -> None:
    assert jobs.keys() == MAKE_AND_USE | environment.jobs, "TABLE and MAKE_AND_USE in tests/test_patterns.py"


@every_environment
def test_exactly_these_jobs_start_by_themselves(environment: Environment, jobs: dict[str, Any]) -> None:
    schedules = {key: job["schedule"] for key, job in jobs.items() if "schedule" in job}
    paused = {key for key, schedule in schedules.items() if schedule.get("pause_status") == "PAUSED"}
    assert paused == environment.paused
    assert schedules.keys() - paused == environment.scheduled
    assert not [key for key, job in jobs.items() if job.keys() & {"trigger", "triggers", "continuous"}]
    for key, schedule in schedules.items():
        assert schedule["timezone_id"] == "UTC", key
        if key == "training":
            assert schedule["quartz_cron_expression"] == CRON


@environments(TRAINING)
def test_training_reads_what_it_should(environment: Environment, jobs: dict[str, Any]) -> None:
    training = settled(jobs["training"])
    catalog = CATALOGS[environment.reads.get("source_table", environment.target)]
    assert training["source_table"] == f"{catalog}.facts.source"
    assert float(training["training_fraction"]) == environment.training_fraction


@every_environment
def test_the_model_is_trained_or_received(environment: Environment, jobs: dict[str, Any]) -> None:
    """Where it is received, nothing can train: no job, no task, no path from one job to another."""
    code = {key: {name for name, _ in entry_points(job)} for key, job in jobs.items()}
    starters = {key for key, job in jobs.items() if "training" in {called for called, _ in called_jobs(job)}}
    trained = environment.champion == "trained"
    assert {key for key, names in code.items() if "train" in names} == ({"training"} if trained else set())
    assert {key for key, names in code.items() if "receive" in names} == (set() if trained else {"promotion"})
    if not trained:
        assert not starters
    for key, job in jobs.items():
        for called, given in called_jobs(job):
            assert called in jobs, f"{key} calls {called}"
            # Databricks hands the parameters of a job to the jobs that it starts, whether they declare them or not.
            assert given.keys() | defaults(job).keys() <= defaults(jobs[called]).keys(), f"{key} calls {called}"


@every_environment
def test_drift_leads_to_training_or_to_an_alarm(environment: Environment, jobs: dict[str, Any]) -> None:
    monitoring = jobs["monitoring"]
    condition = tasks(monitoring)["drift_detected"]["condition_task"]
    assert condition == {"op": "EQUAL_TO", "left": "{{tasks.monitor.values.drift_detected}}", "right": "true"}
    (consequence,) = [
        task
        for task in monitoring["tasks"]
        if {"task_key": "drift_detected", "outcome": "true"} in task.get("depends_on", [])
    ]
    if environment.retrain_in is None:
        assert consequence["run_job_task"]["job_id"] == "training"
    else:
        assert not list(called_jobs(monitoring))
        wheel = consequence["python_wheel_task"]
        assert wheel["entry_point"] == "drift_alarm"
        assert wheel["named_parameters"]["trained_in"] == environment.retrain_in


@every_environment
def test_no_other_environments_catalog_is_touched(environment: Environment, bundle: dict[str, Any]) -> None:
    """Other catalogs are read where the pattern says so, by these parameters and by nothing else."""
    others = {catalog: target for target, catalog in CATALOGS.items() if target != environment.target}
    found: dict[str, set[str]] = {}
    for path, text in strings(bundle["resources"]):
        for catalog, target in others.items():
            if catalog in text and path[-1] != "comment":
                name = path[3] if path[2] == "parameters" else path[-1]
                assert path[0] == "jobs" and path[2:] in [
                    ("parameters", name, "default"),
                    ("tasks", path[3], "python_wheel_task", "named_parameters", name),
                ], path
                found.setdefault(name.removeprefix("deployed_"), set()).add(target)  # the one that no run can change
                # Whoever fills a table, or is only a test, stays at home.
                assert path[1] not in ("sample_data", "integration_test"), path
    assert found == {parameter: {target} for parameter, target in environment.reads.items()}


@every_environment
def test_every_job_writes_into_its_own_catalog(environment: Environment, bundle: dict[str, Any]) -> None:
    own = CATALOGS[environment.target]
    for kind in ("schemas", "registered_models"):
        assert all(resource["catalog_name"] == own for resource in bundle["resources"][kind].values())
    for key, job in bundle["resources"]["jobs"].items():
        given = names_of_the_test(job) if key == "integration_test" else settled(job)
        targets = {given[name] for name in ("schema", "model", "model_name") if name in given}
        targets -= {"{{job.parameters.schema}}", "{{job.parameters.model_name}}"}
        assert targets or key == "sample_data"
        assert all(name.startswith(f"{own}.") for name in targets), key
        if key != "integration_test":
            assert targets <= {f"{own}.facts", f"{own}.facts.oracle"}, key
    assert settled(bundle["resources"]["jobs"]["sample_data"])["source_table"] == f"{own}.facts.source"


@every_environment
def test_environments_are_told_apart_in_what_they_record(environment: Environment, jobs: dict[str, Any]) -> None:
    for key, job in jobs.items():
        for name, given in entry_points(job):
            assert given.get("environment", environment.target) == environment.target, f"{key}: {name}"
            if name in ("train", "validate", "activate", "approval", "monitor", "drift_alarm"):
                assert "environment" in given, f"{key}: {name}"


@environments(TESTING)
def test_the_integration_test_runs_everything_on_little_data(environment: Environment, jobs: dict[str, Any]) -> None:
    test = jobs["integration_test"]
    calls = dict(called_jobs(test))
    assert set(calls) == {"sample_data", "training", "inference", "monitoring"}
    assert 0 < float(calls["training"]["training_fraction"]) < 1
    assert {name for name, _ in entry_points(test)} == {"check_results"}
    assert needs(test, "check_results") == set(calls)
    # Every job that it starts works on the test's names, and none falls back on a default.
    names = names_of_the_test(test) | {"source_table": "{{job.parameters.source_table}}"}
    for called, given in calls.items():
        for name in defaults(jobs[called]).keys() & names.keys():
            assert given.get(name) == names[name], f"{called}: {name}"
    (checked,) = (given for _, given in entry_points(test))
    assert {name: checked[name] for name in ("schema", "model")} == {name: names[name] for name in ("schema", "model")}


@environments([line for line in TESTING if line.ships])
def test_what_a_test_trains_never_ships(environment: Environment, bundle: dict[str, Any]) -> None:
    """Where the same environment trains the model that ships, the test has names of its own, and no schedule."""
    jobs = bundle["resources"]["jobs"]
    test, training = names_of_the_test(jobs["integration_test"]), settled(jobs["training"])
    resources = bundle["resources"]
    real = {resources["schemas"]["schema"]["id"], resources["registered_models"]["model"]["id"]}
    for name in ("source_table", "schema", "model", "experiment"):
        assert test[name] != training[name], name
    assert {test["schema"], test["model"]}.isdisjoint(real)
    assert not test["source_table"].startswith(f"{resources['schemas']['schema']['id']}.")
    assert test["model"].startswith(f"{test['schema']}.")
    assert "schedule" not in jobs["integration_test"]
    # Its schema, model and experiment are resources, so a deployment makes them.
    made = {resource["id"] for kind in ("schemas", "registered_models") for resource in resources[kind].values()}
    assert {test["schema"], test["model"]} <= made
    assert test["experiment"] in {experiment["name"] for experiment in resources["experiments"].values()}


@every_environment
def test_a_candidate_passes_the_gate_before_it_serves(environment: Environment, jobs: dict[str, Any]) -> None:
    activating = {key for key, job in jobs.items() if "activate" in dict(entry_points(job))}
    assert activating == ({"training"} if environment.champion == "trained" else {"promotion"})
    for key in activating:
        job = jobs[key]
        origin = "train" if key == "training" else "receive"
        assert {origin, "validate", "features", "check_data"} <= needs(job, "activate")
        assert origin in needs(job, "validate")
        assert not [task for task in job["tasks"] if "run_if" in task], "a failed task stops the run"
        versions = {given["version"] for _, given in entry_points(job) if "version" in given}
        assert versions == {f"{{{{tasks.{origin}.values.version}}}}"}, "all of them mean the same version"


@environments(RECEIVING)
def test_a_promotion_pulls_and_waits_for_an_approval(environment: Environment, jobs: dict[str, Any]) -> None:
    promotion = jobs["promotion"]
    given = defaults(promotion)
    assert given["source_model"] == f"{CATALOGS[environment.reads['source_model']]}.facts.oracle"
    assert given["source_version"] == "champion"
    assert given["approved_by"] == "", "nobody approves by default"
    assert "receive" in needs(promotion, "validate")
    assert "validate" in needs(promotion, "approval"), "whoever approves sees the outcome of the gate"
    assert "approval" in needs(promotion, "activate")
    approval = dict(entry_points(promotion))["approval"]
    assert approval["required"] is (environment.target == "prod")
    # An MLflow deployment job hands these two over.
    assert {"model_name", "model_version"} <= given.keys()


@every_environment
def test_who_may_look_on(environment: Environment, bundle: dict[str, Any], jobs: dict[str, Any]) -> None:
    """Data scientists see runs and experiment (permissions), and model, predictions and metrics (grants)."""
    experiments = bundle["resources"]["experiments"]
    lists = [resource["permissions"] for resource in (*jobs.values(), *experiments.values())]
    permissions = [{entry["group_name"]: entry["level"] for entry in entries} for entries in lists]
    granted = rights(bundle, "schemas")
    if not environment.reviewed:
        assert not any(permissions) and not granted
        return
    # Whoever approves a model before it serves prod may start jobs there, too.
    approves = environment.target == "prod"
    on_jobs = {GROUP: "CAN_VIEW"} | ({APPROVERS: "CAN_MANAGE_RUN"} if approves else {})
    on_experiments = {GROUP: "CAN_READ"} | ({APPROVERS: "CAN_READ"} if approves else {})
    assert permissions == [on_jobs] * len(jobs) + [on_experiments] * len(experiments)
    assert granted[GROUP] == {"USE_SCHEMA", "SELECT", "EXECUTE"}, "read, and no more"
    assert granted.keys() <= {GROUP, APPROVERS}


def rights(bundle: dict[str, Any], kind: str) -> dict[str, set[str]]:
    """Return the privileges of each principal on a kind of resources."""
    found: dict[str, set[str]] = {}
    for resource in bundle["resources"][kind].values():
        for grant in resource.get("grants", []):
            found.setdefault(grant["principal"], set()).update(grant["privileges"])
    return found


@every_environment
def test_whoever_approves_reaches_the_model(environment: Environment, bundle: dict[str, Any], project: Path) -> None:
    """A right on a model needs USE SCHEMA and USE CATALOG. The documents grant the latter."""
    on_model, on_schema = rights(bundle, "registered_models"), rights(bundle, "schemas")
    if environment.target == "prod" and environment.champion == "received":
        assert on_model == {APPROVERS: {"EXECUTE", "APPLY_TAG"}}
        assert on_schema[APPROVERS] == {"USE_SCHEMA"}
    else:
        assert not on_model and APPROVERS not in on_schema
    for principal in on_model.keys() | on_schema.keys():
        statement = f"GRANT USE CATALOG ON CATALOG `{CATALOGS[environment.target]}` TO `{principal}`;"
        pages = ["access.md"] + (["promotion.md"] if principal in on_model else [])
        for page in pages:
            assert statement in (project / "docs" / page).read_text(encoding="utf-8"), page


@every_environment
def test_the_table_of_who_may_read_and_write(environment: Environment, project: Path) -> None:
    """docs/access.md, which a test of the project holds against its bundle files."""
    page = (project / "docs" / "access.md").read_text(encoding="utf-8")
    lines = [
        line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith(f"| {environment.target} |")
    ]
    rows = {who: {"reads": reads, "writes": writes, "jobs": jobs} for _, who, reads, writes, jobs in lines}
    groups = {f"`{GROUP}`"} if environment.reviewed else set()
    groups |= {f"`{APPROVERS}`"} if environment.target == "prod" else set()
    assert rows.keys() == {"whoever deploys"} | groups

    def catalogs(text: str) -> set[str]:
        return {target for target, catalog in CATALOGS.items() if re.search(rf"\b{catalog}\b", text)}

    for who, row in rows.items():
        assert catalogs(row["writes"]) <= {environment.target}, f"{who} writes into another environment"
    deployer = rows["whoever deploys"]
    assert catalogs(deployer["writes"]) == {environment.target}
    assert catalogs(deployer["reads"]) == set(environment.reads.values())
    if environment.reviewed:
        assert "tables" in rows[f"`{GROUP}`"]["reads"] and "model" in rows[f"`{GROUP}`"]["reads"]
        assert rows[f"`{GROUP}`"]["writes"] == "nothing" and rows[f"`{GROUP}`"]["jobs"] == "sees them"
    if environment.target == "prod":
        tags = f"tags of the model of `{CATALOGS['prod']}.facts.oracle`"
        assert rows[f"`{APPROVERS}`"]["writes"] == (tags if environment.champion == "received" else "nothing")
        assert rows[f"`{APPROVERS}`"]["jobs"] == "starts them"


@every_environment
def test_what_lasts_cannot_be_destroyed(environment: Environment, bundle: dict[str, Any]) -> None:
    for kind, key in (("registered_models", "model"), ("schemas", "schema"), ("experiments", "experiment")):
        lifecycle = bundle["resources"][kind][key].get("lifecycle", {})
        assert lifecycle.get("prevent_destroy", False) == (environment.target != "dev")


@every_environment
def test_a_first_deployment_needs_nothing(environment: Environment, bundle: dict[str, Any]) -> None:
    """No endpoint, monitor or trigger that asks for a model version or a table which is not there yet."""
    assert bundle["resources"].keys() <= {"jobs", "schemas", "registered_models", "experiments"}


@every_environment
def test_targets_are_deployed_as_they_should(environment: Environment, bundle: dict[str, Any]) -> None:
    assert bundle["mode"] == ("development" if environment.target == "dev" else "production")
    assert bundle.get("default", False) == (environment.target == "dev")
    assert ("root_path" in bundle["workspace"]) == (environment.target != "dev")


@every_environment
def test_lineage_is_handed_to_the_task_that_records_it(environment: Environment, jobs: dict[str, Any]) -> None:
    """Which commit, which environment, which table; who approved the code, or the version."""
    assert "git_commit" in dict(entry_points(jobs["inference"]))["predict"]
    if environment.champion == "received":
        promotion = jobs["promotion"]
        assert "approved_by" not in dict(entry_points(promotion))["activate"]  # the job hands on its own
        assert {"approved_by", "approval_reason"} <= defaults(promotion).keys()
    else:
        code = dict(entry_points(jobs["training"]))
        assert {"git_commit", "environment", "source_table"} <= code["train"].keys()
        assert "training_fraction" in defaults(jobs["training"])
        assert "approved_by" in code["activate"]
