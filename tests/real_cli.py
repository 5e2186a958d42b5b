"""What tests need that run the Databricks CLI itself, against a fake workspace on this machine.

Needs `databricks` and `uv` on the PATH. The workspace is that of `fake_workspace.py`, or the one whose address is in
DATABRICKS_FAKE_HOST: the CLI's own `libs/testserver` is another. In both each token has a workspace of its own, and
whoever logs in with OIDC shares one.
"""

import functools
import json
import os
import re
import shutil
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler
from typing import Any

import fake_workspace
import pytest
from helpers import TARGETS

MISSING = [program for program in ("databricks", "uv") if shutil.which(program) is None]
needs_cli = pytest.mark.skipif(bool(MISSING), reason=f"not on the PATH: {', '.join(MISSING)}")

OIDC_TOKEN = fake_workspace.OIDC_TOKEN  # the CLI's own workspace gives the same
TOKEN_OF_THE_JOB = "token-of-the-job"


@functools.cache
def host() -> str:
    """Return the address of the fake workspace, which is started if it has to be.

    Raises:
        ValueError: if DATABRICKS_FAKE_HOST names another machine, where tests would leave something.
    """
    given = os.environ.get("DATABRICKS_FAKE_HOST")
    if given is None:
        return fake_workspace.start()
    if not re.match(r"http://(localhost|127\.0\.0\.1)\b", given):
        raise ValueError(f"DATABRICKS_FAKE_HOST is {given}, no address of this machine")
    return given


class TokenOfTheJob(BaseHTTPRequestHandler):
    """Gives a token that says who a job is to a job that shows its own, as Azure DevOps and GitHub do."""

    def give(self, *addresses: str, field: str) -> None:
        shown = self.headers["Authorization"].lower() == f"bearer {TOKEN_OF_THE_JOB}"
        self.send_response(200 if shown and self.path.startswith(addresses) else 401)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps({field: "who this job is"}).encode())

    def do_POST(self) -> None:
        job = "/0000-project/_apis/distributedtask/hubs/build/plans/plan/jobs/job"
        self.give(f"{job}/oidctoken?api-version=7.2-preview.1", field="oidcToken")

    def do_GET(self) -> None:
        self.give("/github?api-version=2.0&audience=", field="value")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def real_programs() -> dict[str, str]:
    """Return the paths of the programs that stand-ins pass calls on to."""
    return {name: shutil.which(name) or name for name in ("databricks", "uv")}


def hosted_answers() -> dict[str, str]:
    """Return answers for a project in the fake workspace, with names that no other project has there."""
    return {"project_name": f"Fraud {uuid.uuid4().hex[:8]}"} | hosts()


def hosts() -> dict[str, str]:
    """Return the answers that put all environments into the fake workspace."""
    return {f"{target}_workspace_host": host() for target in TARGETS}


def in_workspace(slug: str, token: str = OIDC_TOKEN) -> tuple[dict[str, Any], list[str]]:
    """Return the settings of the jobs that a project has in the fake workspace, and the names of those that started.

    A name is one such as `training (prod)`.
    """

    def ask(path: str) -> Any:
        request = urllib.request.Request(f"{host()}/api/2.2/jobs/{path}", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    ours = {
        job["job_id"]: (name[2], job["settings"])
        for job in ask("list")["jobs"]
        if (name := re.fullmatch(rf"(\[dev .*\] )?{slug} (.*)", job["settings"]["name"]))
    }
    started = [ours[run["job_id"]][0] for run in ask("runs/list")["runs"] if run["job_id"] in ours]
    return dict(ours.values()), started


def expected_jobs(pattern: str, *targets: str) -> set[str]:
    """Return the names of the jobs of the pattern in these targets: what is trained, received and tested where."""
    trains = {"deploy-code": TARGETS, "deploy-model": ("dev",), "hybrid": ("dev", "staging")}[pattern]
    tests = ("dev",) if pattern == "deploy-model" else ("dev", "staging")
    return {
        f"{job} ({target})"
        for target in targets
        for job in (
            *("sample_data", "inference", "monitoring", "training" if target in trains else "promotion"),
            *(["integration_test"] if target in tests else []),
        )
    }


def check_workspace(slug: str, pattern: str, lines: list[str], approval: str, token: str = OIDC_TOKEN) -> None:
    """A code release with these calls has left the jobs of the pattern, and started the integration test alone.

    The fake workspace cannot run our jobs, so the integration test counts as passed once it has started.
    """
    jobs, started = in_workspace(slug, token)
    deployed = [line.split()[-1] for line in lines if "bundle deploy" in line]
    assert set(jobs) == expected_jobs(pattern, *deployed)
    assert started == [f"integration_test ({deployed[0]})"]
    if pattern == "deploy-code":
        assert approval in json.dumps(jobs["training (prod)"])
