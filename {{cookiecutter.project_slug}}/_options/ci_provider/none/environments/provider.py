"""No CI/CD: people deploy, logged in as themselves, and no provider has settings."""

from argparse import ArgumentParser, Namespace
from typing import Any

from .findings import Findings
from .identities import Identity


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--deployer", help="who deploys the target: user name, or application id; not asked for in dev")


class Provider:
    roles: tuple[str, ...] = ()  # no pipeline needs an identity

    def __init__(self, arguments: Namespace, bundles: dict[str, dict[str, Any]], account: str) -> None:
        self.arguments, self.bundles = arguments, bundles

    def deployer(self, identities: dict[str, Identity]) -> str | None:
        return self.arguments.deployer

    def policies(self, role: str) -> list[dict[str, Any]]:
        return []

    def findings(self, identities: dict[str, Identity]) -> Findings:
        yield from ()
