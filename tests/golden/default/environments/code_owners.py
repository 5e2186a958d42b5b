"""CODEOWNERS: who has to review what decides about a release, such as the pipelines and the bundle."""

from pathlib import Path

from . import FOLDER
from .findings import MISSING, Change, Finding, Findings

# What decides what a release does and with which rights, and whose code an updating pipeline runs; the rest is for
# every reviewer.
OWNED = tuple(
    f"/{FOLDER}{path}"
    for path in (
        *(".cruft.json", "databricks.yml", "environments/", "hatch_build.py", "pyproject.toml", "resources/"),
        "uv.lock",
    )
)
# Where the file is, and the projects: at the top of the repository and in one of its folders, or both here.
TOP, PROJECTS = Path(*[".."] * FOLDER.count("/")), "/" + "".join(FOLDER.rpartition("/")[0].rpartition("/")[:2])


def code_owners(path: Path, first: list[str], owners: list[str], merged: str) -> Findings:
    """Check the last lines of the file, because in it a later line wins.

    Args:
        path: of the file, in the repository.
        first: further lines of ours, before those of OWNED: a heading, and the pipelines. A path begins with a slash.
        owners: names without `@`; whoever the file names, if there are none.
        merged: what the file holds on main.
    """
    name, path = path.as_posix(), TOP / path
    local = path.read_text(encoding="utf-8") if path.exists() else ""
    ours = (*first, *OWNED)
    names = " ".join(f"@{owner}" for owner in owners)
    lines = [f"{line} {names}" if line.startswith("/") else line for line in ours]

    def owned(text: str) -> bool:
        last = [line for line in text.splitlines() if not of_another_project(line)][-len(lines) :]
        if owners:
            return sorted(last) == sorted(lines)
        return sorted(line.split(" @")[0] for line in last) == sorted(ours) and all(
            " @" in line for line in last if line.startswith("/")
        )

    def of_another_project(line: str) -> bool:
        return bool(FOLDER) and line.split(" @")[0] not in ours and line.startswith((PROJECTS, "["))

    def write() -> None:
        kept = [line for line in local.splitlines() if line.split(" @")[0] not in ours]
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join([*kept, *lines, ""]), encoding="utf-8")

    if owned(merged):
        return
    if not owned(local):
        ask = Change("Say who reviews changes of the pipelines: --owners, and start again.")
        change = Change(f"End {name} with the lines: {'; '.join(lines)}", write)
        yield Finding(MISSING, f"owners of the pipelines in {name} here", (change if owners else ask,))
    yield Finding(MISSING, f"owners of the pipelines in {name} on main", (Change(f"Commit {name}, and merge it."),))
