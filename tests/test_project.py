"""The commands of a rendered project, and what its lifecycle leaves behind, read from outside.

All tests of a pattern share one project, and conftest.py keeps them in one process. MLflow's state is read
with sqlite3 and Delta tables with deltalake, so that none of the project's own code vouches for itself.
"""

import os
import re
import shutil
import sqlite3
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conftest import Bake
from deltalake import DeltaTable
from exercises import follow, judged
from helpers import PATTERNS, TARGETS, WHOLE_PRODUCT, commit, lock, run, sync
from test_dashboard import asked, check_plausible

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class EndState:
    """What the story of a pattern ends with in one environment, as the pattern promises it."""

    trained_in: str
    champion: int
    released: set[int]  # versions that ever became champion
    aliases: dict[str, int] = field(default_factory=dict)  # besides champion
    source: str | None = None  # the environment that the champion was received from
    reads: str | None = None  # the environment whose data it was trained on, if not the one it was trained in
    scored: bool = True


END_STATES = {
    "deploy-code": {
        "dev": EndState("dev", 1, {1}),
        "staging": EndState("staging", 1, {1}),
        # Three trainings that served, one that the gate refused, and a rollback from the third.
        "prod": EndState("prod", 2, {1, 2, 3}, {"challenger": 4}),
    },
    "deploy-model": {
        "dev": EndState("dev", 3, {1, 2, 3}, {"previous": 2}),
        # The third version of dev did not pass acceptance.
        "staging": EndState("dev", 2, {1, 2}, {"previous": 1, "challenger": 3}, source="dev", scored=False),
        "prod": EndState("dev", 1, {1, 2}, source="staging"),
    },
    "hybrid": {
        "dev": EndState("dev", 1, {1}),
        "staging": EndState("staging", 3, {1, 2, 3}, {"previous": 2, "challenger": 4}, reads="prod", scored=False),
        "prod": EndState("staging", 2, {1, 2, 3}, source="staging", reads="prod"),
    },
}
# An edit that breaks the pattern, as text that is added to a file of the bundle.
BREAKING = {
    "deploy-code": (
        "resources/inference.job.yml",
        "  staging:\n    resources:\n      jobs:\n        training:\n          schedule:\n"
        "            quartz_cron_expression: 0 0 4 * * ?\n            timezone_id: UTC\n",
    ),
    **{
        pattern: (
            "resources/training.job.yml",
            "  prod:\n    resources:\n      jobs:\n        training:\n          <<: *training\n",
        )
        for pattern in ("deploy-model", "hybrid")
    },
}

PROTECTION = "resources/protected.yml"


@dataclass(frozen=True)
class Project:
    pattern: str
    root: Path
    commit: str

    def run(self, *command: str, timeout: float = 900) -> str:
        """Run a command of the project, see to it that it succeeds, and return what it printed."""
        result = run(*command, cwd=self.root, timeout=timeout)
        assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout[-6000:]}"
        return result.stdout

    def refused(self, *command: str) -> str:
        """Run a command that must fail, and return what it printed."""
        result = run(*command, cwd=self.root)
        assert result.returncode != 0, f"{' '.join(command)} should have failed\n{result.stdout[-3000:]}"
        return result.stdout

    @contextmanager
    def changed(self, name: str, text: str) -> Iterator[None]:
        """Let a file have another content for a while."""
        file = self.root / name
        before = file.read_bytes()
        file.write_text(text, encoding="utf-8")
        try:
            yield
        finally:
            file.write_bytes(before)

    def query(self, statement: str, *values: str) -> list[tuple[Any, ...]]:
        """Ask MLflow's database."""
        with closing(sqlite3.connect(self.root / ".local" / "mlflow.db")) as database:
            return database.execute(statement, values).fetchall()

    def aliases(self, model: str) -> dict[str, int]:
        return dict(self.query("SELECT alias, version FROM registered_model_aliases WHERE name = ?", model))

    def tags(self, model: str, version: int) -> dict[str, str]:
        """Return the tags of a model version."""
        statement = "SELECT key, value FROM model_version_tags WHERE name = ? AND version = ?"
        return dict(self.query(statement, model, str(version)))

    def table(self, target: str, name: str, schema: str = "fraud_detection") -> list[dict[str, Any]]:
        """Return the rows of a Delta table; no rows if there is no such table."""
        folder = self.root / ".local" / "lakehouse" / target / schema / name
        return DeltaTable(folder).to_pyarrow_table().to_pylist() if folder.exists() else []


