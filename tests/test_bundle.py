"""The bundle files, held against what Databricks publishes: typed models, and the schema of the configuration."""

import json
import os
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import Bake
from databricks.bundles.experiments import MlflowExperiment
from databricks.bundles.jobs import Job
from databricks.bundles.registered_models import RegisteredModel
from databricks.bundles.schemas import Schema
from helpers import ROOT, bundle_files, every_inference, every_pattern, every_target, load_bundle, strings

MODELS = {"jobs": Job, "schemas": Schema, "registered_models": RegisteredModel, "experiments": MlflowExperiment}
SCHEMA = Path(os.environ.get("BUNDLE_SCHEMA", ROOT.parent / "shared" / "bundle-schema" / "jsonschema.json"))

needs_schema = pytest.mark.skipif(
    not SCHEMA.exists(), reason=f"no {SCHEMA}: write one with `databricks bundle schema` and name it in BUNDLE_SCHEMA"
)


def declared(project: Path, target: str) -> dict[str, dict[str, Any]]:
    """Return the merged resources of `target`, with the types that they have once deployed.

    The project's reader gives each resource an `id`, that of a job is its key, and it leaves a number or a truth value
    of a variable as it is, where the Databricks CLI makes text of it.
    """
    found = load_bundle(project, target)["resources"]
    for resources in found.values():
        for resource in resources.values():
            resource.pop("id", None)
    for job in found["jobs"].values():
        for parameter in job["parameters"]:
            parameter["default"] = str(parameter["default"])
        for task in job["tasks"]:
            if wheel := task.get("python_wheel_task"):
                wheel["named_parameters"] = {name: str(value) for name, value in wheel["named_parameters"].items()}
            if call := task.get("run_job_task"):
                call["job_id"] = 1 + list(found["jobs"]).index(call["job_id"])
    return found


@pytest.fixture(scope="session")
def validator() -> jsonschema.protocols.Validator:
    """The official schema of a bundle's configuration."""
    text = SCHEMA.read_text(encoding="utf-8")
    # Python's regular expressions do not know the classes of Unicode by name.
    schema = json.loads(text.replace(r"[\\p{L}\\p{N}]", r"[^\\W_]").replace(r"\\p{L}", r"[^\\W\\d_]"))
    return jsonschema.validators.validator_for(schema)(schema)


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
    resources = declared(bake(deployment_pattern=pattern, inference=inference), target)
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
@every_inference
def test_bundle_files_follow_the_official_schema(pattern: str, inference: str, bake: Bake, validator: Any) -> None:
    for name, config in bundle_files(bake(deployment_pattern=pattern, inference=inference)).items():
        assert not complaints(validator, config), name


@needs_schema
@every_pattern
@every_inference
@every_target
def test_merged_resources_follow_the_official_schema(
    pattern: str, inference: str, target: str, bake: Bake, validator: Any
) -> None:
    """After the merge no resource is partial any more, so that a missing field counts as well."""
    resources = declared(bake(deployment_pattern=pattern, inference=inference), target)
    assert not complaints(validator, {"bundle": {"name": "project"}, "resources": resources})


@needs_schema
def test_the_official_schema_refuses(validator: Any) -> None:
    job = {"name": "job", "max_concurrent_runs": "many", "timeout": 3}
    text = " ".join(complaints(validator, {"bundle": {"name": "project"}, "resources": {"jobs": {"job": job}}}))
    assert "many" in text and "timeout" in text


@every_pattern
@every_inference
def test_every_variable_is_declared_and_used(pattern: str, inference: str, bake: Bake) -> None:
    config = bundle_files(bake(deployment_pattern=pattern, inference=inference))
    variables = config["databricks.yml"]["variables"]
    used = set(re.findall(r"\$\{var\.(\w+)\}", " ".join(text for _, text in strings(config))))
    assert used == variables.keys()
    for name, variable in variables.items():
        assert variable.get("description"), f"{name} has no description"
    for target, settings in config["databricks.yml"]["targets"].items():
        given = settings["variables"].keys()
        assert given <= variables.keys(), target
        assert {name for name, variable in variables.items() if "default" not in variable} <= given, target


@every_pattern
def test_each_file_is_named_after_its_resource(pattern: str, bake: Bake) -> None:
    """`<name>.<type>.yml`, and what a test leaves behind beside the job that needs it."""
    types = {"job": "jobs", "schema": "schemas", "registered_model": "registered_models", "experiment": "experiments"}
    for path, config in bundle_files(bake(deployment_pattern=pattern)).items():
        if path == "databricks.yml":
            continue
        name, kind, _ = path.removeprefix("resources/").split(".")
        sections = [config, *config.get("targets", {}).values()]
        keys = {key for section in sections for key in section.get("resources", {}).get(types[kind], {})}
        assert keys == {name}, path


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
        for environment in job["environments"]:
            assert environment["spec"] == {"environment_version": "5", "dependencies": ["../dist/*.whl"]}, key
        for task in job["tasks"]:
            assert ("environment_key" in task) == ("python_wheel_task" in task), f"{key}.{task['task_key']}"
            if task["task_key"] in ("train", "approval", "activate"):
                assert "max_retries" not in task, f"{key}.{task['task_key']} must not start again by itself"
