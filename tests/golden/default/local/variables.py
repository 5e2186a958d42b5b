"""The environment variables that lead a process to what runs on this laptop."""

from pathlib import Path

from . import engine


def variables(root: Path) -> dict[str, str]:
    """Return the variables that point MLflow at the laptop's registry."""
    return engine.environment(root)
