"""The model registry: aliases of a registered model, and what each version must be able to answer."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

CHAMPION = "champion"  # serves
CHALLENGER = "challenger"  # wants to serve
PREVIOUS = "previous"  # served before the champion, and serves again after a rollback

# Tags that say where a version comes from. They go with it into another environment; all other tags stay behind,
# because what was decided about a version holds for one environment only.
LINEAGE = {
    *("git_commit", "environment", "trained_at", "training_run", "training_date", "training_rows"),
    *("training_table", "training_table_version", "features_table", "features_table_version"),
    *("training_start", "training_end", "training_fraction"),
}


# Databricks documentation, "Apply tags to Unity Catalog securable objects": a value has at most 1000 characters.
LONGEST_TAG = 1000


class RegistryError(RuntimeError):
    """The registry is not in the state that the step needs, or does not let this identity do it."""


@contextmanager
def explained() -> Iterator[None]:
    """Say what to grant where the registry refuses what is done inside; also a decorator.

    Raises:
        RegistryError: instead of the refusal. Unity Catalog refuses also what does not exist, to who may not see it.
    """
    try:
        yield
    except MlflowException as error:
        if error.error_code != "PERMISSION_DENIED":
            raise
        refusal = error.message.partition(" Config: ")[0].rstrip(".")  # the SDK adds how it logged in
        raise RegistryError(
            f"{refusal}. Check the name, or grant this identity what it lacks: reading a model needs "
            "USE CATALOG, USE SCHEMA and EXECUTE, approving it APPLY TAG as well. New versions and aliases need the "
            "owner of the model, the identity that deploys. See docs/access.md."
        ) from None


def connect() -> MlflowClient:
    """Return a client for Unity Catalog, or for the registry that `MLFLOW_REGISTRY_URI` names."""
    mlflow.set_registry_uri(os.environ.get("MLFLOW_REGISTRY_URI", "databricks-uc"))
    return MlflowClient()


def is_missing(error: MlflowException) -> bool:
    """Tell whether the registry says that something does not exist."""
    # Unity Catalog answers RESOURCE_DOES_NOT_EXIST or NOT_FOUND, an open-source registry also INVALID_PARAMETER_VALUE.
    return error.error_code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE")


@explained()
def find(client: MlflowClient, model: str, alias: str) -> ModelVersion | None:
    """Return the version that `alias` of `model` points at, or None where the model or the alias does not exist."""
    try:
        return client.get_model_version_by_alias(model, alias)
    except MlflowException as error:
        if is_missing(error):
            return None
        raise


@explained()
def get(client: MlflowClient, model: str, alias_or_version: str) -> ModelVersion:
    """Return the version of `model` with this alias or number.

    Raises:
        RegistryError: if there is none, or this identity may not see it.
    """
    try:
        if alias_or_version.isdigit():
            return client.get_model_version(model, alias_or_version)
        return client.get_model_version_by_alias(model, alias_or_version)
    except MlflowException as error:
        if not is_missing(error):
            raise
        kind = "number" if alias_or_version.isdigit() else "alias"
        raise RegistryError(f"{model} has no version with the {kind} '{alias_or_version}'.") from None


@explained()
def versions(client: MlflowClient, model: str) -> list[ModelVersion]:
    """Return every version of `model` with its tags, the newest first."""
    # Unity Catalog answers a search in pages, and leaves out tags and aliases.
    found = client.search_model_versions(f"name='{model}'")
    numbers = [int(version.version) for version in found]
    while found.token:
        found = client.search_model_versions(f"name='{model}'", page_token=found.token)
        numbers += [int(version.version) for version in found]
    return [client.get_model_version(model, str(number)) for number in sorted(numbers, reverse=True)]


@explained()
def tag(client: MlflowClient, version: ModelVersion, **tags: object) -> None:
    """Set tags of a model version.

    Raises:
        RegistryError: if a value is longer than the registry keeps. Then none is set.
    """
    for key, value in tags.items():
        if len(str(value)) > LONGEST_TAG:
            raise RegistryError(
                f"{key} has {len(str(value))} characters, and a tag has at most {LONGEST_TAG}: make it shorter."
            )
    for key, value in tags.items():
        client.set_model_version_tag(version.name, version.version, key, str(value))


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@explained()
def challenge(client: MlflowClient, version: ModelVersion) -> None:
    """Make `version` the challenger of its model: it has passed nothing yet, and nobody has approved it."""
    tag(client, version, validation_status="PENDING", challenged_at=now())
    for name in ("approval", "approved_by", "approved_at", "approval_reason"):
        if name in version.tags:
            client.delete_model_version_tag(version.name, version.version, name)
    client.set_registered_model_alias(version.name, CHALLENGER, version.version)


def approve(client: MlflowClient, version: ModelVersion, by: str, reason: str) -> None:
    """Record on `version` who approved it, when and why."""
    tag(client, version, approved_by=by, approved_at=now(), approval_reason=reason)
    # Last, because this is the tag that lets a promotion go on. Databricks' own "Approve" button sets the same one.
    tag(client, version, approval="Approved")


def check(client: MlflowClient, model: str, number: str) -> None:
    """See to it that version `number` of `model` is the champion, or may become it.

    Raises:
        RegistryError: if the version did not pass the gate, or another version has become challenger meanwhile.
    """
    version = get(client, model, number)
    champion, challenger = find(client, model, CHAMPION), find(client, model, CHALLENGER)
    if champion is not None and champion.version == version.version:
        return
    status = version.tags.get("validation_status")
    if status != "PASSED":
        raise RegistryError(f"Version {number} of {model} has validation_status {status}: only PASSED may serve.")
    if challenger is None or challenger.version != version.version:
        other = f"version {challenger.version} is" if challenger else "none is"
        raise RegistryError(f"Version {number} of {model} is not the challenger any more, {other}: start it again.")


@explained()
def activate(client: MlflowClient, model: str, number: str) -> tuple[ModelVersion, ModelVersion | None]:
    """Make the validated challenger `number` of `model` its champion, and the champion before it `previous`.

    A run that was interrupted ends in the same state when it is run again, because the aliases move in this order:
    `previous`, then `champion`, then `challenger` goes. A version that is champion already stays it.

    Returns:
        The champion, and the previous one (None for the first).

    Raises:
        RegistryError: as `check`.
    """
    check(client, model, number)
    version = get(client, model, number)
    champion, challenger = find(client, model, CHAMPION), find(client, model, CHALLENGER)
    if champion is None or champion.version != version.version:
        if champion is not None:
            client.set_registered_model_alias(model, PREVIOUS, champion.version)
        client.set_registered_model_alias(model, CHAMPION, version.version)
    if challenger is not None and challenger.version == version.version:
        client.delete_registered_model_alias(model, CHALLENGER)
    return version, find(client, model, PREVIOUS)


def way_back(client: MlflowClient, model: str) -> tuple[ModelVersion, ModelVersion]:
    """Return the champion of `model`, and the version that a rollback returns to.

    Raises:
        RegistryError: if there is no previous champion.
    """
    champion, previous = get(client, model, CHAMPION), find(client, model, PREVIOUS)
    if previous is None or (champion.version == previous.version and "replaced" not in previous.tags):
        raise RegistryError(f"{model} has no previous champion to return to: train or promote a version instead.")
    return champion, previous


@explained()
def roll_back(client: MlflowClient, model: str, by: str, reason: str) -> tuple[ModelVersion, ModelVersion]:
    """Make `previous` of `model` its champion again; run again after an interruption, it ends in the same state.

    Returns:
        The version that serves now, and the one that it replaced.

    Raises:
        RegistryError: as `way_back`.
    """
    champion, previous = way_back(client, model)
    if champion.version != previous.version:
        tag(client, champion, rolled_back_at=now(), rolled_back_by=by, rolled_back_reason=reason)
        tag(client, previous, replaced=champion.version)
        client.set_registered_model_alias(model, CHAMPION, previous.version)
    client.delete_registered_model_alias(model, PREVIOUS)
    serving = get(client, model, CHAMPION)
    return serving, get(client, model, serving.tags["replaced"])
