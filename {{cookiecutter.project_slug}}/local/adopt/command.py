"""`python -m local adopt`: from a file or a table to a room `problem` of one's own, and its rows on this laptop."""

import json
import os
import shutil
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from contextlib import contextmanager
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from ..bundle import load_bundle, target_names
from ..engine import STATE
from . import trial, writing
from .profile import Profile, describe
from .reading import AdoptError, Source, read
from .roles import Adopted, Roles, check

ADOPTED = "adopted"  # folder below `.local/`: the rows, and the day after the newest of them
QUESTIONS = {
    "key": "Which column names one row",
    "time": "Which column says when it happened (none: the table is a snapshot)",
    "label": "Which column is predicted",
    "entity": "Whose rows stay together when a part is taken, such as a customer's (none: nobody's)",
    "label_time": "Which column says when the label became known (none: it counts at once)",
}
REQUIRED = ("key", "time", "label")


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("table", metavar="FILE_OR_TABLE", help="a CSV or Parquet file, or catalog.schema.table")
    for role, question in QUESTIONS.items():
        parser.add_argument(f"--{role.replace('_', '-')}", metavar="COLUMN", help=question.lower())
    parser.add_argument("--force", action="store_true", help="write without asking, over whatever is there")


def adopt(root: Path, arguments: Namespace) -> None:
    """Make the table the problem of the project in `root`.

    Raises:
        AdoptError: if the table cannot be used, or nobody agreed to what would be written. Nothing is written then.
    """
    if not arguments.force and not sys.stdin.isatty():
        raise AdoptError("Nobody is here to agree to what is written: type --force to write without asking.")
    package = load_bundle(root, target_names(root)[0])["var"]["package_name"]
    source = read(arguments.table)
    for note in [f"{old} is called {new}" for old, new in source.renamed.items()] + source.notes:
        print(f"  {note}")
    adopted = check(source, _roles(arguments, source), _kind(package))
    profile = describe(adopted)
    with _staged(root, package) as stage:
        files = _stage(stage, root, package, adopted, profile)
        _show(root, source, adopted, profile, files, json.loads((stage / trial.RESULT).read_text(encoding="utf-8")))
        if not arguments.force and input("\nWrite this? [y/N] ").strip().lower() not in ("y", "yes"):
            raise AdoptError("Nothing was written.")
        _write(root, files)
        _fill(root, stage, profile)
    print("\nNow: uv run pytest, uv run python -m local run dev training, and git diff.")


def _roles(arguments: Namespace, source: Source) -> Roles:
    """Return the roles that were given, and ask for others on a terminal."""
    given = {role: getattr(arguments, role) for role in QUESTIONS}
    if any(given[role] is None for role in REQUIRED):
        if not sys.stdin.isatty():
            missing = next(role for role in REQUIRED if given[role] is None)
            raise AdoptError(f"--{missing} is not given: type --{missing} COLUMN, one of {', '.join(source.types)}.")
        print(f"Columns: {', '.join(source.types)}")
        for role, question in QUESTIONS.items():
            if given[role] is None:
                given[role] = input(f"{question}? ").strip() or "none"
    named = {role: None if str(column).lower() == "none" else column for role, column in given.items()}
    for role in ("key", "label"):
        if named[role] is None:
            raise AdoptError(f"A table without a {role} cannot be adopted: type --{role} COLUMN.")
    return Roles(**named)


def _kind(package: str) -> str:
    """Return which kind of problem this project was rendered for."""
    if import_module(f"{package}.problem.model").PREDICT == "predict":
        return "regression"
    several = hasattr(import_module(f"{package}.problem.source"), "CLASSES")
    return "multiclass-classification" if several else "binary-classification"


@contextmanager
def _staged(root: Path, package: str) -> Iterator[Path]:
    """Make a folder with a copy of the package, in which all is tried before anything is written; remove it."""
    stage = root.resolve() / STATE / "adopting"
    shutil.rmtree(stage, ignore_errors=True)
    shutil.copytree(root / "src", stage / "src", ignore=shutil.ignore_patterns("__pycache__"))
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _stage(stage: Path, root: Path, package: str, adopted: Adopted, profile: Profile) -> dict[str, str]:
    """Write the new room into the stage, try it there, and return the text of each file by its path from the root."""
    room = Path("src", package, "problem")
    old = {name: (root / room / name).read_text(encoding="utf-8") for name in ("model.py", "metrics.py")}
    old["prediction"] = " ".join(import_module(f"{package}.problem.model").PREDICTION)
    files = {
        (name if "/" in name else (room / name).as_posix()): text
        for name, text in writing.problem_files(adopted, profile, old, package).items()
    }
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
    pa.parquet.write_table(pa.Table.from_pandas(kept, preserve_index=False), stage / "source.parquet")
    task = {"package": package, "today": profile.today.isoformat() if profile.today else None}
    (stage / "task.json").write_text(json.dumps(task), encoding="utf-8")
    print("\nTrying a first model …", flush=True)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(stage / "src"), str(root.resolve())])}
    tried = subprocess.run(
        [sys.executable, "-m", "local.adopt.trial", str(stage)], env=environment, cwd=root, capture_output=True, text=True
    )
    if tried.returncode:
        (*_, cause) = tried.stderr.strip().splitlines() or ["it says nothing"]
        log = root / STATE / "adopt.log"
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
    print(f"\n{source.name}: {len(adopted.rows):,} rows, the newest of them before {profile.today or 'today'}")
    for note in adopted.notes:
        print(f"  {note}")
    print(f"Features: {', '.join(profile.features)}")
    for name, reason in profile.left_out.items():
        print(f"  without {name}: it {reason}")
    print(result["reached"])
    if not result["gained"]:
        print("  The columns hardly tell the label: look for better ones before you rely on a model.")
    print(
        "\nproblem/sample.py and config.yml will hold summaries of the table, no row of it: percentiles of the numbers, "
        "shares\nof the values that at least 10 rows have, of nulls and of hours. They go into the repository."
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


def _fill(root: Path, stage: Path, profile: Profile) -> None:
    """Start a new `.local/` whose source tables hold the adopted rows, with what was there kept beside it."""
    state = root / STATE
    fresh = root / f"{STATE}-new"
    shutil.rmtree(fresh, ignore_errors=True)
    for target in target_names(root):
        bundle = load_bundle(root, target)
        catalog, schema, table = bundle["var"]["source_table"].split(".")
        shutil.copytree(stage / "lakehouse" / "trial" / "own" / "source", fresh / "lakehouse" / catalog / schema / table)
    (fresh / ADOPTED).mkdir()
    shutil.copy(stage / "source.parquet", fresh / ADOPTED)
    if profile.today:
        (fresh / ADOPTED / "today").write_text(profile.today.isoformat(), encoding="utf-8")
    shutil.rmtree(stage)
    if any(path.name != "adopt.log" for path in state.iterdir()):
        kept = root / f"{STATE}-{time.strftime('%Y%m%dT%H%M%S')}"
        state.rename(kept)
        print(f"What was in {STATE} is now in {kept.name}.")
    else:
        shutil.rmtree(state)
    fresh.rename(state)
