"""Releases without a CI provider, as an adapter of `release_contract.py`: `release.py` itself, on somebody's machine.

Stand-ins note the calls of `databricks` and `uv`; git is real, with a repository on this machine as its host.
"""

import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from helpers import clean_environment, commit, need, run
from release_contract import VERSION, Provider, Ran


@dataclass
class Desk(Provider):
    """A project on somebody's machine."""

    approver: ClassVar[str] = "Ada Example"
    reason: ClassVar[str] = "better"
    starter: ClassVar[str] = "Ada Example"
    staged_by: ClassVar[str | None] = None
    names_nobody_where_nothing_trains: ClassVar[bool] = False
    shows_evidence_first: ClassVar[bool] = True

    typed: str = "Ada Example\n"  # when it asks who approved
    token: str = ""

    def environment(self) -> dict[str, str]:
        identity = {
            f"GIT_{role}_{what}": "ada@example.com" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }
        login = {"DATABRICKS_TOKEN": self.token, "DATABRICKS_CACHE_ENABLED": "false"} if self.token else {}
        return clean_environment(PATH=self.path, TMPDIR=str(self.place), TEMP=str(self.place), **identity, **login)

    @property
    def place(self) -> Path:
        """Where temporary folders are made."""
        (self.here / "temporary").mkdir(exist_ok=True)
        return self.here / "temporary"

    def start(self, *command: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command in the project; `answer` is what is typed when it asks."""
        environment = self.environment()
        program = shutil.which(command[0], path=environment["PATH"]) or command[0]
        return subprocess.run(
            [program, *command[1:]],
            cwd=self.project,
            env=environment,
            input=answer,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )

    def release_while(self, attack: Callable[[], object], *arguments: str, **variables: str) -> tuple[int, str]:
        """Release, do something while the command waits for an approval, and then approve."""
        with subprocess.Popen(
            [sys.executable, "-u", "release.py", *arguments],
            cwd=self.project,
            env=self.environment() | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as release:
            assert release.stdin is not None and release.stdout is not None
            said = ""
            while "Approved by (" not in said and (character := release.stdout.read(1)):
                said += character
            attack()
            rest, _ = release.communicate("Ada Example\n", timeout=120)
        return release.returncode, said + rest

    def type(self, *arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        self.forget()
        return self.start(sys.executable, "release.py", *arguments, answer=answer)

    def tags(self, *where: str) -> str:
        return run("git", *where, "tag", "--list", cwd=self.project).stdout.strip()

    # The events of the contract, as far as there are any without a CI provider

    def log_in(self, tokens: str) -> str:
        self.token = f"token-{uuid.uuid4().hex}"
        return self.token

    def commands(self) -> list[str]:
        """Leave out what the checks ask."""
        return [line for line in super().commands() if not re.match("databricks bundle (validate|plan) ", line)]

    @property
    def approver_of_code(self) -> str:
        return f"{self.approver} ({VERSION})"

    def push(self) -> Ran:
        result = self.type("code")
        return self.ran(result.returncode == 0, result.stdout)

    def release(self, kind: str, **asked: str) -> Ran:
        options = [part for name, text in asked.items() for part in (f"--{name.replace('_', '-')}", text)]
        arguments = ["code", VERSION] if kind == "code" else ["model", "--reason", self.reason, *options]
        result = self.type(*arguments, answer=self.typed)
        return self.ran(result.returncode == 0, result.stdout)

    def leave_main(self) -> None:
        with_host(self)
        (self.project / "more.txt").write_text("not reviewed\n", encoding="utf-8")
        commit(self.project)

    def unapproved(self, kind: str) -> Iterator[str]:
        for self.typed in ("", "\n", "   \n"):
            yield repr(self.typed)

    def check_identities(self, request: bool = False) -> None:
        """Whoever releases is logged in as somebody, whom no call changes."""
        for call in self.calls:
            assert "DATABRICKS_CLIENT_ID" not in call.environment, call


def put_on_desk(rendered: Path, here: Path, real: dict[str, str] | None = None) -> Desk:
    """Return a desk with a copy of a project, whose stand-ins pass calls on to the programs in `real`."""
    need("git")
    project = here / "project"
    shutil.copytree(rendered, project)
    commit(project)
    assert run("git", "branch", "--move", "main", cwd=project).returncode == 0
    desk = Desk(here, project)
    desk.put("databricks", "uv", real=real)
    return desk


def with_host(desk: Desk) -> Path:
    """Give the project a git host, and return its repository there."""
    host = desk.project.parent / "host.git"
    for arguments in (
        ("clone", "--quiet", "--bare", desk.project, host),
        ("remote", "add", "origin", host),
        ("fetch", "--quiet", "origin"),
        ("branch", "--set-upstream-to", "origin/main"),
    ):
        result = run("git", *arguments, cwd=desk.project)
        assert result.returncode == 0, result.stdout
    return host
