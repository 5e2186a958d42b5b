"""`python -m local adopt`: from a table to a project of one's own, by its commands."""

import csv
import random
import re
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from conftest import Bake
from helpers import commit, files, run, sync

pytestmark = pytest.mark.slow

ADOPT = ("uv", "run", "python", "-m", "local", "adopt")
# What the sample problem is made of; nothing of it may be left in an adopted project.
SAMPLE = re.compile(r"fraud|card_id|transaction_id|merchant|\btransactions?\b")


@pytest.fixture(scope="module")
def project(bake_anew: Bake) -> Path:
    """A project of its own, locked and under git."""
    project = bake_anew(project_name="Returns", description="Predicts which orders come back.")
    commit(project)
    sync(project)
    return project


def write_orders(path: Path, days: int = 70, per_day: int = 60) -> Path:
    """Write orders with spaces and capitals in the names, times as text, missing values, and a label in words."""
    rng = random.Random(5)
    with path.open("w", encoding="utf-8", newline="") as stream:
        lines = csv.writer(stream)
        lines.writerow(["Order ID", "Ordered At", "Unit Price", "Shop", "Gift?", "Came Back", "Refund"])
        for number in range(days * per_day):
            at = datetime(2025, 1, 1) + timedelta(days=number // per_day, minutes=rng.randrange(1440))
            price = round(rng.lognormvariate(3, 1), 2)
            back = rng.random() < (0.8 if price > 30 else 0.1)
            shop = rng.choice(["north", "south", "east", ""])
            answer, refund = ("Yes", price) if back else ("No", 0)
            lines.writerow([number, f"{at:%d/%m/%Y %H:%M}", price, shop, rng.choice("YN"), answer, refund])
    return path


def test_what_it_reads_and_refuses(project: Path) -> None:
    inside = project / "tests" / "unit" / "test_adopting.py"
    inside.write_bytes(Path(__file__).with_name("adopting.py").read_bytes())
    try:
        result = run("uv", "run", "pytest", "-q", inside, cwd=project)
    finally:
        inside.unlink()
    assert result.returncode == 0, result.stdout[-6000:]
    passed = re.search(r"(\d+) passed", result.stdout)
    assert passed and int(passed[1]) >= 45


def test_a_file_becomes_the_problem_of_the_project(project: Path, tmp_path: Path) -> None:
    orders = write_orders(tmp_path / "orders.csv")
    roles = ("--key", "Order ID", "--time", "Ordered At", "--label", "Came Back")
    before = files(project)

    refused = run(*ADOPT, orders, *roles, cwd=project)
    assert refused.returncode == 1 and "add --force to write without asking" in refused.stdout
    failed = run(*ADOPT, orders, *roles[:-1], "Unit Price", "--force", cwd=project)
    assert failed.returncode == 1 and "this project predicts 0 or 1" in failed.stdout
    assert "Traceback" not in refused.stdout + failed.stdout
    unchanged = {name: text for name, text in files(project).items() if name in before}
    assert unchanged == before

    adopted = run(*ADOPT, orders, *roles, "--force", cwd=project)
    assert adopted.returncode == 0, adopted.stdout
    assert "Came Back is called came_back" in adopted.stdout
    assert "without refund: it almost gives the label away" in adopted.stdout

    tests_of_columns = "pytest -q tests/problem tests/unit/test_rooms.py tests/unit/test_leaks.py"
    for command in ("ruff check", "ruff format --check", "mypy", tests_of_columns):
        result = run("uv", "run", *command.split(), cwd=project)
        assert result.returncode == 0, result.stdout[-4000:]
    for job in ("training", "inference", "monitoring"):
        result = run("uv", "run", "python", "-m", "local", "run", "dev", job, cwd=project)
        assert result.returncode == 0, result.stdout[-4000:]
    explored = run("uv", "run", "python", "notebooks/explore.py", cwd=project)
    assert explored.returncode == 0 and "champion 1" in explored.stdout, explored.stdout[-4000:]
    exercise = run("uv", "run", "python", "-m", "local", "exercise", "begin", cwd=project)
    assert exercise.returncode == 1 and "need the sample problem" in exercise.stdout
    own = {name: text.decode(errors="ignore") for name, text in files(project).items() if not name.startswith(".")}
    tests = {name for name in before if name.startswith("tests/problem/")}
    assert tests == {name for name in own if name.startswith("tests/problem/")}, "what was tested still is"
    texts = {name: text for name, text in own.items() if name.endswith((".py", ".yml", ".md", ".toml"))}
    left = {name: SAMPLE.findall(text) for name, text in texts.items() if SAMPLE.search(text)}
    assert left == {}
    status = run("git", "status", "--porcelain", "--untracked-files=all", cwd=project).stdout
    assert "orders" not in status and ".local" not in status


def test_adopting_again_says_what_it_replaces(project: Path, tmp_path: Path) -> None:
    """A snapshot, whose rows have no time."""
    (project / ".local").mkdir(exist_ok=True)
    (project / ".local" / "mine").touch()
    features = project / "src" / "returns" / "problem" / "features.py"
    features.write_text(features.read_text(encoding="utf-8") + "\n# an edit of one's own\n", encoding="utf-8")
    orders = write_orders(tmp_path / "orders.csv")
    roles = ("--key", "Order ID", "--time", "none", "--label", "Came Back", "--force")
    result = run(*ADOPT, orders, *roles, cwd=project)
    assert result.returncode == 0, result.stdout
    assert re.search(
        r"replaces src/returns/problem/features.py +\(with changes that are not committed\)", result.stdout
    )
    assert re.search(r"What was in .local is now in .local-\d", result.stdout)
    assert "TIME: str | None = None" in (features.parent / "source.py").read_text(encoding="utf-8")
    for job in ("training", "inference"):
        ran = run("uv", "run", "python", "-m", "local", "run", "dev", job, cwd=project)
        assert ran.returncode == 0, ran.stdout[-4000:]
