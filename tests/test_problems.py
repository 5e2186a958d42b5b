"""The kinds of problem, and what a data scientist changes in one: roles, estimator, search, as the documents say.

MLflow's state is read with sqlite3 and Delta tables with deltalake, as in test_project.py.
"""

import ast
import os
import re
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import Bake
from deltalake import DeltaTable
from exercises import PAGE, edits, follow
from helpers import CHOICES, PATTERNS, WHOLE_PRODUCT, commit, files, run, sync
from test_dashboard import asked, check_plausible

PROBLEMS = CHOICES["problem"]
LIVES = [
    ("multiclass-classification", "hybrid", "batch-and-realtime"),
    ("regression", "deploy-model", "realtime"),
]
ROOM = "src/fraud_detection/problem"


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("problem", PROBLEMS[1:])
def test_the_answer_decides_the_problem_and_nothing_else(problem: str, pattern: str, bake: Bake) -> None:
    # What the project is for is an answer as well, whose default tells of the sample problem.
    answers = {"deployment_pattern": pattern, "inference": "batch-and-realtime", "description": "Tells who leaves."}
    default, other = files(bake(**answers)), files(bake(**answers, problem=problem))
    assert default.keys() == other.keys()
    changed = {name for name, content in default.items() if other[name] != content}
    assert changed == {name for name in default if name.startswith((f"{ROOM}/", "tests/problem/"))} - {
        f"{ROOM}/__init__.py"
    }


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_exercises_edit_what_is_there(problem: str, bake: Bake) -> None:
    project = bake(problem=problem)
    found = edits(project, (project / PAGE).read_text(encoding="utf-8"))
    assert [path.name for path, _, _ in found] == ["model.py", "features.py"]
    for path, old, new in found:
        assert path.read_text(encoding="utf-8").count(old) == 1 and new != old


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_room_is_read_in_ten_minutes(problem: str, bake: Bake) -> None:
    lines = [len(path.read_text(encoding="utf-8").splitlines()) for path in (bake(problem=problem) / ROOM).iterdir()]
    assert sum(lines) < 400


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_tests_that_adopt_keeps_name_nothing_of_the_sample(problem: str, bake: Bake) -> None:
    project = bake(problem=problem)
    source = ast.parse((project / ROOM / "source.py").read_text(encoding="utf-8"))
    lists = [node for node in ast.walk(source) if isinstance(node, ast.Dict | ast.List)]
    sample = {text for node in lists for text in texts(node)}
    assert len(sample) > 10
    for kept in ("test_metrics.py", "test_model.py"):
        tests = ast.parse((project / "tests" / "problem" / kept).read_text(encoding="utf-8"))
        assert texts(tests).isdisjoint(sample), kept


def texts(tree: ast.AST) -> set[str]:
    """Return the string constants under `tree`."""
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {value for value in constants if isinstance(value, str)}


def test_every_problem_is_tested_and_can_be_adopted(bake: Bake) -> None:
    assert [problem for problem, _, _ in LIVES] == PROBLEMS[1:], "LIVES in tests/test_problems.py"
    code = "".join(path.read_text(encoding="utf-8") for path in (bake() / "local" / "adopt").glob("*.py"))
    assert not [problem for problem in PROBLEMS if f'"{problem}"' not in code], "local/adopt"


