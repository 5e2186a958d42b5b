"""The life of a model on emulated workspaces, with MLflow's own client for Unity Catalog: workspaces/ plays it.

Each workspace has its own runs and LoggedModels, identities have only the rights that the project's documents give
them, and the models of all are in one metastore or in two. story.py runs inside a rendered project, with its packages.
"""

import os
import re
import shutil
from pathlib import Path

import pytest
from conftest import Bake
from helpers import PATTERNS, TARGETS, need, run, sync

WORKSPACES = Path(__file__).with_name("workspaces")
# A profile that the commands must not take for a target.
PROFILE = "[DEFAULT]\nhost = http://127.0.0.1:9\ntoken = none\n"
INFERENCE = dict(zip(PATTERNS, ("batch-and-realtime", "realtime", "realtime"), strict=True))


def play(project: Path, pattern: str, inference: str, workspaces: int, packages: str = "") -> None:
    """Tell the story of a pattern with the newest packages that the project allows, or with `packages` instead."""
    (package,) = (path.name for path in (project / "src").iterdir() if (path / "__init__.py").exists())
    code = project / "workspaces"
    shutil.copytree(WORKSPACES, code, ignore=shutil.ignore_patterns("__pycache__"))
    for path in code.glob("*.py"):
        path.write_text(path.read_text(encoding="utf-8").replace("PACKAGE", package), encoding="utf-8")
    profile = project / "databrickscfg"
    profile.write_text(PROFILE, encoding="utf-8")
    lower = f"uv pip install {packages}" if packages else "uv --version"
    story = f"uv run --no-sync python workspaces {pattern} {inference} {workspaces}"
    sync(project)
    for command in ("git init --quiet", lower, story):
        result = run(
            *command.split(),
            cwd=project,
            timeout=1800,
            PYTHONPATH=os.pathsep.join(map(str, (code, project))),  # also for the process that tasks are forked from
            DATABRICKS_CONFIG_FILE=str(profile),
            MLFLOW_DISABLE_TELEMETRY="true",  # a thread that changes the environment while the story copies it
        )
        assert result.returncode == 0, result.stdout[-6000:]
    assert result.stdout.endswith("Every promise holds.\n")


@pytest.mark.slow
@pytest.mark.parametrize("pattern", PATTERNS)
def test_three_workspaces_and_the_newest_mlflow(pattern: str, bake_anew: Bake) -> None:
    need(unix="emulated workspaces")
    play(bake_anew(deployment_pattern=pattern), pattern, "batch", workspaces=3)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", PATTERNS)
def test_one_workspace_and_the_oldest_mlflow(pattern: str, bake_anew: Bake) -> None:
    need(unix="emulated workspaces")
    inference = INFERENCE[pattern]
    hosts = {f"{target}_workspace_host": "https://adb-4.4.azuredatabricks.net" for target in TARGETS}
    project = bake_anew(deployment_pattern=pattern, inference=inference, **hosts)
    lowest = re.search(r'"mlflow>=([\d.]+),', (project / "pyproject.toml").read_text(encoding="utf-8"))
    assert lowest is not None
    play(project, pattern, inference, workspaces=1, packages=f"mlflow=={lowest[1]}")
