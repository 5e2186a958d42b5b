"""Azure DevOps as an adapter of `release_contract.py`: `azure_pipelines.py` runs the rendered pipelines."""

import hashlib
import io
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from azure_pipelines import Pipeline, Result
from helpers import clean_environment, commit, need, run
from real_cli import OIDC_TOKEN, TOKEN_OF_THE_JOB
from release_contract import VERSION, Provider, Ran
from stand_in import REACHES, put_program

TAG = {"Build.SourceBranch": f"refs/tags/{VERSION}", "Build.SourceBranchName": VERSION}
RUN = "https://dev.azure.com/example/0000-project/_build/results?buildId=77"


@dataclass
class Azure(Provider):
    """A project in Azure DevOps: its pipelines, and what they called."""

    approver: ClassVar[str] = "grace@example.com"
    reason: ClassVar[str] = RUN
    starter: ClassVar[str] = "Ada Example"
    staged_by: ClassVar[str | None] = "Ada Example"
    names_nobody_where_nothing_trains: ClassVar[bool] = True
    shows_evidence_first: ClassVar[bool] = True

    predefined: dict[str, str] = field(default_factory=dict)
    inherited: dict[str, str] = field(default_factory=dict)  # the environment of the agent
    of_prod: dict[str, str] = field(default_factory=dict)  # more variables in the group of prod
    artifacts: dict[str, dict[str, bytes]] = field(default_factory=dict)
    job: dict[str, str] = field(default_factory=dict)  # more that is predefined, in every run
    last: Pipeline | None = None
    folder: str = ""
    unit: str = ""

    def run(self, pipeline: str, **parameters: str) -> Result:
        self.forget()
        groups = {
            f"{self.unit}databricks-{name}": {"DATABRICKS_CLIENT_ID": f"identity-of-{name}"}
            for name in ("pull-request", "dev", "staging", "prod")
        }
        groups[f"{self.unit}databricks-prod"] |= self.of_prod
        environment = self.inherited | {"PATH": self.path, "HOME": str(self.here)}

        predefined = {
            "System.AccessToken": TOKEN_OF_THE_JOB,
            "System.CollectionUri": "https://dev.azure.com/example/",
            "System.TeamProjectId": "0000-project",
            "Build.BuildId": "77",
            "Build.RequestedFor": "Ada Example",
            "Build.RequestedForEmail": "ada@example.com",
            "Build.RequestedForId": "id of ada@example.com",
            "Build.SourceBranch": "refs/heads/main",
            "Build.SourceBranchName": "main",
        }
        file = self.project / self.folder / "azure-pipelines" / f"{pipeline}.yml"
        known = predefined | self.job | self.predefined
        self.last = Pipeline(self.project, file, groups, known, environment, self.artifacts)
        return self.last.run(**parameters)

    def approvals(self, *people: str, status: str = "approved", before: tuple[str, ...] = ()) -> None:
        """Let these people have approved prod.

        Args:
            status: of the approval as a whole.
            before: what was approved in an earlier attempt; `wanted` is what was approved now.
        """
        stage = {"id": "s2", "type": "Stage", "identifier": "prod", "parentId": None}
        checkpoint = {"id": "c2", "type": "Checkpoint", "identifier": "Checkpoint", "parentId": "s2"}

        def approval(name: str) -> dict[str, Any]:
            return {"id": name, "type": "Checkpoint.Approval", "identifier": None, "parentId": "c2"}

        records = [
            {"id": "s1", "type": "Stage", "identifier": "staging", "parentId": None},
            {"id": "c1", "type": "Checkpoint", "identifier": "Checkpoint", "parentId": "s1"},
            {"id": "other", "type": "Checkpoint.Approval", "identifier": None, "parentId": "c1"},
            stage | ({"previousAttempts": [{"attempt": 1, "timelineId": "first"}]} if before else {}),
            checkpoint,
            *([approval("wanted")] if people else []),
        ]
        steps = [
            {"status": "approved", "actualApprover": {"id": f"id of {name}", "uniqueName": name}} for name in people
        ]
        self.answer("/timeline?", json.dumps({"records": records}))
        self.answer("/timeline/first?", json.dumps({"records": [stage, checkpoint, *map(approval, before)]}))
        self.answer("/approvals?", json.dumps({"value": [{"status": status, "steps": steps}]}))

    # The events of the contract

    def log_in(self, tokens: str) -> str:
        self.inherited = clean_environment(DATABRICKS_CACHE_ENABLED="false")
        self.job = {"System.TeamFoundationCollectionUri": tokens, "System.HostType": "build"}
        self.job |= {"System.PlanId": "plan", "System.JobId": "job"}
        return OIDC_TOKEN

    def ended(self, result: Result) -> Ran:
        outcomes = set((result.stages | result.jobs).values())
        return self.ran("Failed" not in outcomes, "\n".join([*result.summaries, result.log]))

    def request(self, fork: bool = False) -> Ran:
        self.predefined = {"System.PullRequest.IsFork": "True"} if fork else {}
        return self.ended(self.run("pull-request"))

    def push(self) -> Ran:
        self.predefined = {}
        return self.ended(self.run("release-code"))

    def release(self, kind: str, **asked: str) -> Ran:
        self.predefined = TAG
        return self.ended(self.run(f"release-{kind}", **asked))

    def again(self, kind: str) -> Ran:
        assert self.last is not None
        self.forget()
        return self.ended(self.last.again("prod"))

    def operate(self, target: str, command: str, parameters: str = "", reason: str = "") -> Ran:
        given = {"target": target, "command": command, "job_parameters": parameters, "reason": reason}
        return self.ended(self.run("operate", **{name: text for name, text in given.items() if text}))

    def received(self, text: str) -> str:
        return text.replace("$(", "$ (")  # or it would be a variable of Azure DevOps

    def leave_main(self) -> None:
        (self.project / "sneaky.txt").write_text("nobody reviewed this")
        commit(self.project)

    def unapproved(self, kind: str) -> Iterator[str]:
        self.approvals()
        yield "prod has no approval check, or an administrator went past it"
        for status in ("rejected", "bypassed", "skipped", "timedOut", "pending"):
            self.approvals(self.approver, status=status)
            yield status
        self.approvals("ada@example.com")
        yield "who started the run"
        self.approvals(self.approver, before=("wanted",))
        yield "of an earlier attempt of the stage"
        self.approvals(self.approver)
        self.answer("/approvals?", '{"value": []}')
        yield "somebody approved, but nobody knows who"
        self.approvals(self.approver)
        for question in ("/timeline?", "/approvals?"):
            self.fail(question)
            yield f"no answer for {question}"
        self.mend()

    def check_identities(self, request: bool = False) -> None:
        """Every call that reaches a workspace carries the identity of its target, and nothing else does."""
        before = "pull-request" if request else ""
        for call in self.calls:
            reaches = call.line.startswith(REACHES)
            target = call.line.split("--target ")[1].split()[0] if reaches else ""
            if reaches:
                assert call.environment["DATABRICKS_AUTH_TYPE"] == "azure-devops-oidc", call
                assert call.environment["DATABRICKS_CLIENT_ID"] == f"identity-of-{before or target}", call
                assert call.environment["SYSTEM_ACCESSTOKEN"] == TOKEN_OF_THE_JOB, call
                assert "DATABRICKS_TOKEN" not in call.environment, call
            elif call.line.startswith(
                (
                    "uv sync",
                    "uv build",
                    "uv export",
                    "uv run pytest",
                    "pip3",
                    "curl --fail --silent --show-error --location",
                )
            ):
                assert "SYSTEM_ACCESSTOKEN" not in call.environment, call


