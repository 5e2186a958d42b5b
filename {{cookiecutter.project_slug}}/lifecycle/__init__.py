"""The story of a model under this deployment pattern, told on the laptop. Delete the folder when you know it."""

import shutil
import time
from pathlib import Path

from local.engine import STATE

MARKER = "played-by-lifecycle"


def fresh_state(root: Path) -> None:
    """Empty `.local/`. State that did not come from a lifecycle is kept beside it."""
    state = root / STATE
    if (state / MARKER).exists():
        shutil.rmtree(state)
    elif state.exists():
        kept = root / f"{STATE}-{time.strftime('%Y%m%dT%H%M%S')}"
        state.rename(kept)
        print(f"The lifecycle starts empty. What was in {STATE} is now in {kept.name}.")
    state.mkdir()
    (state / MARKER).touch()
