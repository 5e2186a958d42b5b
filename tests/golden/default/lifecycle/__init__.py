"""The story of a model under this deployment pattern, told on the laptop. Delete the folder when you know it."""

import shutil
from pathlib import Path

from local.adopt import ADOPTED
from local.engine import STATE, set_aside

MARKER = "played-by-lifecycle"


def fresh_state(root: Path) -> None:
    """Empty `.local/`, but keep rows that were adopted. State that did not come from a lifecycle is kept beside it."""
    state, before = root / STATE, set_aside(root)
    state.mkdir()
    (state / MARKER).touch()
    if (before / ADOPTED).exists():
        shutil.copytree(before / ADOPTED, state / ADOPTED)
    if (before / MARKER).exists():
        shutil.rmtree(before)
    elif before.exists():
        print(f"The lifecycle starts empty. What was in {STATE} is now in {before.name}.")
