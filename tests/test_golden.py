"""The golden projects show what the template gives today."""

from pathlib import Path

from golden_tree import GOLDEN, golden
from helpers import files


def test_the_golden_projects_are_up_to_date(tmp_path: Path) -> None:
    kept = {name: content.decode("utf-8") for name, content in files(GOLDEN).items()}
    now = golden(tmp_path)
    changed = sorted(name for name in kept.keys() | now.keys() if kept.get(name) != now.get(name))
    assert not changed, "run `python tasks.py golden`, and read in `git diff tests/golden` what changes for users"
