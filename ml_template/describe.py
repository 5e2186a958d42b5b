"""Says in Markdown what an update brings: from the template's own changelog and upgrade notes."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from .render import Record, git

if TYPE_CHECKING:
    from .update import Merge, Tests

KINDS = {"A": "added", "D": "removed", "M": "changed", "R": "moved"}


def changed(before: Record, now: Record) -> dict[str, str]:
    """Return the answers to questions that the project had already, where they are others."""
    return {
        question: answer
        for question, answer in now.answers.items()
        if question in before.answers and before.answers[question] != answer
    }


def named(record: Record) -> str:
    """Return a version with its commit, or the commit alone."""
    commit = (record.commit or "")[:8]
    return f"{record.version} ({commit})" if record.version else commit


def title(before: Record, now: Record) -> str:
    if before.commit == now.commit:
        switched = ", ".join(f"{question} to {answer}" for question, answer in changed(before, now).items())
        return f"Switch {switched}"
    return f"Update from template {named(before)} to {named(now)}"


def sections(text: str, level: int) -> dict[str, str]:
    """Return what stands under each heading of a level, by heading. What is nested stays in its section."""
    parts = re.split(rf"^{'#' * level} (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], (part.strip() for part in parts[2::2]), strict=True))


def entries(changelog: str) -> dict[str, list[str]]:
    """Return the entries of a changelog by kind, such as `Added`, over all versions."""
    found: dict[str, list[str]] = {}
    for version in sections(changelog, 2).values():
        for kind, text in sections(version, 3).items():
            found.setdefault(kind, []).extend(re.split(r"^- ", text, flags=re.MULTILINE)[1:])
    return found


def file(template: Path, record: Record, path: str) -> str:
    """Return a file of the template at the commit of a record, empty if there is none."""
    return git(template, "show", f"{record.commit}:{path}").stdout


def listed(lines: list[str]) -> str:
    return "\n".join(f"- {line.strip()}" for line in lines)


def what_changed(template: Path, before: Record, now: Record) -> list[str]:
    """Return the entries of the changelog that only the newer commit has, and the steps that need a person."""
    old, new = (entries(file(template, record, "CHANGELOG.md")) for record in (before, now))
    fresh = {kind: [line for line in lines if line not in old.get(kind, [])] for kind, lines in new.items()}
    told = [f"### {kind}\n\n{listed(lines)}" for kind, lines in fresh.items() if lines]
    parts = ["## What changed and why", *(told or ["The changelog of the template says nothing about it."])]
    read, upgrading = (file(template, record, "docs/upgrading.md") for record in (before, now))
    steps = [step for version in sections(upgrading, 2).values() for step in sections(version, 3).items()]
    by_hand = [f"### {heading}\n\n{text}" for heading, text in steps if f"# {heading}\n" not in read]
    return [*parts, *(["## To do by hand", *by_hand] if by_hand else [])]


def update(
    template: Path,
    before: Record,
    now: Record,
    merged: "Merge",
    files: dict[str, list[str]],
    lock: str | None,
    tests: "Tests | None",
) -> str:
    """Return the description of an update.

    Args:
        template: a clone of its repository.
        before: the record of the project.
        now: the record of the update.
        merged: what git made of it.
        files: their paths, by the letter that git gives to what happened to them.
        lock: what to tell about `uv.lock`, if anything.
        tests: None if they were not run.
    """
    parts = []
    answered = [
        f"`{question}`: `{answer}`" for question, answer in now.answers.items() if question not in before.answers
    ]
    switched = [
        f"`{question}`: `{before.answers[question]}` → `{answer}`" for question, answer in changed(before, now).items()
    ]
    if merged.conflicts:
        told = listed([f"`{path}`: {said}." for path, said in merged.conflicts.items()])
        parts.append(f"## Conflicts\n\nTo be decided on this branch before it is merged:\n\n{told}")
    parts.append("## Tests\n\n" + (tests.told if tests else "The project's own tests were not run."))
    if lock:
        parts.append(lock)
    if before.commit != now.commit:
        parts += what_changed(template, before, now)
    if switched:
        parts.append(f"## Changed answers\n\n{listed(switched)}")
    if answered:
        parts.append(f"## New questions\n\n{listed(answered)}")
    if merged.left_out:
        told = listed([f"`{path}`: {said}." for path, said in merged.left_out.items()])
        parts.append(f"## Left out\n\n{told}")
    counted = [f"{len(paths)} {KINDS[kind]}" for kind, paths in files.items() if kind in KINDS]
    parts.append(f"## Files\n\n{', '.join(counted) or 'None but the record'}.")
    return "\n\n".join(parts) + "\n"