@dataclass(frozen=True)
class Project:
    """A rendered project, set up to run on this machine."""

    root: Path
    extras: tuple[str, ...] = ()  # packages beside those of the project

    def run(self, *command: str, **variables: str) -> str:
        """Run a command of the project, see to it that it succeeds, and return what it printed."""
        extras = [word for extra in self.extras for word in ("--with", extra)]
        result = run("uv", "run", *extras, *command, cwd=self.root, timeout=1500, **variables)
        assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout[-6000:]}"
        return result.stdout

    def job(self, job: str, *parameters: str, **variables: str) -> None:
        """Run a job of dev."""
        given = [word for parameter in parameters for word in ("--param", parameter)]
        self.run("python", "-m", "local", "run", "dev", job, "--param", "run_date=2026-03-02", *given, **variables)

    def train_and_score(self, *parameters: str, rows_per_day: int = 100, **variables: str) -> list[dict[str, Any]]:
        """Run every job of dev on few rows, and return the predictions."""
        self.job("sample_data", "days=60", f"rows_per_day={rows_per_day}", **variables)
        self.job("training", "days=60", *parameters, **variables)
        self.job("inference", "days=7", **variables)
        self.job("monitoring", **variables)
        return self.table("predictions")

    def table(self, name: str) -> list[dict[str, Any]]:
        folder = self.root / ".local" / "lakehouse" / "dev" / "fraud_detection" / name
        return DeltaTable(folder).to_pyarrow_table().to_pylist()

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask MLflow's database."""
        with closing(sqlite3.connect(self.root / ".local" / "mlflow.db")) as database:
            return database.execute(statement).fetchall()

    def edit(self, name: str, *changes: tuple[str, str]) -> None:
        """Replace regular expressions, which must each match once, in a file of the problem's room."""
        replace(self.root / ROOM / name, *changes)


def replace(path: Path, *changes: tuple[str, str]) -> None:
    """Replace regular expressions, which must each match once, in a file."""
    text = path.read_text(encoding="utf-8")
    for pattern, replacement in changes:
        text, found = re.subn(pattern, lambda _, text=replacement: text, text, flags=re.DOTALL | re.MULTILINE)
        assert found == 1, f"{path.name}: {pattern} is there {found} times"
    path.write_text(text, encoding="utf-8")


def set_up(bake_anew: Bake, *extras: str, **answers: str) -> Project:
    root = bake_anew(**answers)
    commit(root)
    sync(root)
    return Project(root, extras)


@pytest.mark.slow
@pytest.mark.parametrize(("problem", "pattern", "inference"), LIVES)
def test_another_problem_lives_its_life(problem: str, pattern: str, inference: str, bake_anew: Bake) -> None:
    """All tests of one problem run, and the other one lives; both of them do both where the whole product is tested."""
    first = problem == PROBLEMS[1]
    answers = {"problem": problem, "deployment_pattern": pattern, "inference": inference}
    project = set_up(bake_anew, **answers, sql_warehouse="Shared")
    for command in ("ruff check", "ruff format --check", "mypy"):
        project.run(*command.split())
    tested = project.run("pytest", "-q", *([] if first or WHOLE_PRODUCT else ["tests/problem"]))
    assert "skipped" not in tested.splitlines()[-1]
    if WHOLE_PRODUCT or not first:
        assert "Everything the pattern promises holds" in project.run("python", "-m", "local", "lifecycle")
        for shown in asked(project.root, project.root).values():
            check_plausible(shown)
    if WHOLE_PRODUCT and not first and sys.platform != "win32":  # an approval asks in a terminal
        follow(project.root)


@pytest.mark.slow
def test_a_table_without_roles_is_a_snapshot(bake_anew: Bake) -> None:
    """Neither entity nor time, and labels that count at once."""
    project = set_up(bake_anew, problem="regression")
    project.edit(
        "source.py",
        *(
            (rf"^{role}: str \| None = \"\w+\"", f"{role}: str | None = None")
            for role in ("ENTITY", "TIME", "LABEL_TIME")
        ),
    )
    project.edit("config.yml", (r"holdout_days: 14 .*?$", "holdout_fraction: 0.2"))

    predictions = project.train_and_score()

    assert len(predictions) == len({row["parcel_id"] for row in predictions}) == 60 * 100, "all of it is scored"
    assert all(row["predicted_hours"] > 0 for row in predictions)
    assert "skipped" in project.run("pytest", "-q", "tests/unit/test_data.py").splitlines()[-1], "what needs a time"


