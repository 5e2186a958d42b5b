"""No CI/CD: people deploy, logged in as themselves, and no provider has settings."""

from argparse import Namespace
from typing import Any

from .findings import Findings
from .identities import Identity

OPTIONS = {"--deployers": "who deploys the target: user names, or application ids of service principals"}


class Provider:
    roles: tuple[str, ...] = ()  # no pipeline logs in

    def __init__(self, arguments: Namespace, account: str) -> None:
        self.deployers: list[str] = arguments.deployers

    def policies(self, role: str) -> list[dict[str, Any]]:
        return []

    def before(self) -> Findings:
        yield from ()

    def findings(self, identities: dict[str, Identity]) -> Findings:
        yield from ()