@pytest.fixture(scope="module", params=PATTERNS)
def project(request: pytest.FixtureRequest, bake_anew: Bake) -> Project:
    """A project that is set up and under git."""
    # What the jobs run on makes no difference to the laptop: one of the three shows it.
    compute = "classic" if request.param == "deploy-model" else "serverless"
    root = bake_anew(deployment_pattern=request.param, compute=compute)
    made = Project(request.param, root, commit(root))
    sync(root)
    return made


@pytest.fixture(scope="module")
def lifecycle(project: Project) -> str:
    """What the lifecycle printed. Whoever asks for it finds the state that it left behind."""
    return project.run("uv", "run", "python", "-m", "local", "lifecycle", timeout=1500)


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest) -> str:
    return request.param


def model_of(target: str) -> str:
    return f"{target}.fraud_detection.fraud_detection_model"


# Right after rendering


@pytest.mark.parametrize("command", ["ruff check", "ruff format --check", "mypy"])
def test_the_style_is_clean(project: Project, command: str) -> None:
    project.run("uv", "run", *command.split())


def test_its_own_tests_pass(project: Project) -> None:
    printed = project.run("uv", "run", "pytest", "-q")
    passed = re.search(r"(\d+) passed", printed)
    assert passed and int(passed[1]) > 50, printed[-2000:]
    assert "skipped" not in printed.splitlines()[-1]


def test_the_wheel_is_complete(project: Project, tmp_path: Path) -> None:
    project.run("uv", "build", "--wheel", "--out-dir", str(tmp_path))
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry_points,) = (name for name in names if name.endswith(".dist-info/entry_points.txt"))
        scripts = set(
            re.findall(r"^(\w+) = fraud_detection\.tasks\.\1:main$", archive.read(entry_points).decode(), re.M)
        )
    assert {
        f"fraud_detection/{name}" for name in ("problem/config.yml", "platform/registry.py", "tasks/train.py")
    } <= names
    assert not [name for name in names if not name.startswith(("fraud_detection/", "fraud_detection-"))]
    called = set()
    for file in (project.root / "resources").glob("*.job.yml"):
        called |= set(re.findall(r"entry_point: (\w+)", file.read_text(encoding="utf-8")))
    assert called <= scripts, "every task of a job has its entry point"


def test_the_wheel_of_classic_compute_has_the_date_of_its_newest_source(bake_anew: Bake, tmp_path: Path) -> None:
    """The Databricks CLI makes its version of that date, so that a cluster which lives on gets each change once."""
    root = bake_anew(compute="classic")
    commit(root)
    lock(root)
    source = root / "src" / "fraud_detection" / "tasks" / "train.py"

    def date_of_wheel() -> float:
        assert run("uv", "build", "--wheel", "--out-dir", tmp_path, cwd=root).returncode == 0
        (wheel,) = tmp_path.glob("*.whl")
        return wheel.stat().st_mtime

    first = date_of_wheel()
    assert date_of_wheel() == first
    for number, changed in enumerate((source, root / "uv.lock"), start=1):
        later = first + 60 * number
        os.utime(changed, (later, later))
        assert date_of_wheel() == later


def test_commands_explain_themselves(project: Project) -> None:
    commands = {"status", "rollback"} | ({"show", "promote", "approve"} if project.pattern != "deploy-code" else set())
    (listed,) = re.findall(r"\{([\w,]+)\}", project.run("uv", "run", "models", "--help").splitlines()[0])
    assert set(listed.split(",")) == commands
    for command in ("run", "lifecycle", "status", "access"):
        assert command in project.run("uv", "run", "python", "-m", "local", "--help")


# After the lifecycle


def test_the_lifecycle_tells_its_story(project: Project, lifecycle: str) -> None:
    steps = re.findall(r"^(\d+)\. \S", lifecycle, re.MULTILINE)
    assert [int(step) for step in steps] == list(range(1, len(steps) + 1))
    assert len(steps) >= 7
    assert "Everything the pattern promises holds" in lifecycle
    table = lifecycle[lifecycle.rindex("code deployed") :]
    for row in (
        "champion",
        "challenger",
        "trained in",
        "training data",
        "average precision",
        "approved by",
    ):
        assert re.search(rf"^ *{row}\s", table, re.MULTILINE), row
    status = project.run("uv", "run", "python", "-m", "local", "status")
    assert status.strip() in lifecycle, "the status afterwards is the table at the end"


