"""GitHub reads workflows at the top of a repository alone. Those are copies of the ones here."""

from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
TOP = PROJECT.parents[{{ cookiecutter.__path.count("/") }}]


@pytest.mark.skipif(not (TOP / ".git").exists(), reason="it is not in its repository yet")
def test_github_runs_the_workflows_of_this_project() -> None:
    placed = TOP / ".github" / "workflows"
    for workflow in (PROJECT / ".github" / "workflows").glob("*.yml"):
        copy = placed / f"{PROJECT.name}-{workflow.name}"
        assert copy.is_file() and copy.read_bytes() == workflow.read_bytes(), "Type: ml-template place"
