"""The bundle files, held against what Databricks publishes: typed models, and the schema of the configuration."""

import functools
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import Bake
from databricks.bundles.alerts import Alert
from databricks.bundles.dashboards import Dashboard
from databricks.bundles.experiments import MlflowExperiment
from databricks.bundles.jobs import Job
from databricks.bundles.registered_models import RegisteredModel
from databricks.bundles.schemas import Schema
from helpers import (
    CHOICES,
    TARGETS,
    bundle_files,
    every_inference,
    every_pattern,
    every_target,
    load_bundle,
    strings,
)

MODELS = {"jobs": Job, "schemas": Schema, "registered_models": RegisteredModel, "experiments": MlflowExperiment}
MODELS |= {"dashboards": Dashboard, "alerts": Alert}
# Tasks that may start again by themselves. The failure of any other is an answer, or it must not be done twice.
MAY_START_AGAIN = {"collect", "data_profiling", "features", "predict", "receive", "sample_data"}
SCHEMA = os.environ.get("BUNDLE_SCHEMA")
HAS_SCHEMA = SCHEMA is not None or shutil.which("databricks") is not None

every_compute = pytest.mark.parametrize("compute", CHOICES["compute"])
needs_schema = pytest.mark.skipif(
    not HAS_SCHEMA,
    reason="no databricks on the PATH to print the official schema, and no file with it in BUNDLE_SCHEMA",
)


def declared(project: Path, target: str) -> dict[str, dict[str, Any]]:
    """Return the merged resources of `target`, with the types that they have once deployed.

    The project's reader gives each resource an `id`, that of a job is its key, and it leaves a number or a truth value
    of a variable as it is, where the Databricks CLI makes text of it. It looks nothing up in a workspace.
    """
    found = load_bundle(project, target)["resources"]
    for resources in found.values():
        for resource in resources.values():
            resource.pop("id", None)
    for resource in (*found.get("dashboards", {}).values(), *found.get("alerts", {}).values()):
        assert resource["warehouse_id"] is None
        resource["warehouse_id"] = "0123456789abcdef"
    for job in found["jobs"].values():
        for parameter in job["parameters"]:
            parameter["default"] = str(parameter["default"])
        for task in job["tasks"]:
            if wheel := task.get("python_wheel_task"):
                wheel["named_parameters"] = {name: str(value) for name, value in wheel["named_parameters"].items()}
            if condition := task.get("condition_task"):
                condition["left"] = str(condition["left"])
            if call := task.get("run_job_task"):
                call["job_id"] = 1 + list(found["jobs"]).index(call["job_id"])
    return found


@functools.cache
def official_schema() -> jsonschema.protocols.Validator:
    """Return the official schema of a bundle's configuration, from the file in BUNDLE_SCHEMA or from the CLI."""
    if SCHEMA is not None:
        text = Path(SCHEMA).read_text(encoding="utf-8")
    else:
        command = ["databricks", "bundle", "schema"]
        text = subprocess.run(command, capture_output=True, check=True, text=True, encoding="utf-8", timeout=60).stdout
    # Python's regular expressions do not know the classes of Unicode by name.
    schema = json.loads(text.replace(r"[\\p{L}\\p{N}]", r"[^\\W_]").replace(r"\\p{L}", r"[^\\W\\d_]"))
    return jsonschema.validators.validator_for(schema)(schema)


@pytest.fixture(scope="session")
def validator() -> jsonschema.protocols.Validator:
    return official_schema()


def complaints(validator: jsonschema.protocols.Validator, config: Any) -> list[str]:
    """Return what the schema has against `config`.

    A target overrides a part of a resource. The schema knows no parts, so what it misses there is left out here.
    """
    return [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}"
        for error in innermost(validator.iter_errors(config))
        if not (error.validator == "required" and "targets" in list(error.absolute_path)[:1])
    ]


def innermost(errors: Any) -> list[jsonschema.ValidationError]:
    """Return the errors that say what is wrong: of alternatives, those of the one that is no `${...}` text."""
    found = []
    for error in errors:
        if error.context:
            structures = [cause for cause in error.context if cause.validator not in ("pattern", "type")]
            found += innermost(structures or error.context)
        else:
            found.append(error)
    return found


@every_pattern
@every_inference
@every_target
def test_every_resource_loads_as_databricks_types_it(pattern: str, inference: str, target: str, bake: Bake) -> None:
    resources = declared(bake(deployment_pattern=pattern, inference=inference, sql_warehouse="Shared"), target)
    assert resources.keys() == MODELS.keys()
    for kind, by_key in resources.items():
        for key, resource in by_key.items():
            loaded = MODELS[kind].from_dict(resource)
            assert loaded.as_dict(), f"{kind}.{key}"