def test_the_lifecycle_prints_what_a_terminal_of_80_columns_shows(lifecycle: str) -> None:
    """Each task with what it found, and no line of MLflow or of another package."""
    assert [line for line in lifecycle.splitlines() if len(line) > 80] == []
    assert "\x1b" not in lifecycle and "\r" not in lifecycle, "a pipe gets no colours"
    tasks = re.findall(r"^    (\S+)  (\w+) +\d+\.\d s(.*)$", lifecycle, re.MULTILINE)
    assert {outcome for outcome, _, _ in tasks} == {"ok", "FAILED"}
    assert [name for outcome, name, found in tasks if outcome == "ok" and not found.strip()] == []
    # Everything else is a heading, a promise, a sentence that goes on, or the state of the environments.
    story, _, _ = lifecycle.partition("What serves where")
    known = r"\d+\. |  \w+ \w+$|    (\S+  \w+ +\d+\.\d s|-> |\(|Version )|  the endpoint of | {32}\S|    \w|$"
    assert [line for line in story.splitlines() if not re.match(known, line)] == []


def test_a_champion_serves_that_was_trained_in_the_right_place(project: Project, lifecycle: str, target: str) -> None:
    end, model = END_STATES[project.pattern][target], model_of(target)
    assert project.aliases(model) == {"champion": end.champion, **end.aliases}
    tags = project.tags(model, end.champion)
    assert tags["environment"] == end.trained_in
    assert tags["validation_status"] == "PASSED"
    if "challenger" in end.aliases:
        assert project.tags(model, end.aliases["challenger"])["validation_status"] == "FAILED"


def test_a_version_can_say_where_it_comes_from(project: Project, lifecycle: str, target: str) -> None:
    end = END_STATES[project.pattern][target]
    for version in end.released:
        tags = project.tags(model_of(target), version)
        assert tags["git_commit"] == project.commit
        assert tags["training_table"] == f"{end.reads or end.trained_in}.fraud_detection.source"
        assert tags["training_table_version"].isdigit()
        assert tags["approved_by"] and re.match(r"\d{4}-\d\d-\d\dT", tags["approved_at"])
        if end.source is None:
            assert "source_model" not in tags
            continue
        assert tags["source_model"] == model_of(end.source)
        source = project.tags(tags["source_model"], int(tags["source_version"]))
        assert source["training_run"] == tags["training_run"]


def test_training_read_as_much_as_it_should(project: Project, lifecycle: str, target: str) -> None:
    end = END_STATES[project.pattern][target]
    fraction = float(project.tags(model_of(target), end.champion)["training_fraction"])
    assert fraction == (0.2 if (project.pattern, target) == ("deploy-code", "staging") else 1)


def test_an_environment_that_receives_trained_nothing(project: Project, lifecycle: str, target: str) -> None:
    """Every training is an MLflow run in the experiment of its environment."""
    trainings = project.query(
        "SELECT COUNT(*) FROM runs JOIN experiments USING (experiment_id)"
        " WHERE experiments.name LIKE '%/fraud-detection-' || ? AND runs.name LIKE 'train %'",
        target,
    )
    receives = END_STATES[project.pattern][target].source is not None
    assert (trainings[0][0] == 0) == receives


def test_no_version_came_twice(project: Project, lifecycle: str, target: str) -> None:
    """One version for each training, also where a promotion was interrupted and started again."""
    versions = project.query("SELECT version FROM model_versions WHERE name = ?", model_of(target))
    runs = [project.tags(model_of(target), version)["training_run"] for (version,) in versions]
    assert len(runs) == len(set(runs))


def test_every_transaction_was_scored_once(project: Project, lifecycle: str, target: str) -> None:
    end = END_STATES[project.pattern][target]
    rows = project.table(target, "predictions")
    assert bool(rows) == end.scored
    identifiers = [row["transaction_id"] for row in rows]
    assert len(identifiers) == len(set(identifiers))
    for row in rows:
        assert 0 <= row["fraud_score"] <= 1
        assert row["model_name"] == model_of(target)
        assert row["model_version"] in end.released
        assert row["git_commit"] == project.commit
        assert row["scored_at"] is not None


def test_the_release_log_has_each_release_once(project: Project, lifecycle: str, target: str) -> None:
    end = END_STATES[project.pattern][target]
    log = project.table(target, "release_log")
    assert sorted(row["model_version"] for row in log) == sorted(end.released)
    for row in log:
        assert (row["model"], row["environment"], row["trained_in"]) == (model_of(target), target, end.trained_in)
        assert row["git_commit"] == project.commit
        assert row["released_at"] and row["validation_run"]
        assert row["approved_by"]
        assert row["source_model"] == (model_of(end.source) if end.source else "")


