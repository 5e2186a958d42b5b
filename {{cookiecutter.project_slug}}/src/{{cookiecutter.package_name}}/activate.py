"""Task `activate`: the validated challenger becomes champion, and the champion before it stays at hand as `previous`."""

import logging

from . import registry
from .task import run

logger = logging.getLogger(__name__)


def activate(model: str, approved_by: str) -> None:
    """Move the aliases of `model`, and record on the version who approved it and when.

    Args:
        approved_by: who answers for the version: where models are trained, whoever released the training code.

    Raises:
        RegistryError: if there is no challenger, or it did not pass the gate.
    """
    client = registry.connect()
    challenger = registry.validated_challenger(client, model)
    registry.tag(client, challenger, approved_by=approved_by, approved_at=registry.now())
    previous = registry.promote_challenger(client, challenger)
    logger.info(
        "version %s of %s is champion, previous is %s", challenger.version, model, previous.version if previous else "-"
    )


def main() -> None:
    run(activate)
