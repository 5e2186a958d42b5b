"""Task `activate`: the validated challenger becomes champion, the one before it stays at hand as `previous`."""

import logging

from pyspark.sql import functions as F

from ..platform import card, evaluations, registry, tables
from ..platform.parameters import run

logger = logging.getLogger(__name__)

RECORDED_TAGS = [
    *("git_commit", "source_model", "source_version", "files_sha256", "validation_run"),
    *("approved_by", "approved_as", "approved_at", "approval_reason", "challenged_at"),
]
RELEASE_LOG = ", ".join(
    [
        "model STRING, model_version INT, previous_version INT, environment STRING, trained_in STRING",
        "released_at STRING",
        *(f"{name} STRING" for name in RECORDED_TAGS),
    ]
)


def activate(
    schema: str, model: str, version: str, environment: str, approved_by: str, approval_required: bool
) -> None:
    """Move the aliases of `model`, and append one row per release to `<schema>.release_log`.

    Args:
        approved_by: who answers for the version. Empty where an approval was recorded on the version before, or where
            none is asked for.
        approval_required: whether the version must have an approval that holds for it as it is now.

    Raises:
        RegistryError: if the version is not what passed the gate and was approved, another one has become challenger
            meanwhile, or another operation moves the aliases.
    """
    client = registry.connect()
    spark = tables.spark_session()
    with registry.alone(client, model, f"activate_{version}"):
        registry.check(client, model, version, approval_required)
        candidate, champion = registry.get(client, model, version), registry.find(client, model, registry.CHAMPION)
        serves = champion is not None and champion.version == candidate.version
        if not serves and not evaluations.has_passed(spark, schema, candidate):
            raise registry.RegistryError(
                f"Version {version} of {model} is not what passed the gate: its files or its tags were changed since. "
                "Start its release again."
            )
        if "approved_at" not in candidate.tags:  # where no approval is asked for, the gate alone has decided
            by = approved_by or f"gate of {environment}"
            registry.tag(client, candidate, approved_by=by, approved_at=registry.now())
        champion, previous = registry.activate(client, model, version, approval_required)

    release = {
        "model": model,
        "model_version": int(version),
        "previous_version": int(previous.version) if previous else None,
        "environment": environment,
        "trained_in": champion.tags.get("environment"),
        "released_at": registry.now(),
    } | {name: champion.tags.get(name, "") for name in RECORDED_TAGS}
    row = spark.createDataFrame([release], RELEASE_LOG)
    # A version that returns after a rollback was challenger anew, so the time of that tells its releases apart.
    same_release = F.lit(True)
    for name in ("model", "model_version", "challenged_at"):
        same_release &= F.col(name) == release[name]
    tables.add_once(row, f"{schema}.release_log", same_release)
    card.write(client, model, version)
    logger.info("version %s is champion, previous is %s", version, previous.version if previous else "none")


def main() -> None:
    run(activate)
