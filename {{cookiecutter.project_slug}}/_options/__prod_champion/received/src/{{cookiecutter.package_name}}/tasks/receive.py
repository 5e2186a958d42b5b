"""Task `receive`: pulls a model version of the environment before into this one, and names it challenger."""

import logging

from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from ..platform import card, registry
from ..platform.parameters import run, set_task_value

logger = logging.getLogger(__name__)


def find_copy(client: MlflowClient, model: str, source: ModelVersion) -> ModelVersion | None:
    """Return the version of `model` that is a copy of `source`, None if there is none.

    A copy names its source from the moment that it exists, in tags that are written here and not copied. One whose
    files never arrived in full, because the run was cut off, is deleted.
    """
    for version in registry.versions(client, model):
        if (version.tags.get("source_model"), version.tags.get("source_version")) != (source.name, str(source.version)):
            continue
        if version.status == "READY":
            return version
        client.delete_model_version(model, version.version)
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
            f"{error} If it lies in another metastore, use: uv run models promote --export"
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


def seen(source: ModelVersion) -> dict[str, str]:
    """Return what a pipeline shows of `source` before somebody approves it; nothing where its gate is too old for it.

    An approval that is given before the copy is tested here is held against this.
    """
    if not registry.has_gate_result(source):
        return {}
    return {"source_evidence": registry.evidence(source), "source_files_sha256": source.tags["files_sha256"]}


def tags_of_copy(source: ModelVersion) -> dict[str, str]:
    """Return the tags that a copy of `source` gets: where it comes from, nothing of what was decided there."""
    lineage = {name: value for name, value in source.tags.items() if name in registry.LINEAGE}
    own = {"source_model": source.name, "source_version": str(source.version), "received_at": registry.now()}
    return lineage | own | seen(source)


@registry.explained()
def receive(
    model: str,
    model_version: str,
    source_model: str,
    source_version: str,
    deployed_source_model: str,
    approval_required: bool,
) -> None:
    """Copy a source version into `model` unless it is there already, and make it challenger.

    Sets the task value `version`. Running it again changes nothing.

    Args:
        model_version: a version that is here already, for example in an MLflow deployment job; empty to copy one.
        deployed_source_model: the model that the bundle names. Where somebody has to approve, no run takes another.

    Raises:
        RegistryError: if there is no such source, or it must not leave its environment.
    """
    if approval_required and not model_version and source_model != deployed_source_model:
        raise registry.RegistryError(
            f"{model} receives from {deployed_source_model}, not from {source_model}: another source needs a release."
        )
    client = registry.connect()
    if model_version:
        version = registry.get(client, model, model_version)
        logger.info("version %s is here already", version.version)
    else:
        source = find_source(client, source_model, source_version)
        # Not `copy_model_version`: it copies every tag, and between workspaces no copy of a copy.
        version = find_copy(client, model, source) or client.create_model_version(
            model, f"models:/{source.name}/{source.version}", tags=tags_of_copy(source)
        )
        shown = seen(source)
        if not shown.items() <= version.tags.items():  # its gate has decided anew since it was copied
            registry.tag(client, version, **shown)
        logger.info("version %s is version %s of %s", version.version, source.version, source.name)

    holders = (registry.find(client, model, alias) for alias in (registry.CHAMPION, registry.CHALLENGER))
    if version.version not in {holder.version for holder in holders if holder is not None}:
        registry.challenge(client, version)
    card.write(client, model, str(version.version))
    set_task_value("version", str(version.version))


def main() -> None:
    run(receive)