def test_a_typed_model_refuses_an_unknown_field() -> None:
    """Otherwise the test above could not fail."""
    with pytest.raises(ValueError, match="timeout"):
        Job.from_dict({"name": "job", "tasks": [{"task_key": "one", "timeout": 3}]})


@needs_schema
@every_pattern
@every_compute
@every_inference
def test_bundle_files_follow_the_official_schema(
    pattern: str, compute: str, inference: str, bake: Bake, validator: Any
) -> None:
    answers = {"deployment_pattern": pattern, "compute": compute, "inference": inference}
    for name, config in bundle_files(bake(**answers)).items():
        assert not complaints(validator, config), name


@needs_schema
@every_pattern
@every_inference
@every_target
@every_compute
def test_merged_resources_follow_the_official_schema(
    pattern: str, target: str, compute: str, inference: str, bake: Bake, validator: Any
) -> None:
    """After the merge no resource is partial any more, so that a missing field counts as well."""
    answers = {"deployment_pattern": pattern, "compute": compute, "inference": inference}
    resources = declared(bake(**answers), target)
    assert not complaints(validator, {"bundle": {"name": "project"}, "resources": resources})


@needs_schema
def test_the_official_schema_refuses(validator: Any) -> None:
    job = {"name": "job", "max_concurrent_runs": "many", "timeout": 3}
    text = " ".join(complaints(validator, {"bundle": {"name": "project"}, "resources": {"jobs": {"job": job}}}))
    assert "many" in text and "timeout" in text


@every_pattern
@every_compute
@every_inference
def test_every_variable_is_declared_and_used(pattern: str, compute: str, inference: str, bake: Bake) -> None:
    config = bundle_files(bake(deployment_pattern=pattern, compute=compute, inference=inference))
    variables = {name: variable for file in config.values() for name, variable in file.get("variables", {}).items()}
    used = set(re.findall(r"\$\{var\.(\w+)", " ".join(text for _, text in strings(config))))
    assert used == variables.keys()
    for name, variable in variables.items():
        assert variable.get("description"), f"{name} has no description"
    for target in TARGETS:
        settings = [file["targets"][target] for file in config.values() if target in file.get("targets", {})]
        given = {name for setting in settings for name in setting.get("variables", {})}
        assert given <= variables.keys(), target
        assert {name for name, variable in variables.items() if "default" not in variable} <= given, target


@every_pattern
@every_compute
@every_inference
def test_each_file_is_named_after_its_resource(pattern: str, compute: str, inference: str, bake: Bake) -> None:
    """`<name>.<type>.yml` holds this resource and no other: the CLI recommends it at each command."""
    types = {kind.removesuffix("s"): kind for kind in MODELS}
    project = bake(deployment_pattern=pattern, compute=compute, inference=inference, sql_warehouse="Shared")
    for path, config in bundle_files(project).items():
        name, *kind = path.removeprefix("resources/").removesuffix(".yml").split(".")
        sections = [config, *config.get("targets", {}).values()]
        held = {
            (kind, key)
            for section in sections
            for kind, resources in section.get("resources", {}).items()
            for key in resources
        }
        if kind:
            assert held == {(types[kind[0]], name)}, path
        elif path == "resources/integration_test.yml":  # what belongs to one test stands together
            test = {(kind, "integration_test") for kind in ("schemas", "registered_models", "experiments")}
            assert held == test | {("jobs", job) for job in ("sample_data", "training", "inference", "monitoring")}
        elif path == "resources/protected.yml":
            assert held == {("registered_models", "model"), ("schemas", "schema"), ("experiments", "experiment")}
        else:
            assert not held, path


@every_pattern
@every_inference
@every_target
def test_jobs_are_built_to_be_operated(pattern: str, inference: str, target: str, bake: Bake) -> None:
    """One run at a time, in a queue, within a time limit, and somebody hears of it."""
    for key, job in declared(bake(deployment_pattern=pattern, inference=inference), target)["jobs"].items():
        assert job["max_concurrent_runs"] == 1, key
        assert job["queue"] == {"enabled": True}, key
        (rule,) = job["health"]["rules"]
        assert 0 < rule["value"] < job["timeout_seconds"], f"{key}: warns before the time is over"
        for event in ("on_failure", "on_duration_warning_threshold_exceeded"):
            assert job["email_notifications"][event] == ["ml-team@example.com"], key
        assert job["tags"] == {"project": "fraud-detection", "environment": target}, key
        for task in job["tasks"]:
            again = "python_wheel_task" in task and task["task_key"] in MAY_START_AGAIN
            retries = task.get("max_retries")
            assert retries == (1 if again else None), f"{key}.{task['task_key']}: MAY_START_AGAIN in test_bundle.py"


