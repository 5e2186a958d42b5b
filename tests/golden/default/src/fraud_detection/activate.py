"""Task `activate`: the validated challenger becomes champion, the one before it stays at hand as `previous`."""

import logging

from pyspark.sql import functions as F

from . import registry, tables
from .task import run

logger = logging.getLogger(__name__)

RECORDED_TAGS = [
    *("git_commit", "source_model", "source_version", "validation_run"),
    *("approved_by", "approved_at", "approval_reason", "challenged_at"),
]
RELEASE_LOG = ", ".join(
    [
        "model STRING, model_version INT, previous_version INT, environment STRING, trained_in STRING",
        "released_at STRING",
        *(f"{name} STRING" for name in RECORDED_TAGS),
    ]
)


def activate(schema: str, model: str, version: str, environment: str, approved_by: str) -> None:
    """Move the aliases of `model`, and append one row per release to `<schema>.release_log`.

    Args:
        approved_by: who answers for the version. Empty where an approval was recorded on the version before, or where
            none is asked for.

    Raises:
        RegistryError: if the version did not pass the gate, or another one has become challenger meanwhile.
    """
    client = registry.connect()
    candidate = registry.get(client, model, version)
    if "approved_at" not in candidate.tags:
        # Databricks' own "Approve" button leaves no name; where no approval is asked for, the gate alone has decided.
        button = candidate.tags.get("approval") == "Approved"
        by = approved_by or ("button of the model page" if button else f"gate of {environment}")
        registry.tag(client, candidate, approved_by=by, approved_at=registry.now())
    champion, previous = registry.activate(client, model, version)

    release = {
        "model": model,
        "model_version": int(version),
        "previous_version": int(previous.version) if previous else None,
        "environment": environment,
        "trained_in": champion.tags.get("environment"),
        "released_at": registry.now(),
    } | {name: champion.tags.get(name, "") for name in RECORDED_TAGS}
    row = tables.spark_session().createDataFrame([release], RELEASE_LOG)
    # A version that returns after a rollback was challenger anew, so the time of that tells its releases apart.
    same_release = F.lit(True)
    for name in ("model", "model_version", "challenged_at"):
        same_release &= F.col(name) == release[name]
    tables.add_once(row, f"{schema}.release_log", same_release)
    logger.info("version %s of %s is champion, previous is %s", version, model, previous.version if previous else "-")


def main() -> None:
    run(activate)
