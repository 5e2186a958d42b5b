"""Task `approval`: a version serves here only after somebody has approved it, by name.

Called `approval` and reading the tag `approval`, as MLflow deployment jobs want it: linked to the model, the job can be
approved with the button of the model page as well.
"""

import logging

from . import registry
from .task import run

logger = logging.getLogger(__name__)


class ApprovalError(RuntimeError):
    """Nobody has approved the version yet."""


def approval(
    model: str, version: str, approved_by: str, approval_reason: str, environment: str, required: bool
) -> None:
    """Let the run go on if the version is approved, or record the approval that was given with the run.

    Args:
        approved_by: who approved this run, from the pipeline that asked; empty if nobody did.
        required: whether a version may go on without any approval if false.

    Raises:
        ApprovalError: says how to approve. The run can be repaired, or the promotion started again, afterwards.
    """
    client = registry.connect()
    candidate = registry.get(client, model, version)
    champion = registry.find(client, model, registry.CHAMPION)
    if champion is not None and champion.version == candidate.version:
        logger.info("version %s of %s serves already", version, model)
    elif candidate.tags.get("approval") == "Approved":
        logger.info("version %s of %s was approved by %s", version, model, candidate.tags.get("approved_by"))
    elif approved_by:
        registry.approve(client, candidate, approved_by, approval_reason)
        logger.info("version %s of %s is approved by %s", version, model, approved_by)
    elif required:
        raise ApprovalError(
            f"Version {version} of {model} passed the gate and waits for an approval. "
            f"Approve it: uv run models approve --target {environment} --reason '...', then promote it again."
        )


def main() -> None:
    run(approval)
