"""What a check of the set-up finds, and what would put it right."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

THERE, MISSING, TOO_MUCH = "there", "missing", "too much"


class SetUpError(RuntimeError):
    """A service cannot be asked, or does not do what it was asked; the message says what to do."""


class NotThereError(SetUpError):
    """A service knows no such thing."""


@dataclass(frozen=True)
class Change:
    """One step that puts something right: what to type, and how to do it. Without `do` it is left to a person."""

    text: str
    do: Callable[[], object] | None = None


@dataclass(frozen=True)
class Finding:
    """One thing that the set-up needs, or should not have, and the changes that put it right."""

    state: str
    what: str
    changes: tuple[Change, ...] = ()


# A check yields what it finds. Whoever applies makes the changes of a finding before asking for the next one, so that a
# check may ask again after it: what was missing is there now, or, where nothing is applied, still missing.
Findings = Iterator[Finding]


def check(met: bool, what: str, *changes: Change, state: str = MISSING) -> Finding:
    """Return that `what` is there if it is `met`, else that it is in `state` and needs `changes`."""
    return Finding(THERE, what) if met else Finding(state, what, changes)


@dataclass(frozen=True)
class Service:
    """A provider of CI/CD, reached through its own command line, which knows who is logged in."""

    command: tuple[str, ...]
    body: tuple[str, ...] = ("--input", "-")  # what tells the command to read the body of a request from its input

    def get(self, *request: str) -> Any:
        """Return what is there, None if it does not exist or is hidden from whoever asks.

        Raises:
            SetUpError: if the command is not installed, not logged in, or may not ask.
        """
        try:
            return self.call("GET", *request)
        except NotThereError:
            return None

    def change(self, method: str, *request: str, body: Any = None) -> Change:
        """Return the change that one request makes."""
        typed = shlex.join([*self.command, "--method", method, *request, *(self.body if body is not None else ())])
        piped = f"echo {shlex.quote(json.dumps(body))} | {typed}" if body is not None else typed
        return Change(piped, lambda: self.call(method, *request, body=body))

    def call(self, method: str, *request: str, body: Any = None) -> Any:
        program = shutil.which(self.command[0])
        if program is None:
            raise SetUpError(f"{self.command[0]} is not on the PATH. docs/cicd-setup.md says where to get it.")
        with_body = self.body if body is not None else ()
        result = subprocess.run(
            [program, *self.command[1:], "--method", method, *request, *with_body],
            input=None if body is None else json.dumps(body),
            stdin=subprocess.DEVNULL if body is None else None,
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
        if result.returncode:
            said = " ".join(filter(None, (result.stderr.strip(), result.stdout.strip())))
            known = not re.search("HTTP 404|Not Found|does not exist", said)
            raise (SetUpError if known else NotThereError)(f"`{shlex.join([*self.command, *request])}` failed: {said}")
        try:
            return json.loads(result.stdout or "null")
        except ValueError:
            return result.stdout


def origin() -> tuple[str, str]:
    """Return host and path of the repository that git calls `origin`, such as github.com and acme/models.

    Raises:
        SetUpError: if there is none.
    """
    result = subprocess.run(["git", "remote", "get-url", "origin"], capture_output=True, text=True)
    address = r"(?:\w+://)?(?:[^@/]+@)?([^/:@]+)(?::\d+/|[:/])(.+?)(?:\.git)?/?"
    match = re.fullmatch(address, result.stdout.strip())
    if match is None:
        raise SetUpError("`git remote get-url origin` names no repository of a provider. Run this in a clone of one.")
    return match[1], unquote(match[2])
