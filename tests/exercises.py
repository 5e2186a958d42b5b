"""Does the exercises of a project as its page says: the edits and the commands are those of docs/exercises.md."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from helpers import clean_environment, run

PAGE = "docs/exercises.md"
JUDGE = "uv run python -m local exercise"
# After half of an exercise, its judge must not be content yet.
HALF = ("git restore ", "uv run python -m local models approve ")


def judged(project: Path) -> dict[str, str]:
    """Return whether each exercise is open or solved."""
    result = run(*JUDGE.split(), cwd=project)
    assert result.returncode == 0, result.stdout
    return dict(re.findall(r"^(\w+) +(open|solved) +\S", result.stdout, re.MULTILINE))


def follow(project: Path, *chosen: str) -> None:
    """Do the exercises of a project that is under git, or these of them.

    Each is open before it begins, and solved at its end.
    """
    text = (project / PAGE).read_text(encoding="utf-8")
    begin, *parts = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    do(project, begin)
    exercises = {re.findall(rf"^{JUDGE} (\w+)$", part, re.MULTILINE)[-1]: part for part in parts}
    done = chosen or tuple(exercises)
    assert judged(project) == dict.fromkeys(exercises, "open"), "nothing is solved by doing nothing"
    for name in done:
        said = do(project, exercises[name], f"{JUDGE} {name}")
        assert said.returncode == 0 and re.search(r"^Solved\. ", said.stdout, re.MULTILINE), f"{name}: {said.stdout}"
    assert judged(project) == dict.fromkeys(exercises, "open") | dict.fromkeys(done, "solved")


def do(project: Path, section: str, judge: str = "") -> subprocess.CompletedProcess[str]:
    """Make the edits and type the commands of a section, some of which fail on purpose, and return the last one."""
    result = None
    for found in re.finditer(r"^```(diff|shell)\n(.*?)^```", section, re.MULTILINE | re.DOTALL):
        kind, block = found.groups()
        before = section[: found.start()]
        if kind == "diff":
            for path, old, new in edits(project, section):
                path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
            continue
        for line in block.splitlines():
            if judge and line.startswith(HALF):
                half = run(*judge.split(), cwd=project)
                assert half.returncode == 1 and half.stdout.splitlines()[-1].startswith("local: "), half.stdout
            answer = re.findall(r"type `(\w+)`", before)
            result = answer_in_terminal(project, line, answer[-1]) if " approve " in line else type_in(project, line)
    assert result is not None
    return result


def edits(project: Path, text: str) -> list[tuple[Path, str, str]]:
    """Return the file that is named before each diff of a text, what goes out of it, and what comes in."""
    found = re.finditer(r"^```diff\n-(.*)\n\+(.*)\n```", text, re.MULTILINE)
    return [(project / re.findall(r"`(src/[^`]+)`", text[: diff.start()])[-1], diff[1], diff[2]) for diff in found]


def type_in(project: Path, line: str) -> subprocess.CompletedProcess[str]:
    return run(*shlex.split(line), cwd=project)


def answer_in_terminal(project: Path, line: str, answer: str) -> subprocess.CompletedProcess[str]:
    """Type a command that asks for something, and the answer."""
    if sys.platform == "win32":
        raise NotImplementedError("a terminal of its own")
    import pty

    keyboard, terminal = pty.openpty()
    os.write(keyboard, f"{answer}\n".encode())
    try:
        return subprocess.run(
            shlex.split(line),
            cwd=project,
            env=clean_environment(),
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
    finally:
        os.close(keyboard)
        os.close(terminal)
