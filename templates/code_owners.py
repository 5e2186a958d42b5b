"""CODEOWNERS: who has to review what decides about a release, such as the pipelines and the bundle."""

from pathlib import Path

from .findings import MISSING, Change, Finding, Findings

# What decides what a release does and with which rights, and whose code an updating pipeline runs; the rest is for
# every reviewer.
OWNED = (
    *("/.cruft.json", "/databricks.yml", "/environments/", "/hatch_build.py", "/pyproject.toml", "/resources/"),
    "/uv.lock",
)


def code_owners(path: Path, first: list[str], owners: list[str], merged: str) -> Findings:
    """Check the last lines of the file, because in it a later line wins.

    Args:
        path: of the file, in the project.
        first: further lines of ours, before those of OWNED: a heading, and the pipelines. A path begins with a slash.
        owners: names without `@`; whoever the file names, if there are none.
        merged: what the file holds on main.
    """
    local = path.read_text(encoding="utf-8") if path.exists() else ""
    names = " ".join(f"@{owner}" for owner in owners)
    lines = [f"{line} {names}" if line.startswith("/") else line for line in (*first, *OWNED)]

    def owned(text: str) -> bool:
        last = text.splitlines()[-len(lines) :]
        if owners:
            return last == lines
        return [line.split(" @")[0] for line in last] == [*first, *OWNED] and all(
            " @" in line for line in last if line.startswith("/")
        )

    def write() -> None:
        ours = (*first, *OWNED)
        kept = [line for line in local.splitlines() if line.split(" @")[0] not in ours]
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join([*kept, *lines, ""]), encoding="utf-8")

    name = path.as_posix()
    if owned(merged):
        return
    if not owned(local):
        ask = Change("Say who reviews changes of the pipelines: --owners, and start again.")
        change = Change(f"End {name} with the lines: {'; '.join(lines)}", write)
        yield Finding(MISSING, f"owners of the pipelines in {name} here", (change if owners else ask,))
    yield Finding(MISSING, f"owners of the pipelines in {name} on main", (Change(f"Commit {name}, and merge it."),))