def test_evaluations_are_kept(project: Project, lifecycle: str, target: str) -> None:
    end = END_STATES[project.pattern][target]
    rows = project.table(target, "evaluations")
    assert {row["model_version"] for row in rows} >= end.released
    assert {row["validation_status"] for row in rows if row["model_version"] in end.released} == {"PASSED"}
    assert {"average_precision", "roc_auc"} <= {row["metric"] for row in rows}
    later = end.released - {1}
    compared = {row["model_version"] for row in rows if row["model_version"] != row["compared_version"]}
    assert later <= compared, "each but the first was held against the champion"


def test_monitoring_is_kept(project: Project, lifecycle: str, target: str) -> None:
    rows = project.table(target, "monitoring_metrics")
    assert bool(rows) == END_STATES[project.pattern][target].scored
    if target == "prod":
        drifted = [row for row in rows if row["metric"] == "psi" and row["alarm"]]
        assert drifted and all(row["value"] > row["limit"] for row in drifted)
        report = (project.root / ".local" / "report.html").read_text(encoding="utf-8")
        assert "<svg" in report or "data:image" in report, "the report has plots"
        assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", report), "and needs nothing else"


def test_the_dashboard_tells_the_story(project: Project, lifecycle: str, bake: Bake) -> None:
    shown = asked(project.root, bake(deployment_pattern=project.pattern, sql_warehouse="Shared"))
    ends = END_STATES[project.pattern]
    assert shown.keys() == {target for target, end in ends.items() if end.scored}
    for target, widgets in shown.items():
        check_plausible(widgets)
        rows = project.table(target, "predictions")
        scored = Counter(row["model_version"] for row in rows)
        assert {row["model_version"]: row["scored_rows"] for row in widgets["scored_table"]} == scored
        assert sum(row["scored_rows"] for row in widgets["scored_chart"]) == len(rows)
        released = [row["model_version"] for row in widgets["release_table"]]
        assert sorted(released) == sorted(ends[target].released)
        results = {row["model_version"]: row["validation_status"] for row in widgets["gate_table"]}
        assert {results[version] for version in released} == {"PASSED"}
        if "challenger" in ends[target].aliases:
            assert results[ends[target].aliases["challenger"]] == "FAILED"
    assert shown["prod"]["performance_chart"]
    assert {row["metric"] for row in shown["prod"]["alarm"]} == {"psi", "average_precision"}


def test_what_the_integration_test_trained_stayed_there(project: Project, lifecycle: str) -> None:
    test_in = {"deploy-code": set(), "deploy-model": {"dev"}, "hybrid": {"staging"}}[project.pattern]  # in the story
    schema = "fraud_detection_integration_test"
    versions = project.query("SELECT name, version FROM model_versions")
    thrown_away = {name for name, _ in versions if f".{schema}." in name}
    assert thrown_away == {f"{target}.{schema}.fraud_detection_model" for target in test_in}
    kept = {project.tags(name, version)["training_run"] for name, version in versions if name not in thrown_away}
    for name in thrown_away:
        assert project.aliases(name)["champion"] == 1
        assert project.tags(name, 1)["training_run"] not in kept
    for target in TARGETS:
        assert len(project.table(target, "release_log", schema)) == (target in test_in)


def test_a_model_can_be_rolled_back_once(project: Project, lifecycle: str) -> None:
    """The story of each pattern rolled prod back already, so there is nothing left to return to."""
    printed = project.refused(
        *("uv", "run", "python", "-m", "local", "models", "rollback", "--target", "prod", "--reason", "again")
    )
    assert "has no previous champion" in printed
    assert project.aliases(model_of("prod"))["champion"] == END_STATES[project.pattern]["prod"].champion


def test_the_lifecycle_solves_no_exercise(project: Project, lifecycle: str) -> None:
    """It does what the exercises ask for in prod, and in somebody else's name."""
    states = judged(project.root)
    assert set(states.values()) == {"open"}
    assert ("approval" in states) == (project.pattern != "deploy-code")


