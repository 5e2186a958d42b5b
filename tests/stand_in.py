"""Stands in for the programs that reach out, such as `databricks`: notes how it is called, and answers as a test says.

Tests import it to put it on the PATH under those names, and to read what it noted. Each program calls it with

    stand_in.py FOLDER NAME ARGUMENT ...
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

# How calls begin that reach a workspace.
REACHES = ("databricks ", "uv run --locked models", "uv run --locked --no-default-groups models")
STATUS = """\
code deployed  0123456789ab
model          staging.fraud_detection.model
champion       12
challenger     13 (PASSED)
"""
NUMBERS = {"champion": "12", "challenger": "13"}  # of the versions that may be released
EVIDENCE = "e5" * 32  # the sum over what `models show` prints
# Does harm wherever a shell reads it as its own text.
INJECTION = "';\"; touch $HOME/hacked; $(touch $HOME/hacked) `touch $HOME/hacked`"
# The part of the environment that is noted: who logs in, and what the bundle is told.
NOTED = ("DATABRICKS_", "BUNDLE_VAR_", "SYSTEM_ACCESSTOKEN", "GH_", "GITHUB_JOB", "GITHUB_WORKFLOW")


def normal(line: str) -> str:
    """Return a call as it counts: without the `uv run` before `models`, and with its options in one order.

    People name the environment that a model comes from, pipelines leave that to the bundle.
    """
    name, *options = re.sub("^uv run (--locked )?(--no-default-groups )?(?=models )", "", line).split(" --")
    return " --".join([name, *sorted(option for option in options if not option.startswith("source "))])


@dataclass
class Call:
    """One call of a stand-in."""

    line: str
    environment: dict[str, str]
    input: str

    @property
    def command(self) -> str:
        return normal(self.line)


@dataclass
class StandIns:
    """Programs below the folder `here`, and what they noted there."""

    here: Path

    @property
    def bin(self) -> Path:
        """The folder of the programs, which comes first on the PATH."""
        return self.here / "bin"

    @property
    def path(self) -> str:
        return f"{self.bin}{os.pathsep}{os.environ['PATH']}"

    def put(self, *names: str, real: Mapping[str, str] | None = None) -> None:
        """Put stand-ins with these names on the PATH, which pass calls on to the programs in `real`."""
        (self.here / "answers").mkdir()
        (self.here / "real.json").write_text(json.dumps(real or {}), encoding="utf-8")
        self.answer("models status", STATUS)
        self.bin.mkdir()
        for name in names:
            put_program(self.bin, name, "stand_in.py", str(self.here), name)

    def answer(self, part: str, text: str | bytes) -> None:
        """Answer every call that holds `part` with `text`. A call ends with a line break, so `part` may, too."""
        content = text.encode() if isinstance(text, str) else text
        (self.here / "answers" / quote(part, safe="")).write_bytes(content)

    def fail(self, part: str) -> None:
        """Let every call that holds `part` fail, and no other."""
        (self.here / "fails").write_text(part, encoding="utf-8")

    def fail_at(self, command: str) -> None:
        """Let this command fail, and no other."""
        (self.here / "fails_at").write_text(normal(command), encoding="utf-8")

    def mend(self) -> None:
        """Let nothing fail any more."""
        for name in ("fails", "fails_at"):
            (self.here / name).unlink(missing_ok=True)

    def forget(self) -> None:
        """Forget the calls so far."""
        (self.here / "calls.jsonl").unlink(missing_ok=True)

    @property
    def calls(self) -> list[Call]:
        noted = self.here / "calls.jsonl"
        lines = noted.read_text(encoding="utf-8").splitlines() if noted.exists() else []
        return [Call(**json.loads(line)) for line in lines]

    def lines(self, *beginnings: str) -> list[str]:
        """Return the calls that begin with one of these, or all of them."""
        return [call.line for call in self.calls if call.line.startswith(beginnings or "")]

    def reached(self) -> list[str]:
        """Return the calls that reach a workspace: those of the CLI, and of `models`."""
        return [re.sub("^uv run --locked (--no-default-groups )?", "", line) for line in self.lines(*REACHES)]


def put_program(folder: Path, name: str, script: str, *arguments: str) -> None:
    """Make `name` a program on this system: it runs a script that stands beside this file, `arguments` come first."""
    windows = os.name == "nt"
    program = folder / (f"{name}.bat" if windows else name)
    command = " ".join(f'"{part}"' for part in (sys.executable, Path(__file__).with_name(script), *arguments))
    program.write_text(f"@{command} %*\n" if windows else f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
    program.chmod(0o755)


def after(option: str, arguments: list[str]) -> str:
    return arguments[arguments.index(option) + 1]


def note(here: Path, line: str, arguments: list[str]) -> None:
    said = sys.stdin.read().strip("\n") if {"-", "@-"} & set(arguments) else ""
    if "--data" in arguments:
        said = Path(after("--data", arguments).removeprefix("@")).read_text(encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name.startswith(NOTED)}
    with (here / "calls.jsonl").open("a", encoding="utf-8") as calls:
        calls.write(json.dumps({"line": line, "environment": environment, "input": said}) + "\n")


def give(content: bytes, arguments: list[str]) -> None:
    """Answer a call with `content`, as its options ask."""
    if "--jq" in arguments:
        command = ["jq", "--raw-output", after("--jq", arguments)]
        content = subprocess.run(command, input=content, stdout=subprocess.PIPE, check=True).stdout
    if "--output" in arguments:
        Path(after("--output", arguments)).write_bytes(content)
    else:
        sys.stdout.buffer.write(content)


def pass_on(program: str, arguments: list[str]) -> None:
    """Let the real program end this call."""
    # A job starts in the fake workspace, which cannot run it. So nothing waits for it, and it counts as passed.
    waits = ["--no-wait"] if arguments[:2] == ["bundle", "run"] else []
    sys.exit(subprocess.run([program, *arguments, *waits]).returncode)


def main() -> None:
    here, name, arguments = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    line = " ".join([name, *arguments])
    real = json.loads((here / "real.json").read_text(encoding="utf-8"))
    if name in real and arguments[0] in ("build", "export"):
        pass_on(real[name], arguments)  # the wheel, and what it holds
    note(here, line, arguments)
    print(f"{name} was called", file=sys.stderr)  # as programs talk there, which no pipeline may take for an answer
    parts, commands = (
        [path.read_text(encoding="utf-8")] if path.exists() else [] for path in (here / "fails", here / "fails_at")
    )
    if normal(line) in commands or any(part in line for part in parts):
        sys.exit(f"{line} fails, as the test wants")
    for answer in (here / "answers").iterdir():
        if unquote(answer.name) in f"{line}\n":
            give(answer.read_bytes(), arguments)
            return
    if "models show" in line:
        asked = after("--version", arguments) if "--version" in arguments else "champion"
        if not (number := asked if asked.isdigit() else NUMBERS.get(asked)):
            sys.exit(f"models: staging.fraud_detection.model has no version with the alias '{asked}'.")
        if "--field" not in arguments:
            print(f"version   {number}\nevidence  {EVIDENCE}")
        else:
            print(EVIDENCE if "evidence" in arguments else number)
    elif name == "uv" and arguments[0] in ("build", "export"):
        Path("dist").mkdir(exist_ok=True)
        Path("dist", "sbom.json" if arguments[0] == "export" else "fraud-0.1.0-py3-none-any.whl").write_text("built")
    elif arguments[:2] == ["bundle", "deploy"] and name not in real:
        build = dict(os.environ).get("BUNDLE_VAR_build", "true")
        sys.exit(subprocess.run(build, shell=True, stdout=sys.stderr).returncode)  # as the CLI does
    elif name == "databricks" and name in real:
        pass_on(real[name], arguments)


if __name__ == "__main__":
    main()