@every_pattern
@every_inference
@every_target
def test_serverless_tasks_share_one_environment(pattern: str, inference: str, target: str, bake: Bake) -> None:
    for key, job in declared(bake(deployment_pattern=pattern, inference=inference), target)["jobs"].items():
        assert "job_clusters" not in job, key
        assert job["performance_target"] == ("PERFORMANCE_OPTIMIZED" if target == "dev" else "STANDARD"), key
        (environment,) = job["environments"]
        assert environment["spec"] == {"environment_version": "5", "dependencies": ["../dist/*.whl"]}, key
        for task in job["tasks"]:
            where, wheel = f"{key}.{task['task_key']}", "python_wheel_task" in task
            assert ("environment_key" in task) == wheel, where
            # Serverless compute starts a failed task again, without `max_retries` as well.
            final = wheel and task["task_key"] not in MAY_START_AGAIN
            assert task.get("disable_auto_optimization", False) == final, where
            assert not {"job_cluster_key", "libraries"} & task.keys(), f"{key}.{task['task_key']}"


@every_pattern
@every_target
@pytest.mark.parametrize("cloud", CHOICES["cloud"])
def test_classic_tasks_share_one_cluster(pattern: str, target: str, cloud: str, bake: Bake) -> None:
    spot = {
        "azure": ("azure_attributes", "SPOT_WITH_FALLBACK_AZURE"),
        "aws": ("aws_attributes", "SPOT_WITH_FALLBACK"),
        "gcp": ("gcp_attributes", "PREEMPTIBLE_WITH_FALLBACK_GCP"),
    }
    project = bake(deployment_pattern=pattern, compute="classic", cloud=cloud)
    for key, job in declared(project, target)["jobs"].items():
        assert not {"environments", "performance_target"} & job.keys(), key
        (shared,) = job["job_clusters"]
        cluster = shared["new_cluster"]
        assert Job.from_dict(job).job_clusters, key
        if key == "promotion":
            assert cluster["data_security_mode"] == "USER_ISOLATION", "a model that nobody has approved is kept apart"
            assert cluster["spark_version"] == "18.x-scala2.13", "ML runtimes have no standard access"
        else:
            assert cluster["spark_version"] == "18.x-cpu-ml-scala2.13", key
            assert cluster["data_security_mode"] == "SINGLE_USER", "ML runtimes need dedicated access for Unity Catalog"
        assert cluster.get("is_single_node", False) == (key in ("sample_data", "integration_test")), key
        assert cluster.get("is_single_node", False) != ("autoscale" in cluster), key
        attributes, availability = spot[cloud]
        given = {name: value for name, value in cluster.items() if name.endswith("_attributes")}
        if key == "training":
            assert given == {attributes: {"availability": availability, "first_on_demand": 1}}, "the driver is no spot"
        else:
            assert not given, key
        for task in job["tasks"]:
            libraries = [{"whl": "../dist/*.whl"}] if "python_wheel_task" in task else None
            assert task.get("libraries") == libraries, f"{key}.{task['task_key']}"
            assert task.get("job_cluster_key") == (libraries and shared["job_cluster_key"]), f"{key}.{task['task_key']}"
            assert not {"environment_key", "disable_auto_optimization"} & task.keys(), f"{key}.{task['task_key']}"


def test_a_cluster_that_lives_on_gets_every_change(bake: Bake) -> None:
    """The Databricks CLI makes the version of the wheel from its date, and the project dates it by its sources."""
    project = bake(compute="classic")
    assert load_bundle(project, "dev")["presets"] == {"artifacts_dynamic_version": True}
    assert not [target for target in ("staging", "prod") if "presets" in load_bundle(project, target)]
    assert "presets" not in load_bundle(bake(), "dev")


def test_training_moves_to_gpus_by_one_line(bake_anew: Bake) -> None:
    project = bake_anew(compute="classic")
    compute = project / "resources" / "compute.yml"
    text = compute.read_text(encoding="utf-8")
    assert text.count("<<: *cpu") == 1
    compute.write_text(text.replace("<<: *cpu", "<<: *gpu"), encoding="utf-8")
    jobs = declared(project, "prod")["jobs"]
    cluster = jobs["training"]["job_clusters"][0]["new_cluster"]
    assert Job.from_dict(jobs["training"]).job_clusters
    assert cluster["spark_version"] == "18.x-gpu-ml-scala2.13" and "NC" in cluster["node_type_id"]
    assert "gpu" not in jobs["inference"]["job_clusters"][0]["new_cluster"]["spark_version"]
