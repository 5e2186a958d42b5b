"""What a release calls, whoever runs it: the commands of each pattern, their order, and where it needs an approval.

An adapter for each CI provider, such as `on_github.py`, starts an event there and returns what was called.
`test_releases.py` holds all adapters against this.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from stand_in import EVIDENCE, StandIns, normal

APPROVAL = "approval"  # by somebody else than who started the release
VERSION = "v1.2.0"

# Before any call that logs in.
CHECKS = ["uv sync --locked", "uv run ruff check", "uv run ruff format --check", "uv run mypy", "uv run pytest"]
# Each logs in as the identity of its target, and of no other. No job runs but the integration test: a release of code
# trains no model that ships, and moves no alias.
CODE = {
    "deploy-code": [
        "databricks bundle deploy --target staging",
        "databricks bundle run integration_test --target staging",
        APPROVAL,
        "databricks bundle deploy --target prod",
        "databricks bundle summary --target prod",
    ],
    "deploy-model": [
        "databricks bundle deploy --target dev",
        "databricks bundle run integration_test --target dev",
        "databricks bundle deploy --target staging",
        APPROVAL,
        "databricks bundle deploy --target prod",
        "databricks bundle summary --target prod",
    ],
}
CODE["hybrid"] = CODE["deploy-code"]
# What staging shows is what prod gets: its number, and a sum over all that was seen. No code is deployed.
MODEL = {
    "hybrid": [
        "models show --target staging --version {asked} --field version",
        "models show --target staging --version {number}",
        "models show --target staging --version {number} --field evidence",
        APPROVAL,
        "models promote --target prod --version {number} --evidence {evidence} --approve --by {approver}"
        " --reason {reason}",
    ],
}
MODEL["deploy-model"] = [
    "models promote --target staging --version {asked}",
    MODEL["hybrid"][0].replace("{asked}", "champion"),
    *MODEL["hybrid"][1:],
]
# What people read wherever a release stops that has begun with prod.
ADVICE = {"code": "was not fully released to prod", "model": "docs/promotion.md says what to do"}
OPERATIONS = {
    "status": "models status --target {target}",
    "rollback": "models rollback --target {target} --by {starter} --reason {reason}",
    "run inference": "databricks bundle run inference --target {target} --params run_date=2026-03-09,days=7",
}
# Jobs run as the identity that owns an environment, so who starts one here chooses no table and no model.
FORBIDDEN = ["source_table=dev.ada.bought", "days=7,model=evil", "run_date=2026-03-09 x=1", "days"]


@dataclass
class Ran:
    """What an event came to."""

    succeeded: bool
    commands: list[str]  # those that reach a workspace, in their normal form
    said: str  # to people: in the log, and on the page of the run


@dataclass
class Provider(StandIns):
    """A project with a CI provider: its events, and what is different there."""

    project: Path

    approver: ClassVar[str]  # how the approver of prod is recorded
    reason: ClassVar[str]  # how the run is recorded
    starter: ClassVar[str]  # how who started an operation is recorded
    staged_by: ClassVar[str | None]  # what a deployment to staging records as approval of code, where it trains
    names_nobody_where_nothing_trains: ClassVar[bool]  # in a deployment of code
    shows_evidence_first: ClassVar[bool]
    inputs: ClassVar[bool] = True  # what somebody types may hold any character

    @property
    def approver_of_code(self) -> str:
        """What a deployment to prod records as approval of code."""
        return f"{self.approver} ({VERSION}, {self.reason})"

    def log_in(self, tokens: str) -> str:
        """Let the real CLI log in from here on, and return the token whose workspace it reaches.

        Args:
            tokens: the address where a job asks for its own token.
        """
        raise NotImplementedError

    def request(self, fork: bool = False) -> Ran:
        """Open a pull request, from a branch or from a fork."""
        raise NotImplementedError

    def push(self) -> Ran:
        """Merge to main."""
        raise NotImplementedError

    def release(self, kind: str, **asked: str) -> Ran:
        """Release the code of a tag, or a model: `version` and `source_model` are asked for. Prod is approved."""
        raise NotImplementedError

    def again(self, kind: str) -> Ran:
        """Do once more what follows the approval of the release before, or all of it where that is not possible."""
        return self.release(kind)

    def operate(self, target: str, command: str, parameters: str = "", reason: str = "") -> Ran:
        raise NotImplementedError

    def leave_main(self) -> None:
        """Let the tag name a commit that is not on main."""
        raise NotImplementedError

    def unapproved(self, kind: str) -> Iterator[str]:
        """Arrange one way after the other in which nobody else has approved a release, and yield its name."""
        raise NotImplementedError

    def check_identities(self, request: bool = False) -> None:
        """See to it that each call logs in as the identity of its target, or of requests, and no other logs in.

        Raises:
            AssertionError: if one does not.
        """
        raise NotImplementedError

    def received(self, text: str) -> str:
        """Return what a program gets of a text that somebody typed."""
        return text

    def ran(self, succeeded: bool, said: str) -> Ran:
        """Return what this event called."""
        return Ran(succeeded, self.commands(), said)

    def commands(self) -> list[str]:
        return [call.command for call in self.calls if call.command.startswith(("databricks ", "models "))]

    def code(self, pattern: str) -> list[str]:
        """Return the commands of a release of code."""
        return [normal(line) for line in CODE[pattern]]

    def model(self, pattern: str, asked: str = "champion", number: str = "12", source_model: str = "") -> list[str]:
        """Return the commands of a release of the version `number`, for which `asked` was typed."""
        values = {"asked": asked, "number": number, "evidence": EVIDENCE}
        values |= {"approver": self.approver, "reason": self.reason}
        lines = [line.format(**values) for line in MODEL[pattern]]
        if self.shows_evidence_first:
            at = lines.index(APPROVAL)
            lines[at - 2 : at] = reversed(lines[at - 2 : at])
        if source_model:
            lines[0] += f" --source-model {source_model}"
        return [normal(line) for line in lines]
