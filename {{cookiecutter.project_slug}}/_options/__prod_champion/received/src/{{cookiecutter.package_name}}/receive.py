"""Task `receive`: pulls a model version of the environment before into this one, and names it challenger."""

from __future__ import annotations

import logging
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from . import registry
from .task import run, set_task_value

if TYPE_CHECKING:
    from .models import Target

logger = logging.getLogger(__name__)


def find_copy(client: MlflowClient, model: str, training_run: str) -> ModelVersion | None:
    """Return the newest complete version of `model` that this training run made, None if there is none.

    The run is known from the moment that a version exists, because tags are copied with it. So a copy that was
    interrupted right afterwards is found again.
    """
    found = client.search_model_versions(f"name='{model}'")
    for version in sorted(found, key=lambda version: int(version.version), reverse=True):
        # Unity Catalog leaves the tags out of search results.
        whole = client.get_model_version(model, version.version)
        if whole.status == "READY" and whole.tags.get("training_run") == training_run:
            return whole
    return None


def find_source(client: MlflowClient, source_model: str, source_version: str) -> ModelVersion:
    """Return the version to receive.

    Args:
        source_version: its number, or an alias such as champion.

    Raises:
        RegistryError: if it cannot be seen from here, did not pass the gate of its own environment, or has no lineage.
    """
    try:
        source = registry.get(client, source_model, source_version)
    except registry.RegistryError as error:
        raise registry.RegistryError(
            f"{error} Check the name, grant this identity EXECUTE on it, or, if it lies in another metastore, "
            "use: uv run models promote --export"
        ) from None
    status = source.tags.get("validation_status")
    if status != "PASSED":
        raise registry.RegistryError(
            f"Version {source.version} of {source_model} has validation_status {status}: release one that PASSED there."
        )
    if "training_run" not in source.tags:
        raise registry.RegistryError(
            f"Version {source.version} of {source_model} does not name the run that trained it: "
            "release one that the training job made."
        )
    return source


def lineage(source: ModelVersion) -> dict[str, str]:
    """Return the tags that a copy of `source` carries: where it comes from, nothing of what was decided there."""
    kept = {name: value for name, value in source.tags.items() if name in registry.LINEAGE}
    return kept | {"source_model": source.name, "source_version": str(source.version)}


def receive(model: str, model_version: str, source_model: str, source_version: str) -> None:
    """Copy a source version into `model` unless it is there already, and make it challenger.

    Sets the task value `version`. Running it again changes nothing.

    Args:
        model_version: a version that is here already, for example in an MLflow deployment job; empty to copy one.

    Raises:
        RegistryError: if there is no such source, or it must not leave its environment.
    """
    client = registry.connect()
    if model_version:
        version = registry.get(client, model, model_version)
    else:
        source = find_source(client, source_model, source_version)
        found = find_copy(client, model, source.tags["training_run"])
        version = found or client.copy_model_version(f"models:/{source.name}/{source.version}", model)
        # Every tag is copied with a version. The last one set here tells whether they have been put right since.
        if version.tags.get("received_as") != f"{model}/{version.version}":
            for name in version.tags.keys() - registry.LINEAGE:
                client.delete_model_version_tag(model, version.version, name)
            registry.tag(client, version, **lineage(source), received_at=registry.now())
            registry.tag(client, version, received_as=f"{model}/{version.version}")
            version = client.get_model_version(model, version.version)
        logger.info("version %s of %s is %s of %s", version.version, model, source.version, source.name)

    holders = (registry.find(client, model, alias) for alias in (registry.CHAMPION, registry.CHALLENGER))
    if version.version not in {holder.version for holder in holders if holder is not None}:
        registry.challenge(client, version)
    set_task_value("version", str(version.version))


def carry_over(source: Target, target: Target, source_version: str) -> str:
    """Bring a version of `source` into `target` through this machine, where the two share no metastore.

    The artifacts are downloaded with the credentials for one workspace, and registered with those for the other.

    Returns:
        The number of the version in `target`; the one that is there already, if it was carried over before.

    Raises:
        RegistryError: as `find_source`.
    """
    with TemporaryDirectory() as folder:
        client = source.connect()
        version = find_source(client, source.model, source_version)
        artifacts = mlflow.artifacts.download_artifacts(f"models:/{source.model}/{version.version}", dst_path=folder)

        client = target.connect()
        found = find_copy(client, target.model, version.tags["training_run"])
        if found is not None:
            return str(found.version)
        mlflow.set_experiment(target.resources["experiments"]["experiment"]["name"])
        with mlflow.start_run(run_name=f"receive version {version.version} of {source.model}") as active:
            mlflow.log_artifacts(artifacts, "model")
        tags = lineage(version) | {"received_at": registry.now()}
        return str(mlflow.register_model(f"runs:/{active.info.run_id}/model", target.model, tags=tags).version)


def main() -> None:
    run(receive)
