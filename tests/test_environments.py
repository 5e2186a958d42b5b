"""`uv run python -m environments`: the set-up of a target, planned and applied against emulated services over HTTP."""

import copy
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from conftest import Bake
from helpers import clean_environment, run
from services import ACCOUNT, TOKEN, GitHub, Services, State
from stand_in import put_program

PACKAGES = ("databricks-sdk>=0.68", "pyyaml>=6")
WHO = ("--reviewers", "acme/reviewers", "--releasers", "acme/releasers", "--owners", "acme/platform")


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the packages that the command needs: fewer, and so faster, than those of a whole project."""
    folder = tmp_path_factory.mktemp("python")
    assert run("uv", "venv", "--quiet", folder / "venv", cwd=folder).returncode == 0
    interpreter = folder / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    installed = run("uv", "pip", "install", "--quiet", "--python", interpreter, *PACKAGES, cwd=folder)
    if installed.returncode:
        pytest.skip(f"no package registry can be reached: {installed.stdout}")
    return interpreter


class Project:
    """A rendered project, and the services that know of it."""

    def __init__(self, root: Path, services: Services, python: Path, bin: Path, **variables: str) -> None:
        self.root, self.services, self.python = root, services, python
        config = bin.parent / "databrickscfg"
        profile = f"[account]\nhost = {services.address()}\naccount_id = {ACCOUNT}\ntoken = {TOKEN}\n"
        config.write_text(profile, encoding="utf-8")
        self.variables = {
            "PATH": f"{bin}{os.pathsep}{os.environ['PATH']}",
            "DATABRICKS_CONFIG_FILE": str(config),
            "DATABRICKS_TOKEN": TOKEN,
            "SERVICES": services.address(),
        } | variables

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.python, "-m", "environments", *arguments],
            cwd=self.root,
            env=clean_environment(**(self.variables | variables)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )

    def run(self, *arguments: str, **variables: str) -> tuple[int, str]:
        """Return the exit code and what was printed."""
        process = self.start(*arguments, **variables)
        printed, _ = process.communicate(timeout=120)
        return process.returncode, printed

    def plan(self, target: str = "prod") -> tuple[int, str]:
        before = list(self.services.changes)
        code, printed = self.run("plan", "--target", target, *WHO)
        assert self.services.changes == before, "a plan changes nothing"
        return code, printed

    def apply(self, target: str = "prod") -> tuple[int, str]:
        return self.run("apply", "--target", target, *WHO)


def test_x(bake_anew: Bake, python: Path, tmp_path: Path) -> None:
    services = Services(GitHub)
    Thread(target=services.serve_forever, daemon=True).start()
    root = bake_anew(deployment_pattern="hybrid", prod_workspace_host=services.address(), staging_workspace_host=services.address("localhost"), dev_workspace_host=services.address("localhost"))
    (tmp_path / "bin").mkdir()
    put_program(tmp_path / "bin", "gh", "provider_cli.py", "gh")
    run("git", "init", "--quiet", cwd=root)
    run("git", "remote", "add", "origin", "https://github.com/acme/fraud.git", cwd=root)
    project = Project(root, services, python, tmp_path / "bin")
    for f in (project.plan, project.apply, project.apply, project.plan):
        t=time.time()
        code, printed = f()
        print(code, time.time()-t); print(printed)
        print(len(services.changes))
    assert 0
