"""The model registry: aliases of a registered model, and what each version must be able to answer."""

import getpass
import hashlib
import os
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

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


# What `validate` writes on a version: what an approval is about.
GATE_RESULT = ("files_sha256", "validation_status", "validation_run", "validation_results")
COMPARISON = "validation_comparison"  # what it shows with that; the gate of an older release did not write it
APPROVAL = ("approval", "approved_by", "approved_as", "approved_at", "approval_reason", "approved_evidence")

CHANGING = "changing_"  # begins the tags of a model that say which operation moves its aliases
PATIENCE = 60.0  # seconds to wait for the end of another operation
LONGEST_OPERATION = timedelta(hours=4)  # jobs stop themselves after that

# Databricks documentation, "Apply tags to Unity Catalog securable objects": a value has at most 1000 characters.
LONGEST_TAG = 1000


class RegistryError(RuntimeError):
    """The registry is not in the state that the step needs, or does not let this identity do it."""


@contextmanager
def explained() -> Iterator[None]:
    """Say what to grant where the registry refuses what is done inside; also a decorator.

    Raises:
        RegistryError: instead of the refusal. Unity Catalog also refuses what does not exist.
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


def signed_in() -> str:
    """Return who this process is to the registry: a user or a service principal of the workspace, or of the laptop."""
    if mlflow.get_registry_uri().startswith("databricks"):
        from databricks.sdk import WorkspaceClient  # importing it takes a second, in each task that uses the registry

        return str(WorkspaceClient().current_user.me().user_name)
    return getpass.getuser()


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


@contextmanager
def downloaded(model: str, number: str) -> Iterator[Path]:
    """Yield a folder with the files of a version, for as long as the block lasts."""
    with TemporaryDirectory() as folder, explained():
        yield Path(mlflow.artifacts.download_artifacts(f"models:/{model}/{number}", dst_path=folder))


def files_sha256(folder: Path) -> str:
    """Return the SHA-256 of the files of a model: of the list that `sha256sum` makes of them, in the order of names."""
    # MLflow adds to each download the name that the model has where it came from.
    files = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_file() and path.name != "registered_model_meta"
    }
    lines = [f"{hashlib.sha256(files[name].read_bytes()).hexdigest()}  {name}\n" for name in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def has_gate_result(version: ModelVersion) -> bool:
    """Tell whether the gate has decided on `version`, and recorded all that an approval needs."""
    return set(GATE_RESULT) <= version.tags.keys()


def evidence(version: ModelVersion, result: Mapping[str, str] | None = None) -> str:
    """Return what stands for a version and the results of its gate: the SHA-256 of its name, number and gate result.

    Args:
        result: the gate result, from the tags of the version unless it is given.

    Raises:
        RegistryError: if the gate has not decided, or the version comes from before it recorded all of it.
    """
    result = version.tags if result is None else result
    if missing := [name for name in GATE_RESULT if name not in result]:
        raise RegistryError(
            f"Version {version.version} of {version.name} has no {missing[0]}: "
            "its gate has not decided, or did so before it recorded what an approval needs."
        )
    shown = (*GATE_RESULT, COMPARISON) if COMPARISON in result else GATE_RESULT
    known = [version.name, str(version.version), *(result[name] for name in shown)]
    return hashlib.sha256("\n".join(known).encode()).hexdigest()


@explained()
def challenge(client: MlflowClient, version: ModelVersion) -> None:
    """Make `version` the challenger of its model: it has passed nothing yet, and nobody has approved it."""
    tag(client, version, validation_status="PENDING", challenged_at=now())
    forget_approval(client, version)
    client.set_registered_model_alias(version.name, CHALLENGER, version.version)


def forget_approval(client: MlflowClient, version: ModelVersion) -> None:
    """Take an approval back."""
    for name in APPROVAL:
        if name in version.tags:
            client.delete_model_version_tag(version.name, version.version, name)


def approve(client: MlflowClient, version: ModelVersion, by: str, reason: str) -> None:
    """Record on `version` who approved the results of its gate, when and why, and who was signed in while recording it.

    Raises:
        RegistryError: if there is nothing to approve yet.
    """
    decision = {"approved_by": by, "approved_as": signed_in(), "approved_at": now(), "approval_reason": reason}
    # The evidence is that of the version which was shown: if anything about it changes, the approval does not hold.
    tag(client, version, approved_evidence=evidence(version), **decision)
    # Last, because this is the tag that lets a promotion go on. Databricks' own "Approve" button sets the same one.
    tag(client, version, approval="Approved")


def is_approved(version: ModelVersion) -> bool:
    """Tell whether `version` is approved as it is now, with what its gate has found."""
    tags = version.tags
    approved = tags.get("approval") == "Approved" and has_gate_result(version)
    return approved and tags.get("approved_evidence") == evidence(version)


@contextmanager
def alone(client: MlflowClient, model: str, operation: str, take_over: bool = False) -> Iterator[None]:
    """Let no other operation move the aliases of `model` while the block lasts.

    The registry cannot compare and set, so each operation announces itself by a tag of the model before it looks for
    others: of two that begin at once at least one sees the other, and makes way. One whose process dies leaves its tag
    behind, because nobody else knows how far it got. The same operation goes on from there.

    Args:
        operation: its name, such as `activate_3`.
        take_over: whether the others are known to have died.

    Raises:
        RegistryError: if another operation does not end within `PATIENCE` seconds.
    """
    own = f"{CHANGING}{operation}"
    dead = announce(client, model, own, take_over)
    try:
        yield
    except Exception:
        client.delete_registered_model_tag(model, own)
        raise
    for name in (*dead, own):
        client.delete_registered_model_tag(model, name)


@explained()
def announce(client: MlflowClient, model: str, own: str, take_over: bool) -> list[str]:
    """Set the tag `own` as `alone` describes, and return the tags that dead operations have left behind."""
    deadline = time.monotonic() + PATIENCE
    while True:
        client.set_registered_model_tag(model, own, now())
        tags = client.get_registered_model(model).tags
        others = {name: since for name, since in tags.items() if name.startswith(CHANGING) and name != own}
        died_before = (datetime.now(UTC) - LONGEST_OPERATION).isoformat()
        alive = [name for name, since in others.items() if since > died_before]
        if not alive or take_over:
            return list(others)
        client.delete_registered_model_tag(model, own)
        if time.monotonic() >= deadline:
            raise RegistryError(
                f"{alive[0].removeprefix(CHANGING)} has been moving the aliases of {model} since {tags[alive[0]]}. "
                "Wait until it ends, or start it again if it was cut off. A rollback goes ahead with --take-over."
            )
        time.sleep(random.uniform(0.5, 2))  # of two that make way for each other, one is back first


def check(client: MlflowClient, model: str, number: str, approval_required: bool) -> None:
    """See to it that version `number` of `model` is the champion, or may become it.

    Raises:
        RegistryError: if the version did not pass the gate, is not approved as it is now although it has to be, or
            another version has become challenger meanwhile.
    """
    version = get(client, model, number)
    champion, challenger = find(client, model, CHAMPION), find(client, model, CHALLENGER)
    if champion is not None and champion.version == version.version:
        return
    status = version.tags.get("validation_status")
    if status != "PASSED":
        raise RegistryError(f"Version {number} of {model} has validation_status {status}: only PASSED may serve.")
    if approval_required and not is_approved(version):
        raise RegistryError(f"Nobody has approved version {number} of {model} as it is now: promote it again.")
    if challenger is None or challenger.version != version.version:
        other = f"version {challenger.version} is" if challenger else "none is"
        raise RegistryError(f"Version {number} of {model} is not the challenger any more, {other}: start it again.")


@explained()
def activate(
    client: MlflowClient, model: str, number: str, approval_required: bool = False
) -> tuple[ModelVersion, ModelVersion | None]:
    """Make the validated challenger `number` of `model` its champion, and the champion before it `previous`.

    A run that was interrupted ends in the same state when it is run again, because the aliases move in this order:
    `previous`, then `champion`, then `challenger` goes. A version that is champion already stays it.

    Returns:
        The champion, and the previous one (None for the first).

    Raises:
        RegistryError: as `check`.
    """
    check(client, model, number, approval_required)
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
