"""Dates the wheel by its newest source file; of that date the Databricks CLI makes the wheel's version in dev.

A cluster that lives on installs a wheel only if its version is new. So it gets every change, and a deployment without
a change changes nothing.
"""

import os
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NewestSource(BuildHookInterface):
    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        sources = [path for path in Path(self.root, "src").rglob("*.*") if path.suffix != ".pyc"]
        newest = max(path.stat().st_mtime_ns for path in (Path(self.root, "pyproject.toml"), *sources))
        os.utime(artifact_path, ns=(newest, newest))
