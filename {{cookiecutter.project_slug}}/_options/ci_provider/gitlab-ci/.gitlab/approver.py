"""Prints who approved this job: whoever gave the approvals that GitLab asked for, or else whoever started the job.

Nobody approves a pipeline that they started themselves. Where nobody else approved, the job stops, unless the project
has a variable APPROVAL_REQUIRED with the value `false` for the environment.
"""

import json
import os
import sys
from collections.abc import Iterator
from typing import Any
from urllib.request import Request, urlopen

API = os.environ["CI_API_V4_URL"]
PROJECT = f"{API}/projects/{os.environ['CI_PROJECT_ID']}"


def ask(url: str) -> tuple[Any, str | None]:
    """Return the answer of GitLab, which gets the token of the job, and the number of the page after it."""
    with urlopen(Request(url, headers={"JOB-TOKEN": os.environ["CI_JOB_TOKEN"]}), timeout=60) as answer:
        return json.load(answer), answer.headers["X-Next-Page"]


def every(url: str) -> Iterator[dict[str, Any]]:
    """Yield what all pages of a list hold."""
    page: str | None = "1"
    while page:
        found, page = ask(f"{url}&per_page=100&page={page}")
        yield from found


def main() -> None:
    job, _ = ask(f"{API}/job")  # the one that the token belongs to, whatever the variables say
    # The oldest job is as old as the pipeline, and keeps whoever started that, also if somebody runs it again.
    jobs = every(f"{PROJECT}/pipelines/{job['pipeline']['id']}/jobs?include_retried=true")
    starter = min(jobs, key=lambda one: one["id"])["user"]["username"]
    approvals = [
        approval["user"]["username"]
        for deployment in every(f"{PROJECT}/deployments?environment={os.environ['CI_ENVIRONMENT_NAME']}&status=running")
        if (deployment["deployable"] or {}).get("id") == job["id"]
        for approval in ask(f"{PROJECT}/deployments/{deployment['id']}")[0].get("approvals", [])
        if approval["status"] == "approved"
    ]
    approvers = sorted({*(approvals or [job["user"]["username"]])} - {starter})
    if approvers:
        print(", ".join(approvers))
    elif os.environ.get("APPROVAL_REQUIRED") == "false":
        print(f"nobody (started by {starter})")
    else:
        sys.exit(
            f"{starter} started this pipeline, and nobody else approved it. "
            f"Let somebody else who may deploy to {os.environ['CI_ENVIRONMENT_NAME']} run this job."
        )


if __name__ == "__main__":
    main()
