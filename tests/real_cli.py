"""What tests need that run the Databricks CLI itself, against a fake workspace on this machine.

Needs `databricks` and `uv` on the PATH, and in DATABRICKS_FAKE_HOST the address of a fake workspace: the CLI's own
`libs/testserver` is one. There each token has a workspace of its own, and whoever logs in with OIDC shares one.
"""

import json
import os
import re
import shutil
import urllib.request
import uuid
from typing import Any

import pytest
from helpers import TARGETS

HOST = os.environ.get("DATABRICKS_FAKE_HOST", "")
MISSING = [
    *(f"no {program} on the PATH" for program in ("databricks", "uv") if shutil.which(program) is None),
    *([] if re.match(r"http://(localhost|127\.0\.0\.1)\b", HOST) else ["no loopback address in DATABRICKS_FAKE_HOST"]),
]
needs_workspace = pytest.mark.skipif(bool(MISSING), reason=", ".join(MISSING))

OIDC_TOKEN = "oauth-token"  # what the fake workspace gives for any token of a job
# For the end of a stand-in that has just noted a call: `name` and `arguments` go on to the real program in `real`.
# A job starts in the fake workspace, which cannot run it. So nothing waits for it, and it counts as passed.
PASS_ON = """
if name in real and (name == "databricks" or arguments[:1] == ["build"]):
    waits = ["--no-wait"] if arguments[:2] == ["bundle", "run"] else []
    os.execv(real[name], [real[name], *arguments, *waits])
"""


def real_programs() -> dict[str, str]:
    """Return the paths of the programs that stand-ins pass calls on to."""
    return {name: shutil.which(name) or name for name in ("databricks", "uv")}


def hosted_answers() -> dict[str, str]:
    """Return answers for a project in the fake workspace, with names that no other project has there."""
    return {"project_name": f"Fraud {uuid.uuid4().hex[:8]}"} | {f"{target}_workspace_host": HOST for target in TARGETS}


def in_workspace(slug: str, token: str = OIDC_TOKEN) -> tuple[dict[str, Any], list[str]]:
    """Return the settings of the jobs that a project has in the fake workspace, and the names of those that started.

    A name is one such as `training (prod)`.
    """

    def ask(path: str) -> Any:
        request = urllib.request.Request(f"{HOST}/api/2.2/jobs/{path}", headers={"Authorization": f"Bearer {token}"})
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