def put_in_azure(
    rendered: Path, here: Path, real: dict[str, str] | None = None, folder: str = "", unit: str = ""
) -> Azure:
    """Return a copy of a project below `here`, with stand-ins for all that its pipelines call.

    Args:
        rendered: the repository.
        folder: of the project in it.
        unit: what the names of its variable groups begin with.
    """
    need("bash", "git", "sha256sum", unix="the pipelines")
    project = here / "project"
    shutil.copytree(rendered, project)
    # The CLI is not on the PATH: the pipeline has to install it. Its archive has another checksum here.
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as content:
        entry = zipfile.ZipInfo("databricks")
        entry.external_attr = 0o100755 << 16
        put_program(here, "databricks", "stand_in.py", str(here), "databricks")
        content.writestr(entry, (here / "databricks").read_text())
    set_up = project / folder / "azure-pipelines" / "steps" / "set-up.yml"
    text, count = re.subn("[0-9a-f]{64}", hashlib.sha256(archive.getvalue()).hexdigest(), set_up.read_text())
    assert count == 1
    set_up.write_text(text)
    commit(project)
    assert run("git", "update-ref", "refs/remotes/origin/main", "HEAD", cwd=project).returncode == 0
    azure = Azure(here, project, folder=folder, unit=unit)
    azure.put("uv", "pip3", "curl", real=real)
    put_program(azure.bin, "jq", "jq_program.py")
    put_program(azure.bin, "unzip", "unzip.py")
    azure.answer("_linux_amd64.zip", archive.getvalue())
    azure.approvals("grace@example.com")
    return azure
