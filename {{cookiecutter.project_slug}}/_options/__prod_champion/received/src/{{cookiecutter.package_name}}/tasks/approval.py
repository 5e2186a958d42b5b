"""Task `approval`: a version serves here only after somebody has approved it, by name.

Called `approval` and reading the tag `approval`, as MLflow deployment jobs want it: linked to the model, the job can be
approved with the button of the model page as well.
"""

import logging

from mlflow.entities.model_registry import ModelVersion

from ..platform import registry
from ..platform.parameters import run

logger = logging.getLogger(__name__)


class ApprovalError(RuntimeError):
    """Nobody has approved the version yet."""


def approval(
    model: str,
    version: str,
    approved_by: str,
    approval_reason: str,
    approved_evidence: str,
    environment: str,
    required: bool,
) -> None:
    """Let the run go on if the version is approved as it is, or record the approval that was given with the run.

    Args:
        approved_by: who approved this run, from the pipeline that asked; empty if nobody did.
        approved_evidence: what they were shown of the source version: `registry.evidence` of it.
        required: whether a version may go on without any approval if false.

    Raises:
        ApprovalError: if nobody has approved this version as it is now; says how to approve.
    """
    client = registry.connect()
    candidate = registry.get(client, model, version)
    champion = registry.find(client, model, registry.CHAMPION)
    if champion is not None and champion.version == candidate.version:
        logger.info("version %s serves already", version)
    elif registry.is_approved(candidate):
        logger.info("version %s was approved by %s", version, candidate.tags["approved_by"])
    elif candidate.tags.get("approval") == "Approved" and "approved_evidence" not in candidate.tags:
        # The button sets one tag. `validate` takes older ones away, so it was pressed for what the gate has found.
        registry.approve(client, candidate, "button of the model page", "")
        logger.info("version %s is approved by the button of the model page", version)
    elif approved_by:
        check_approved(candidate, approved_evidence)
        registry.approve(client, candidate, approved_by, approval_reason)
        logger.info("version %s is approved by %s", version, approved_by)
    elif required:
        raise ApprovalError(
            f"Version {version} of {model} passed the gate and waits for an approval. Approve it: uv run models "
            f"approve --target {environment} --version {version} --reason '...', then promote it again."
        )
    else:
        logger.info("version %s needs no approval in %s", version, environment)


def check_approved(candidate: ModelVersion, approved_evidence: str) -> None:
    """See to it that `candidate` is a copy of the version that was shown to whoever approved.

    Raises:
        ApprovalError: if it is not.
    """
    tags = candidate.tags
    if not approved_evidence or tags.get("source_evidence") != approved_evidence:
        raise ApprovalError(
            f"What was approved is not version {tags.get('source_version')} of {tags.get('source_model')} as its gate "
            "left it. Show that version again (uv run models show), and approve what you see."
        )
    if tags.get("source_files_sha256") != tags.get("files_sha256"):
        raise ApprovalError(
            f"The files of version {candidate.version} of {candidate.name} are not those that were approved, of "
            f"version {tags['source_version']} of {tags['source_model']}. Find out who changed them first."
        )


def main() -> None:
    run(approval)