def blocks(project: Path, heading: str, page: str = "estimators", language: str = "python") -> list[str]:
    """Return the code below a heading of a page in docs/."""
    text = (project / "docs" / f"{page}.md").read_text(encoding="utf-8")
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(rf"^```{language}\n(.*?)^```", section, flags=re.DOTALL | re.MULTILINE)


OLD_PARAMETERS = r"^PARAMETERS: .*?^}\n"
OLD_REQUIREMENTS = r"^REQUIREMENTS = .*?\n"
OLD_IMPORT = r"^from sklearn.ensemble import .*?\n"


def model_files(project: Project) -> str:
    """Return what the files of the registered models say they need."""
    found = sorted((project.root / ".local").rglob("requirements.txt"))
    return "\n".join(path.read_text(encoding="utf-8") for path in found)


@pytest.mark.slow
def test_another_library_takes_the_place_of_the_estimator(bake_anew: Bake) -> None:
    project = set_up(bake_anew, "lightgbm", problem="multiclass-classification")
    top, estimator = blocks(project.root, "Another library")
    project.edit(
        "model.py",
        (OLD_REQUIREMENTS, ""),
        (OLD_PARAMETERS, top.partition("\n")[2]),
        (OLD_IMPORT, top.partition("\n")[0] + "\n"),
        (r"HistGradientBoostingClassifier\(\*\*.*?\),\n", estimator.strip() + ",\n"),
    )

    predictions = project.train_and_score()

    assert len(predictions) == 7 * 100
    assert {row["predicted_fault"] for row in predictions} == {"bearing", "blockage", "leak", "none"}
    assert "lightgbm==" in model_files(project)


@pytest.mark.slow
def test_a_network_takes_the_place_of_the_estimator(bake_anew: Bake) -> None:
    """TORCH is a package of PyTorch for uv, such as `torch`, and TORCH_INDEX where its wheels for CPUs are."""
    if "TORCH" not in os.environ:
        pytest.skip("TORCH names no package of PyTorch, whose wheels for Linux have gigabytes")
    project = set_up(bake_anew, os.environ["TORCH"], problem="multiclass-classification")
    top, estimator = blocks(project.root, "A network")
    project.edit(
        "model.py",
        (OLD_REQUIREMENTS, ""),
        (OLD_IMPORT, ""),
        (OLD_PARAMETERS, top),
        (r"^    encoder = .*?^    \)\n", estimator),
    )

    index = {"UV_INDEX": os.environ["TORCH_INDEX"]} if "TORCH_INDEX" in os.environ else {}
    predictions = project.train_and_score(**index)

    assert {row["predicted_fault"] for row in predictions} == {"bearing", "blockage", "leak", "none"}
    assert "torch==" in model_files(project)


@pytest.mark.slow
def test_a_search_tries_parameters_before_training(bake_anew: Bake) -> None:
    project = set_up(bake_anew, "optuna", problem="regression")
    project.edit("config.yml", (r"^training:\n", "training:\n  trials: 3\n"))

    project.train_and_score()

    trials = project.query(
        "SELECT runs.name, metrics.value FROM runs JOIN tags ON tags.run_uuid = runs.run_uuid "
        "JOIN metrics ON metrics.run_uuid = runs.run_uuid "
        "WHERE tags.key = 'mlflow.parentRunId' AND metrics.key = 'mean_absolute_error' ORDER BY runs.name"
    )
    assert [name for name, _ in trials] == ["trial 0", "trial 1", "trial 2"]
    (best, _), *_ = sorted(trials, key=lambda trial: trial[1])
    of_run = "SELECT params.key, params.value FROM params JOIN runs ON runs.run_uuid = params.run_uuid WHERE runs.name"
    assert set(project.query(f"{of_run} = '{best}'")) == set(project.query(f"{of_run} LIKE 'train %'"))
