"""`python -m local adopt`: from a file or a table to a room `problem` of one's own, and its rows on this laptop."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from fraud_detection.problem import model
from fraud_detection.problem import source as problem_source

from ..bundle import load_bundle, target_names
from ..engine import STATE, set_aside
from ..terminal import say, waiting
from . import ADOPTED, CALENDAR, ROLES, ROWS, trial, writing
from .profile import Profile, describe
from .reading import AdoptError, Source, identifier, read
from .roles import Adopted, Roles, check

PACKAGE = "fraud_detection"
REQUIRED = ("key", "time", "label")
NEEDED = ("key", "label")  # for which `none` is no answer
STAGE, LOG = "adopting", "adopt.log"  # below `.local/`


def adopt(root: Path, table: str, given: dict[str, str | None], force: bool) -> None:
    """Make a table the problem of the project in `root`.

    Args:
        table: path of a CSV or Parquet file, or three-part name.
        given: column of each of ROLES, `none` for no column, None to be asked for it.
        force: write without asking.

    Raises:
        AdoptError: if the table cannot be used, or nobody agreed to what would be written. Nothing is written then.
    """
    if not force and not sys.stdin.isatty():
        raise AdoptError("There is no terminal to confirm on: add --force to write without asking.")
    source = read(table)
    for note in [f"{old} is called {new}" for old, new in source.renamed.items()] + source.notes:
        say(note, indent="  ")
    adopted = check(source, _roles(given, source), _kind())
    profile = describe(adopted)
    with _staged(root) as stage:
        files = _stage(stage, root, adopted, profile)
        _show(root, source, adopted, profile, files, json.loads((stage / trial.RESULT).read_text(encoding="utf-8")))
        if not force and input("\nWrite this? [y/N] ").strip().lower() not in ("y", "yes"):
            raise AdoptError("Nothing was written.")
        fresh = _filled(root, stage)
        _write(root, files)
        _swap(root, fresh)
    say("\nNow: uv run pytest, uv run python -m local run dev training, and git diff.")


def _roles(given: dict[str, str | None], source: Source) -> Roles:
    """Return the roles that were given, and ask for others on a terminal."""
    if any(given[role] is None for role in REQUIRED):
        if not sys.stdin.isatty():
            missing = next(role for role in REQUIRED if given[role] is None)
            raise AdoptError(f"--{missing} is not given: type --{missing} COLUMN, one of {', '.join(source.types)}.")
        _show_columns(source)
        asked = {role: _asked(role, source) for role in ROLES if given[role] is None}
        given = {**given, **asked}
    key, happened, label, entity, label_time = (
        None if (given[role] or "none").lower() == "none" else given[role] for role in ROLES
    )
    if key is None or label is None:
        raise AdoptError("A table without a key or a label cannot be adopted: type --key COLUMN --label COLUMN.")
    return Roles(key, happened, label, entity, label_time)


def _show_columns(source: Source) -> None:
    """Print each column with its type and an example."""
    longest, longest_type = max(map(len, source.types)), max(map(len, source.types.values()))
    print("\nThe columns, with the values of the first row:")
    for name, kind in source.types.items():
        example = source.rows[name][0].as_py() if source.rows else ""
        print(f"  {name:{longest}}  {kind:{longest_type}}  {str(example)[:40]}")


def _asked(role: str, source: Source) -> str:
    """Return the column that somebody names for a role: again and again, until there is one."""
    while True:
        answer = input(f"Which column {ROLES[role]}? ").strip()
        column = answer if answer in source.types else identifier(answer)
        if column in source.types:
            return column
        if answer.lower() in ("", "none") and role not in NEEDED:
            return "none"
        print(f"  There is no column {answer}." if answer else "  Every table has one: type its name.")


def _kind() -> str:
    """Return which kind of problem this project was rendered for."""
    if model.PREDICT == "predict":
        return "regression"
    return "multiclass-classification" if hasattr(problem_source, "CLASSES") else "binary-classification"


@contextmanager
def _staged(root: Path) -> Iterator[Path]:
    """Make a folder with a copy of the package, in which all is tried before anything is written; remove it."""
    stage = root.resolve() / STATE / STAGE
    shutil.rmtree(stage, ignore_errors=True)
    shutil.copytree(root / "src", stage / "src", ignore=shutil.ignore_patterns("__pycache__"))
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _stage(stage: Path, root: Path, adopted: Adopted, profile: Profile) -> dict[str, str]:
    """Write the new room into the stage, try it there, and return the text of each file by its path from the root."""
    room = Path("src", PACKAGE, "problem")
    files = writing.problem_files(adopted, profile, root, room, next(iter(model.PREDICTION)))
    for name, text in files.items():
        (stage / name).parent.mkdir(parents=True, exist_ok=True)
        (stage / name).write_text(text, encoding="utf-8", newline="\n")
    config = (room / "config.yml").as_posix()
    (stage / config).write_text(writing.config(profile, trial.NO_THRESHOLDS), encoding="utf-8", newline="\n")
    ruff = [sys.executable, "-m", "ruff"]
    settings = ["--quiet", "--no-cache", "--config", str(root / "pyproject.toml")]
    paths = [str(stage / name) for name in files]
    subprocess.run([*ruff, "check", "--fix", *settings, *paths], cwd=stage, check=False, capture_output=True)
    subprocess.run([*ruff, "format", *settings, *paths], cwd=stage, check=True)

    kept = adopted.rows[list(writing.columns(adopted, profile))]
    pa.parquet.write_table(pa.Table.from_pandas(kept, preserve_index=False), stage / ROWS)
    task = {
        "today": (profile.today or date.today()).isoformat(),
        "rows_per_day": str(min(1000, profile.rows_per_day)),
    }
    (stage / CALENDAR).write_text(json.dumps(task), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(stage / "src"), str(root.resolve())])}
    command = [sys.executable, "-m", "local.adopt.trial", str(stage)]
    say("\nTrying a first model")
    with waiting("it is trained and measured"):
        tried = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
    if tried.returncode:
        (*_, cause) = tried.stderr.strip().splitlines() or ["it says nothing"]
        log = root / STATE / LOG
        log.write_text(tried.stdout + tried.stderr, encoding="utf-8")
        raise AdoptError(f"The first model failed ({cause}): see {log.relative_to(root)}.")
    result = json.loads((stage / trial.RESULT).read_text(encoding="utf-8"))
    return {name: (stage / name).read_text(encoding="utf-8") for name in files} | {
        config: writing.config(profile, result)
    }


def _show(
    root: Path, source: Source, adopted: Adopted, profile: Profile, files: dict[str, str], result: dict[str, Any]
) -> None:
    """Print what was found, and what would be written."""
    newest = f"the newest of the day before {profile.today}" if profile.today else "a snapshot"
    say(f"\n{source.name}: {len(adopted.rows):,} rows, {newest}")
    for note in adopted.notes:
        say(note, indent="  ")
    say(f"Features: {', '.join(profile.features)}")
    for name, reason in profile.left_out.items():
        say(f"without {name}: it {reason}", indent="  ")
    say(result["reached"])
    if not result["gained"]:
        say("The columns say little about the label: look for better ones before you rely on a model.", indent="  ")
    say(
        "\nproblem/sample.py and config.yml will hold summaries of the table and no row of it: percentiles of the "
        "numbers, shares of the values that at least 10 rows have, of nulls and of hours. They go into the repository."
    )
    uncommitted = _uncommitted(root)
    for name in [*files, *_deleted(root, files)]:
        path = root / name
        what = "deletes " if name not in files else "replaces" if path.exists() else "writes  "
        print(f"  {what} {name}{'  (with changes that are not committed)' if name in uncommitted else ''}")
    print(f"  moves    {STATE}/ aside, and fills it with the rows, for all targets" if (root / STATE).exists() else "")


def _uncommitted(root: Path) -> set[str]:
    """Return the paths that git would not bring back."""
    status = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=all", "--", "."], cwd=root, capture_output=True, text=True
    )
    return {line[3:].strip('"') for line in status.stdout.splitlines()} if status.returncode == 0 else set()


def _deleted(root: Path, files: dict[str, str]) -> list[str]:
    """Return the tests of the problem that was here before."""
    found = (path.relative_to(root).as_posix() for path in sorted((root / "tests" / "problem").glob("test_*.py")))
    return [name for name in found if name not in files]


def _write(root: Path, files: dict[str, str]) -> None:
    """Write all files, or none if something interrupts."""
    names = [*files, *_deleted(root, files)]
    before = {name: (root / name).read_bytes() if (root / name).exists() else None for name in names}
    try:
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name in files:
                path.write_text(files[name], encoding="utf-8", newline="\n")
            else:
                path.unlink()
    except BaseException:
        for name, content in before.items():
            if content is None:
                (root / name).unlink(missing_ok=True)
            else:
                (root / name).write_bytes(content)
        raise


def _filled(root: Path, stage: Path) -> Path:
    """Return a new folder of state, whose source tables hold the adopted rows."""
    fresh = root / f"{STATE}-new"
    shutil.rmtree(fresh, ignore_errors=True)
    delta = stage / "lakehouse" / "trial" / "own" / "source"
    for target in target_names(root):
        schema = load_bundle(root, target)["resources"]["schemas"]["schema"]["id"]
        shutil.copytree(delta, fresh.joinpath("lakehouse", *schema.split("."), "source"))
    (fresh / ADOPTED).mkdir()
    for name in (ROWS, CALENDAR):
        shutil.copy(stage / name, fresh / ADOPTED)
    return fresh


def _swap(root: Path, fresh: Path) -> None:
    """Let `fresh` be the state of this laptop. What was there is kept beside it."""
    state = root / STATE
    shutil.rmtree(state / STAGE)
    if any(path.name != LOG for path in state.iterdir()):
        print(f"What was in {STATE} is now in {set_aside(root).name}.")
    else:
        shutil.rmtree(state)
    fresh.rename(state)
