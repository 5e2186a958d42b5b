"""Whether an exercise of docs/exercises.md was solved, judged by what MLflow, tables, logs and git hold."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import fill

from mlflow.entities.model_registry import ModelVersion

from fraud_detection.platform import registry, tables
from fraud_detection.problem import features, sample

from local.adopt import calendar
from local.bundle import load_bundle
from local.engine import STATE, set_aside
from local.environment import open_environment
from local.notebook import open_dev

BEGIN = "begin"
LEAK_TEST = "tests/unit/test_leaks.py"
NOTICED = "leak-noticed.txt"  # in `.local/`: what the test said while the leak was there


class UnsolvedError(AssertionError):
    """What is missing, and what to do about it."""


def exercise(root: Path, name: str = "") -> str:
    """Empty the laptop for the exercises, judge one of them, or list all of them, and return what was found.

    Args:
        name: of the exercise, `begin`, or empty for all.

    Raises:
        UnsolvedError: says what is missing.
    """
    if calendar(root) or "local adopt" in (sample.__doc__ or ""):
        raise UnsolvedError(
            "The exercises need the sample problem, and this project has one of its own. Do them in a copy of the "
            "repository, at a commit from before that."
        )
    judges = dict(JUDGES)
    if "promotion" not in load_bundle(root, "prod")["resources"]["jobs"]:
        del judges["approval"]  # prod trains: what is approved is the release of code
    if name == BEGIN:
        return begin(root)
    if not name:
        lines = (f"{each:9} {look(judge, root)}" for each, judge in judges.items())
        return "\n".join(fill(line, 80, subsequent_indent=" " * 18) for line in lines)
    if name not in judges:
        raise UnsolvedError(f"There is no exercise '{name}'. Use one of: {', '.join([BEGIN, *judges])}.")
    try:
        return fill(f"Solved. {judges[name](root)}", 80)
    except UnsolvedError as error:
        raise UnsolvedError(f"{error} docs/exercises.md has the commands.") from None


def begin(root: Path) -> str:
    """Make way for the exercises, and say where everything from before is."""
    before = set_aside(root)
    (root / STATE).mkdir()
    kept = f" What was there is now in {before.name}." if before.exists() else ""
    return f"{STATE} is empty.{kept} Go on with docs/exercises.md."


def look(judge: Callable[[Path], str], root: Path) -> str:
    """Return what a judge says in one line."""
    try:
        return f"solved  {judge(root)}"
    except UnsolvedError as error:
        return f"open    {error}"


def versions(root: Path, target: str) -> list[ModelVersion]:
    """Return the versions of the model of `target`, the oldest first."""
    environment = open_environment(root, target)
    return registry.versions(environment.connect(), environment.model)[::-1]


def served_after(root: Path, number: int) -> ModelVersion | None:
    """Return the first version of dev behind `number` that became champion, None if there is none."""
    later = (version for version in versions(root, "dev") if int(version.version) > number)
    return next((version for version in later if "approved_at" in version.tags), None)


def gate(root: Path) -> str:
    """A version was refused, and the one that was trained after the repair serves."""
    refused = [version for version in versions(root, "dev") if version.tags.get("validation_status") == "FAILED"]
    if not refused:
        raise UnsolvedError("The gate of dev has refused no version yet: harm the model, and train in dev.")
    first, *_ = refused[-1].tags["validation_objections"].split("; ")
    said = f"The gate refused version {refused[-1].version}: {first}."
    repaired = served_after(root, int(refused[-1].version))
    if repaired is None:
        raise UnsolvedError(f"{said} The champion stayed. Take the change back, and train again.")
    return f"{said} The champion stayed, until version {repaired.version} passed."


def approval(root: Path) -> str:
    """A release to prod stopped because nobody had approved it, and went on when you had."""
    logs = sorted((root / STATE / "runs").glob("*-prod-promotion/approval.log"))
    stopped = [text for log in logs if "waits for an approval" in (text := log.read_text(encoding="utf-8"))]
    if not stopped:
        raise UnsolvedError("No release to prod has stopped for want of an approval yet: promote without one.")
    for version in versions(root, "prod"):
        tags, waits = version.tags, f"Version {version.version} of {version.name} passed the gate and waits"
        waited = any(waits in text for text in stopped)
        # In one's own name: nobody else was named with `--by`.
        if waited and "approved_at" in tags and tags["approved_by"] == tags.get("approved_as"):
            return f"Version {version.version} waited in prod until {tags['approved_by']} approved it."
    raise UnsolvedError("A release to prod waited for an approval. Approve it in your own name, and promote it again.")


def drift(root: Path) -> str:
    """Monitoring saw the drift of a champion of dev, and a later version became champion."""
    model, _ = open_dev()
    table, spark = f"{model.rpartition('.')[0]}.monitoring_metrics", tables.spark_session()
    measured = tables.read(spark, table).where("alarm AND metric = 'psi'") if tables.exists(spark, table) else None
    alarms = measured.orderBy("model_version", "value").collect() if measured else []
    if not alarms:
        raise UnsolvedError("Monitoring has seen no drift in dev yet: let rows that drift arrive, score, and monitor.")
    found = alarms[-1]
    said = f"Under version {found['model_version']} {found['feature']} drifted: PSI {found['value']:.2f}."
    trained = served_after(root, int(found["model_version"]))
    if trained is None:
        raise UnsolvedError(f"{said} Train in dev, as of the same day.")
    return f"{said} Version {trained.version} has learned from the new rows."


def rollback(root: Path) -> str:
    """A champion of dev was rolled back."""
    for version in versions(root, "dev"):
        if "rolled_back_at" in version.tags:
            by, reason = version.tags["rolled_back_by"], version.tags["rolled_back_reason"]
            return f"{by} rolled version {version.version} back: {reason}."
    raise UnsolvedError("No version of dev was rolled back yet: return to the champion before.")


def leak(root: Path) -> str:
    """The test of leaks failed with a change of the features, and passes without it."""
    path = Path(features.__file__).resolve()
    name, noticed = path.relative_to(root.resolve()).as_posix(), root / STATE / NOTICED
    compared = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", name], cwd=root, capture_output=True)
    if compared.returncode > 1:
        raise UnsolvedError("Put the project under git first, so that your change can be told from what was there.")
    if compared.returncode == 0 and not noticed.exists():
        raise UnsolvedError(f"{name} is as you committed it: write the leak.")
    test = [sys.executable, "-m", "pytest", "-q", LEAK_TEST]
    ran = subprocess.run(test, cwd=root, capture_output=True, text=True, encoding="utf-8")
    found = [line[1:].strip() for line in ran.stdout.splitlines() if line.startswith("E  ")]
    if compared.returncode == 1:
        if ran.returncode != 1:
            raise UnsolvedError(f"{name} was changed, but {LEAK_TEST} finds no leak in it: write one.")
        noticed.parent.mkdir(exist_ok=True)
        noticed.write_text(found[0], encoding="utf-8")
        raise UnsolvedError(f"{LEAK_TEST} noticed it ({found[0]}). Take it back: git restore {name}.")
    if ran.returncode:
        raise UnsolvedError(f"{LEAK_TEST} still fails, although {name} is as you committed it: {found[:1]}")
    return f"{LEAK_TEST} noticed the leak ({noticed.read_text(encoding='utf-8')}), and passes without it."


# In the order of the page.
JUDGES = {"gate": gate, "approval": approval, "drift": drift, "rollback": rollback, "leak": leak}