def test_the_notebook_explores_on_the_laptop(project: Project, lifecycle: str) -> None:
    """Beside the table of results it leaves one run in the experiment of dev, and the registry as it was."""
    if project.pattern != "deploy-code" and not WHOLE_PRODUCT:
        pytest.skip("dev trains in every pattern: done in deploy-code, and in all of them with WHOLE_PRODUCT")
    runs = "SELECT COUNT(*) FROM runs JOIN experiments USING (experiment_id) WHERE experiments.name LIKE ? AND {}"
    explored = runs.format("runs.name LIKE 'explore %'")
    versions = project.query("SELECT name, version FROM model_versions")
    printed = project.run("uv", "run", "python", "notebooks/explore.py")
    champion = END_STATES[project.pattern]["dev"].champion
    assert re.search(rf"^ +champion {champion} +variant +difference +margin +it is$", printed, re.MULTILINE), printed
    assert re.search(r"^average_precision( +-?0\.\d+){4} +(better|worse|may be chance)$", printed, re.MULTILINE)
    assert "problem/model.py" in printed and "uv run python -m local run dev training" in printed
    assert project.query(explored, "%/fraud-detection-dev") == project.query(explored, "%") == [(1,)]
    assert project.query("SELECT name, version FROM model_versions") == versions
    end = END_STATES[project.pattern]["dev"]
    assert project.aliases(model_of("dev")) == {"champion": end.champion, **end.aliases}


# A project that somebody broke


def test_a_parameter_that_is_spelled_differently_fails_on_the_laptop(project: Project) -> None:
    name = "resources/sample_data.job.yml"
    text = (project.root / name).read_text(encoding="utf-8")
    assert "rows_per_day" in text
    with project.changed(name, text.replace("rows_per_day", "rows_a_day")):
        printed = project.refused("uv", "run", "python", "-m", "local", "run", "dev", "sample_data")
    assert "dev sample_data.sample_data failed" in printed
    assert "--rows_per_day" in printed


def test_an_edit_that_breaks_the_pattern_fails_its_tests(project: Project) -> None:
    name, addition = BREAKING[project.pattern]
    text = (project.root / name).read_text(encoding="utf-8")
    tests = ("uv", "run", "pytest", "-q", "tests/unit/test_pattern.py")
    project.run(*tests)
    # The CLI would delete the model, if what protects it were gone as well.
    protection = (project.root / PROTECTION).read_text(encoding="utf-8")
    unprotected = protection.replace("prevent_destroy: true", "prevent_destroy: false", 1)
    with project.changed(name, text + addition), project.changed(PROTECTION, unprotected):
        printed = project.refused(*tests)
    assert "see registered_models.model in protected.yml" in printed, printed[-2000:]
    assert len(re.findall("^FAILED ", printed, re.MULTILINE)) > 2, printed[-2000:]


def test_the_story_may_be_deleted(project: Project, tmp_path: Path) -> None:
    """As the README says. What it is makes no difference to that, so one pattern shows it."""
    if project.pattern != "hybrid":
        return
    text = (project.root / "pyproject.toml").read_text(encoding="utf-8")
    assert '"lifecycle", "environments", "tests"' in text
    shutil.move(project.root / "lifecycle", tmp_path)
    try:
        with project.changed("pyproject.toml", text.replace('"lifecycle", "environments"', '"environments"')):
            project.run("uv", "run", "mypy")
            assert not re.search("lifecycle|exercise", project.run("uv", "run", "python", "-m", "local", "--help"))
    finally:
        shutil.move(tmp_path / "lifecycle", project.root)


def test_a_broken_source_table_stops_the_run(project: Project) -> None:
    """Without data no model is trained, and the message says what is missing."""
    command = ("uv", "run", "python", "-m", "local", "run", "dev", "training", "--param", "run_date=2001-01-01")
    printed = project.refused(*command)
    assert "dev training.check_data failed" in printed


def test_the_exercises_are_solved_by_what_their_page_says(project: Project, lifecycle: str) -> None:
    """In test_problems.py where a model is received. It comes last, because it begins with an empty laptop."""
    if project.pattern != "deploy-code":
        pytest.skip("the pages differ in one exercise, which test_problems.py does with WHOLE_PRODUCT")
    follow(project.root, *([] if WHOLE_PRODUCT else ["leak"]))


def test_the_project_is_unchanged_by_all_this(project: Project, lifecycle: str) -> None:
    """What commands leave behind is ignored by git, apart from the lock file that the user commits."""
    status = run("git", "status", "--porcelain", cwd=project.root).stdout.split("\n")
    assert [line for line in status if line] == ["?? uv.lock"]
