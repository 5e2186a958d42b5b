"""The model registry: aliases of a registered model, and what each version must be able to answer."""

import os
from datetime import UTC, datetime

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

CHAMPION = "champion"  # serves
CHALLENGER = "challenger"  # wants to serve
PREVIOUS = "previous"  # served before the champion, and serves again after a rollback


class RegistryError(RuntimeError):
    """The registry is not in the state that the step needs."""


def connect() -> MlflowClient:
    """Return a client for Unity Catalog, or for the registry that `MLFLOW_REGISTRY_URI` names."""
    mlflow.set_registry_uri(os.environ.get("MLFLOW_REGISTRY_URI", "databricks-uc"))
    return MlflowClient()


def find(client: MlflowClient, model: str, alias: str) -> ModelVersion | None:
    """Return the version that `alias` of `model` points at, or None where the model or the alias does not exist."""
    try:
        return client.get_model_version_by_alias(model, alias)
    except MlflowException as error:
        # Unity Catalog answers RESOURCE_DOES_NOT_EXIST, an open-source registry INVALID_PARAMETER_VALUE.
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND"):
            return None
        raise


def get(client: MlflowClient, model: str, alias: str) -> ModelVersion:
    """Return the version that `alias` of `model` points at.

    Raises:
        RegistryError: if there is none.
    """
    version = find(client, model, alias)
    if version is None:
        raise RegistryError(f"{model} has no version with the alias '{alias}'.")
    return version


def tag(client: MlflowClient, version: ModelVersion, **tags: object) -> None:
    """Set tags of a model version."""
    for key, value in tags.items():
        client.set_model_version_tag(version.name, version.version, key, str(value))


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def validated_challenger(client: MlflowClient, model: str) -> ModelVersion:
    """Return the challenger of `model`.

    Raises:
        RegistryError: if there is none, or it did not pass the gate.
    """
    challenger = get(client, model, CHALLENGER)
    status = challenger.tags.get("validation_status")
    if status != "PASSED":
        raise RegistryError(
            f"Version {challenger.version} of {model} has validation_status {status}: only PASSED may serve."
        )
    return challenger


def promote_challenger(client: MlflowClient, challenger: ModelVersion) -> ModelVersion | None:
    """Make `challenger` the champion of its model, and the champion before it `previous`.

    A run that was interrupted ends in the same state when it is run again, because the aliases move in this order:
    `previous`, then `champion`, then `challenger` goes.

    Returns:
        The previous champion, None for the first one.
    """
    model = challenger.name
    champion = find(client, model, CHAMPION)
    if champion is not None and champion.version != challenger.version:
        client.set_registered_model_alias(model, PREVIOUS, champion.version)
    client.set_registered_model_alias(model, CHAMPION, challenger.version)
    client.delete_registered_model_alias(model, CHALLENGER)
    return find(client, model, PREVIOUS)


def roll_back(client: MlflowClient, model: str, by: str, reason: str) -> tuple[ModelVersion, ModelVersion]:
    """Make `previous` of `model` its champion again.

    Returns:
        The version that serves now, and the one that it replaced.

    Raises:
        RegistryError: if there is no previous champion.
    """
    champion, previous = get(client, model, CHAMPION), find(client, model, PREVIOUS)
    if previous is None:
        raise RegistryError(f"{model} has no previous champion to return to: train or promote a version instead.")
    if champion.version != previous.version:
        tag(client, champion, rolled_back_at=now(), rolled_back_by=by, rolled_back_reason=reason)
        client.set_registered_model_alias(model, CHAMPION, previous.version)
    client.delete_registered_model_alias(model, PREVIOUS)
    return previous, champion
