"""Task `check_endpoint`: the endpoint serves the champion alone; one that only a test needed is deleted."""

import logging

from databricks.sdk import WorkspaceClient

from ..platform import registry, serving
from ..platform.parameters import run

logger = logging.getLogger(__name__)


def check_endpoint(model: str, keep_endpoint: bool) -> None:
    """Check what the endpoint of `model` serves.

    Args:
        keep_endpoint: false where the model is a throw-away one, and its endpoint as well.

    Raises:
        AssertionError: says what it serves instead.
    """
    champion = registry.get(registry.connect(), model, registry.CHAMPION)
    name, expected = serving.endpoint_name(model), f"version {champion.version}: 100 % (READY)"
    found = serving.describe(model)
    if found != expected:
        raise AssertionError(f"The endpoint {name} serves {found}, not {expected}.")
    if not keep_endpoint:
        WorkspaceClient().serving_endpoints.delete(name)
    logger.info("%s served %s%s", name, found, "" if keep_endpoint else ", and is deleted")


def main() -> None:
    run(check_endpoint)
