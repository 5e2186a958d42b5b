"""Writes what `uv.lock` names into the wheel: a job installs what the release was tested with, whenever it runs.

So a wheel, and with it a deployment, needs a `uv.lock` that is as new as `pyproject.toml`.
"""

import os
import subprocess
import sys
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# Exact versions, and the systems that each is for. No hashes: the metadata of a wheel has no place for them.
EXPORT = "export --quiet --locked --no-default-groups --no-emit-project --no-hashes --no-annotate --no-header"


def find_uv() -> str:
    """Return the path of uv: the one that builds, or that of the package `uv`."""
    if "UV" in os.environ:  # uv says so to whatever it starts
        return os.environ["UV"]
    from uv import find_uv_bin

    return find_uv_bin()


class Release(BuildHookInterface):
    def dependencies(self) -> list[str]:
        """Return what the build needs besides hatchling: uv, where another program builds, as `%pip install` does."""
        return [] if "UV" in os.environ else ["uv"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the locked packages to what the wheel needs."""
        if version == "editable":  # on a laptop, where uv installs from the lock file itself
            return
        command = [find_uv(), *EXPORT.split(), "--python", sys.executable]
        exported = subprocess.run(command, cwd=self.root, stdout=subprocess.PIPE, text=True)
        if exported.returncode:
            sys.exit(exported.returncode)  # uv has said what is wrong with the lock file
        build_data["dependencies"] = exported.stdout.splitlines()
