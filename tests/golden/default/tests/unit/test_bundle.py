"""The laptop reads the bundle files as the Databricks CLI does, and refuses by name what it does not know."""

from pathlib import Path
from typing import Any

import pytest

from local.bundle import BundleError, find_job, load_bundle, target_names
from local.jobs import JobRun, Laptop

BUNDLE = """
bundle: {name: demo}
include: [resources/*.yml]
variables:
  catalog: {description: catalog}
  table: {default: "${resources.schemas.schema.id}.rows"}
resources:
  schemas:
    schema: {catalog_name: "${var.catalog}", name: facts}
targets:
  dev: {variables: {catalog: dev}}
  prod:
    variables: {catalog: prod}
    resources:
      jobs:
        work:
          schedule: {quartz_cron_expression: "0 0 3 ? * SUN"}
          tags: {environment: prod}
          parameters:
            - {name: days, default: "30"}
            - {name: late, default: "yes"}
          tasks:
            - {task_key: second, max_retries: 3}
          environments:
            - {environment_key: extra}
"""
JOB = """
resources:
  jobs:
    work:
      name: ${bundle.name} work (${bundle.target})
      tags: {project: "${bundle.name}"}
      parameters:
        - {name: days, default: "1"}
        - {name: table, default: "${var.table}"}
      tasks:
        - {task_key: first, max_retries: 1}
        - {task_key: second, max_retries: 1}
      environments:
        - {environment_key: default}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path)
    return tmp_path


def write(root: Path, bundle: str = BUNDLE, job: str = JOB) -> None:
    (root / "resources").mkdir(exist_ok=True)
    (root / "databricks.yml").write_text(bundle, encoding="utf-8")
    (root / "resources" / "work.job.yml").write_text(job, encoding="utf-8")


def work(root: Path, target: str) -> dict[str, Any]:
    return load_bundle(root, target)["resources"]["jobs"]["work"]


def test_references_are_resolved_through_each_other(root: Path) -> None:
    job = work(root, "dev")
    assert job["name"] == "demo work (dev)"
    assert job["parameters"][1] == {"name": "table", "default": "dev.facts.rows"}
    assert load_bundle(root, "prod")["var"]["table"] == "prod.facts.rows"


def test_a_target_changes_its_own_settings_only(root: Path) -> None:
    assert "schedule" not in work(root, "dev")
    assert work(root, "prod")["schedule"] == {"quartz_cron_expression": "0 0 3 ? * SUN"}
    assert work(root, "prod")["tags"] == {"project": "demo", "environment": "prod"}


def test_keyed_lists_are_merged_by_their_key(root: Path) -> None:
    job = work(root, "prod")
    assert [(parameter["name"], parameter["default"]) for parameter in job["parameters"]] == [
        ("days", "30"),
        ("table", "prod.facts.rows"),
        ("late", "yes"),
    ]
    assert [(task["task_key"], task["max_retries"]) for task in job["tasks"]] == [("first", 1), ("second", 3)]


def test_other_lists_are_joined(root: Path) -> None:
    keys = [environment["environment_key"] for environment in work(root, "prod")["environments"]]
    assert keys == ["default", "extra"]


def test_an_unknown_target_is_named(root: Path) -> None:
    assert target_names(root) == ["dev", "prod"]
    with pytest.raises(BundleError, match=r"No target 'test'. Use one of: dev, prod."):
        load_bundle(root, "test")
    with pytest.raises(BundleError, match=r"No target 'prd'. Did you mean 'prod'\? Use one of: dev, prod."):
        load_bundle(root, "prd")


def test_an_unknown_reference_is_named(root: Path) -> None:
    write(root, job=JOB.replace("${var.table}", "${var.tabel}"))
    with pytest.raises(BundleError, match=r"\$\{var.tabel\} does not exist: 'tabel' is not defined."):
        load_bundle(root, "dev")


def run(root: Path, **parameters: str) -> JobRun:
    return JobRun(Laptop(root), load_bundle(root, "dev"), "work", parameters)


def test_parameters_override_defaults(root: Path) -> None:
    assert run(root, days="7").parameters == {"days": "7", "table": "dev.facts.rows"}


def test_an_unknown_job_is_named(root: Path) -> None:
    with pytest.raises(BundleError, match=r"dev has no job 'play'. It has: work."):
        JobRun(Laptop(root), load_bundle(root, "dev"), "play", {})
    with pytest.raises(BundleError, match=r"dev has no job 'wrok'. Did you mean 'work'\? It has: work."):
        find_job(load_bundle(root, "dev"), "wrok")


def test_an_unknown_parameter_is_named(root: Path) -> None:
    with pytest.raises(BundleError, match=r"Job 'work' has no parameter 'rows'. It has: days, table."):
        run(root, rows="7")
    with pytest.raises(BundleError, match=r"Job 'work' has no parameter 'day'. Did you mean 'days'\? It has: days"):
        run(root, day="7")


def test_a_job_field_that_the_laptop_does_not_know_is_named(root: Path) -> None:
    write(root, job=JOB + "      git_source: {git_branch: main}\n")
    with pytest.raises(BundleError, match="job work: the laptop does not know 'git_source'"):
        run(root)


def test_a_task_field_that_the_laptop_does_not_know_is_named(root: Path) -> None:
    write(root, job=JOB.replace("{task_key: first, max_retries: 1}", "{task_key: first, run_if: ALL_DONE}"))
    with pytest.raises(BundleError, match=r"task work.first: the laptop does not know 'run_if'"):
        run(root).run()


def test_a_job_that_is_called_must_know_every_parameter_of_its_caller(root: Path) -> None:
    """Databricks hands the parameters of a job to the jobs that it starts, over those of the task."""
    child = "    other:\n      parameters: [{name: days, default: '1'}]\n      tasks: []\n"
    call = "{task_key: first, run_job_task: {job_id: other, job_parameters: {days: '7'}}}"
    write(root, job=JOB.replace("{task_key: first, max_retries: 1}", call) + child)
    with pytest.raises(BundleError, match=r"Job 'other' has no parameter 'table'. It has: days."):
        run(root).run(until="first")


def test_tasks_that_wait_for_each_other_are_named(root: Path) -> None:
    write(root, job=JOB.replace("max_retries: 1", "depends_on: [{task_key: first}]"))
    with pytest.raises(BundleError, match="tasks wait for each other: first, second"):
        run(root).run()
