"""Writes what `uv.lock` names into the wheel: a job installs what the release was tested with, whenever it runs.

So a wheel, and with it a deployment, needs a `uv.lock` that is as new as `pyproject.toml`.
"""

import subprocess
import sys
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from uv import find_uv_bin

# Exact versions, and the systems that each is for. No hashes: the metadata of a wheel have no place for them.
EXPORT = "export --quiet --locked --no-default-groups --no-emit-project --no-hashes --no-annotate --no-header"


class Release(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the locked packages to what the wheel needs."""
        if version == "editable":  # on a laptop, where uv installs from the lock file itself
            return
        command = [find_uv_bin(), *EXPORT.split(), "--python", sys.executable]
        exported = subprocess.run(command, cwd=self.root, stdout=subprocess.PIPE, text=True)
        if exported.returncode:
            sys.exit(exported.returncode)  # uv has said what is wrong with the lock file
        build_data["dependencies"] = exported.stdout.splitlines()
