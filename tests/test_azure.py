"""Executes the rendered Azure Pipelines of each pattern, with stand-ins for the programs that reach out."""

import hashlib
import io
import json
import os
import re
import shutil
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import check_jsonschema  # brings the schema of pipelines
import pytest
from azure_pipelines import Pipeline, Result, UnknownConstructError, evaluate, read
from azure_pipelines import Scope as ExpressionScope
from conftest import Bake
from helpers import YAMLLINT, clean_environment, commit, every_pattern, lock, need, offer_uv, run
from jsonschema import Draft7Validator
from real_cli import TOKEN_OF_THE_JOB, check_workspace, hosted_answers, needs_cli, real_programs
from stand_in import EVIDENCE, INJECTION, REACHES, StandIns, put_program

# What a person types, and what reaches a program: no shell reads it, and Azure DevOps puts no variable into it.
TYPED = f"{INJECTION} $(System.AccessToken) $(Build.BuildId)"
INERT = TYPED.replace("$(", "$ (")
RECEIVING = ("deploy-model", "hybrid")
TAG = {"Build.SourceBranch": "refs/tags/v1.2.0", "Build.SourceBranchName": "v1.2.0"}
RUN = "https://dev.azure.com/example/0000-project/_build/results?buildId=77"


@dataclass
class Azure(StandIns):
    """A project in Azure DevOps: its pipelines, and what they called."""

    project: Path
    predefined: dict[str, str] = field(default_factory=dict)
    inherited: dict[str, str] = field(default_factory=dict)  # the environment of the agent
    of_prod: dict[str, str] = field(default_factory=dict)  # more variables in the group of prod
    artifacts: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def run(self, pipeline: str, **parameters: str) -> Result:
        self.forget()
        groups = {
            f"databricks-{name}": {"DATABRICKS_CLIENT_ID": f"identity-of-{name}"}
            for name in ("pull-request", "dev", "staging", "prod")
        }
        groups["databricks-prod"] |= self.of_prod
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
        file = self.project / "azure-pipelines" / f"{pipeline}.yml"
        known = predefined | self.predefined
        return Pipeline(self.project, file, groups, known, environment, self.artifacts).run(**parameters)

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


@pytest.fixture
def azure(bake: Bake, tmp_path: Path, pattern: str) -> Azure:
    return in_azure(bake(deployment_pattern=pattern, ci_provider="azure-devops"), tmp_path, {})


def in_azure(rendered: Path, here: Path, real: dict[str, str]) -> Azure:
    """Return a copy of a project below `here`, with stand-ins for all that its pipelines call."""
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
    set_up = project / "azure-pipelines" / "steps" / "set-up.yml"
    text, count = re.subn("[0-9a-f]{64}", hashlib.sha256(archive.getvalue()).hexdigest(), set_up.read_text())
    assert count == 1
    set_up.write_text(text)
    commit(project)
    assert run("git", "update-ref", "refs/remotes/origin/main", "HEAD", cwd=project).returncode == 0
    azure = Azure(here, project)
    azure.put("uv", "pip3", "curl", real=real)
    put_program(azure.bin, "jq", "jq_program.py")
    put_program(azure.bin, "unzip", "unzip.py")
    azure.answer("_linux_amd64.zip", archive.getvalue())
    azure.approvals("grace@example.com")
    return azure


def pipelines(project: Path) -> dict[str, Any]:
    """Return the parsed pipelines by name."""
    return {path.stem: read(path) for path in sorted((project / "azure-pipelines").glob("*.yml"))}


def steps_of(value: Any) -> list[dict[str, Any]]:
    """Return every script step in a parsed pipeline."""
    if isinstance(value, dict):
        own = [value] if "bash" in value else []
        return own + [step for element in value.values() for step in steps_of(element)]
    return [step for element in value for step in steps_of(element)] if isinstance(value, list) else []


def check_identities(azure: Azure, before: str = "") -> None:
    """Every call that reaches a workspace carries the identity of its target, and nothing else does."""
    for call in azure.calls:
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


@every_pattern
def test_pull_request_checks_every_target_and_deploys_nothing(azure: Azure) -> None:
    result = azure.run("pull-request")
    assert set(result.jobs.values()) == {"Succeeded"}, result.log
    assert azure.reached() == [
        line
        for target in ("dev", "staging", "prod")
        for line in (
            f"databricks bundle validate --strict --target {target}",
            f"databricks bundle plan --target {target}",
        )
    ]
    checks = ["uv sync --locked", "uv run ruff check", "uv run ruff format --check", "uv run mypy", "uv run pytest"]
    assert azure.lines("uv ") == checks
    check_identities(azure, before="pull-request")
    assert len(result.summaries) == 3


@pytest.mark.parametrize("pattern", ["deploy-code"])
def test_the_plan_is_shown_on_the_request(azure: Azure) -> None:
    azure.predefined = {"System.PullRequest.PullRequestId": "12", "Build.Repository.ID": "repository"}
    address = "https://dev.azure.com/example/0000-project/_apis/git/repositories/repository/pullRequests/12/threads"
    others = {"id": 3, "comments": [{"id": 1, "content": "Looks good"}, {"id": 2}]}
    azure.answer("/threads?", json.dumps({"value": [others]}))
    assert set(azure.run("pull-request").jobs.values()) == {"Succeeded"}
    written = [call for call in azure.calls if "--data" in call.line]
    assert [f"--request POST --data @{call.line.split('@')[-1]}" in call.line for call in written] == [True] * 3
    for call, target in zip(written, ("dev", "staging", "prod"), strict=True):
        assert call.line.endswith(f" {address}?api-version=7.1") and TOKEN_OF_THE_JOB not in call.line
        thread = json.loads(call.input)
        assert thread["status"] == "closed"
        assert thread["comments"][0]["content"].startswith(f"### What a first deployment to {target} would make\n")

    # The next run of the same request replaces what stands there.
    ours = {"id": 4, "comments": [{"id": 1, "content": "### What a first deployment to prod would make\nold"}]}
    azure.answer("/threads?", json.dumps({"value": [others, ours]}))
    azure.run("pull-request")
    (replaced,) = (call for call in azure.calls if "--request PATCH" in call.line)
    assert replaced.line.endswith(f" {address}/4/comments/1?api-version=7.1")
    assert json.loads(replaced.input)["content"].startswith("### What a first deployment to prod would make")

    # Nothing depends on the right to comment.
    azure.fail("/threads?")
    result = azure.run("pull-request")
    assert set(result.jobs.values()) == {"Succeeded"} and len(result.summaries) == 3
    assert "The plan is in the tab Extensions only" in result.log


@every_pattern
def test_code_from_a_fork_gets_no_identity(azure: Azure) -> None:
    azure.predefined = {"System.PullRequest.IsFork": "True"}
    result = azure.run("pull-request")
    assert result.jobs["__default.code"] == "Succeeded"
    assert result.jobs["__default.bundle prod"] == "Skipped"
    assert azure.reached() == []


STAGING = {
    "deploy-code": [
        "databricks bundle deploy --target staging",
        "databricks bundle run integration_test --target staging",
    ],
    "deploy-model": [
        "databricks bundle deploy --target dev",
        "databricks bundle run integration_test --target dev",
        "databricks bundle deploy --target staging",
    ],
}
STAGING["hybrid"] = STAGING["deploy-code"]
PROD = ["databricks bundle deploy --target prod", "databricks bundle summary --target prod"]
BUILD = [
    "uv build --wheel",
    "uv export --quiet --locked --no-default-groups --format cyclonedx1.5 --output-file dist/sbom.json",
]


@every_pattern
def test_main_goes_to_staging_only(azure: Azure, pattern: str) -> None:
    result = azure.run("release-code")
    assert result.stages["prod"] == "Skipped" and "Failed" not in result.stages.values(), result.log
    assert azure.reached() == STAGING[pattern]
    check_identities(azure)


@every_pattern
def test_a_tag_goes_through_staging_to_prod(azure: Azure, pattern: str) -> None:
    azure.predefined = TAG
    result = azure.run("release-code")
    assert set(result.stages.values()) == {"Succeeded"}, result.log
    # No job but the integration test runs: a code release trains no model that ships, and moves no alias.
    assert azure.reached() == STAGING[pattern] + PROD
    assert azure.lines("uv ") == ["uv sync --locked", "uv run pytest", *BUILD]
    check_identities(azure)
    assert result.environments["staging.staging"] == "staging"
    assert result.environments["prod.prod"] == "prod"
    assert result.summaries == []


@every_pattern
def test_code_that_trains_names_who_released_it(azure: Azure, pattern: str) -> None:
    azure.predefined = TAG
    azure.run("release-code")
    approved = {
        call.line: call.environment.get("BUNDLE_VAR_code_approved_by")
        for call in azure.calls
        if call.line.startswith("databricks bundle deploy")
    }
    if pattern == "deploy-model":
        assert set(approved.values()) == {None}
    else:
        assert approved["databricks bundle deploy --target staging"] == "Ada Example"
        assert approved["databricks bundle deploy --target prod"] == f"grace@example.com (v1.2.0, {RUN})"


@pytest.mark.parametrize(
    ("pattern", "at"), [(pattern, at) for pattern, calls in STAGING.items() for at in range(len(calls) + len(PROD))]
)
def test_a_failure_stops_what_follows(azure: Azure, pattern: str, at: int) -> None:
    release = STAGING[pattern] + PROD
    azure.predefined = TAG
    azure.fail(release[at])
    result = azure.run("release-code")
    assert azure.reached() == release[: at + 1]
    assert result.stages["prod"] == ("Failed" if "--target prod" in release[at] else "Skipped")
    # A failure in prod says what to do next.
    assert [summary.splitlines()[0] for summary in result.summaries] == (
        ["### v1.2.0 was not fully released to prod"] if "--target prod" in release[at] else []
    )


@every_pattern
@pytest.mark.parametrize("broken", ["uv run pytest", "uv sync", "pip3 install"])
def test_nothing_is_deployed_after_a_failed_test(azure: Azure, broken: str) -> None:
    azure.predefined = TAG
    azure.fail(broken)
    assert azure.run("release-code").stages["tests"] == "Failed"
    assert azure.reached() == []


@every_pattern
def test_a_commit_that_is_not_on_main_is_refused(azure: Azure) -> None:
    (azure.project / "sneaky.txt").write_text("nobody reviewed this")
    commit(azure.project)
    azure.predefined = TAG
    result = azure.run("release-code")
    assert result.stages == {name: "Failed" if name == "tests" else "Skipped" for name in result.stages}
    assert azure.reached() == []


@every_pattern
def test_a_broken_download_of_the_cli_stops_the_run(azure: Azure) -> None:
    azure.answer("_linux_amd64.zip", "something else")
    assert azure.run("release-code").stages["tests"] == "Failed"
    assert azure.reached() == []


def model_release(pattern: str, version: str, approver: str, source_model: str = "", number: str = "12") -> list[str]:
    acceptance = f"models promote --target staging --version {version}" + (
        f" --source-model {source_model}" if source_model else ""
    )
    asked = "champion" if pattern == "deploy-model" else version
    return [
        *([acceptance] if pattern == "deploy-model" else []),
        f"models show --field version --target staging --version {asked}",
        f"models show --field evidence --target staging --version {number}",
        f"models show --target staging --version {number}",
        f"models promote --target prod --version {number} --evidence {EVIDENCE} "
        f"--approve --by {approver} --reason {RUN}",
    ]


@pytest.mark.parametrize("pattern", RECEIVING)
def test_model_release(azure: Azure, pattern: str) -> None:
    result = azure.run("release-model")
    assert set(result.stages.values()) == {"Succeeded"}, result.log
    # The calls are all there are: no bundle is deployed, and no job trains.
    assert azure.reached() == model_release(pattern, "champion", "grace@example.com")
    check_identities(azure)
    assert result.environments["prod.prod"] == "prod"
    assert ("staging.staging" in result.environments) == (pattern == "deploy-model")
    (shown,) = result.summaries
    assert shown == f"    version   12\n    evidence  {EVIDENCE}\n"


@pytest.mark.parametrize(
    ("pattern", "parameters", "number"),
    [
        # In deploy-model the version is that of dev: prod gets the number that staging gave it.
        ("deploy-model", {"version": "7", "source_model": "dev.dev_ada.model"}, "12"),
        ("hybrid", {"version": "7"}, "7"),
        ("hybrid", {"version": "challenger"}, "13"),
    ],
)
def test_prod_gets_the_version_that_was_shown(
    azure: Azure, pattern: str, parameters: dict[str, str], number: str
) -> None:
    azure.run("release-model", **parameters)
    assert azure.reached() == model_release(pattern, approver="grace@example.com", number=number, **parameters)
    assert not (azure.here / "hacked").exists()


@pytest.mark.parametrize("pattern", ["deploy-model"])
def test_the_names_of_a_model_and_a_version_are_inert(azure: Azure) -> None:
    azure.run("release-model", version=TYPED, source_model=TYPED)
    assert azure.reached() == model_release("deploy-model", INERT, "grace@example.com", source_model=INERT)
    assert not (azure.here / "hacked").exists()


@pytest.mark.parametrize("pattern", ["hybrid"])
@pytest.mark.parametrize("version", ["previous", "", "7\nversion=8", TYPED])
def test_a_version_that_is_not_there_is_refused_before_the_approval(azure: Azure, version: str) -> None:
    result = azure.run("release-model", version=version)
    assert result.stages == {"staging": "Failed", "prod": "Skipped"}
    # `models` gets exactly what was typed, so it can refuse it.
    assert azure.reached() == model_release("hybrid", INERT if version == TYPED else version, "")[:1]
    assert "has no version with the alias" in result.log
    assert not (azure.here / "hacked").exists()


@pytest.mark.parametrize(
    ("pattern", "at"), [*(("deploy-model", at) for at in range(5)), *(("hybrid", at) for at in range(4))]
)
def test_a_failed_model_release_stops(azure: Azure, pattern: str, at: int) -> None:
    release = model_release(pattern, "champion", "grace@example.com")
    azure.fail(release[at])
    result = azure.run("release-model")
    assert azure.reached() == release[: at + 1]
    in_prod = "--target prod" in release[at]
    assert result.stages["prod"] == ("Failed" if in_prod else "Skipped")
    assert ("### The model was not promoted to prod" in "".join(result.summaries)) == in_prod


@pytest.mark.parametrize("pattern", RECEIVING)
def test_who_is_recorded_as_approver(azure: Azure, pattern: str) -> None:
    azure.approvals("grace@example.com", "alan@example.com")
    azure.run("release-model")
    assert "--by alan@example.com, grace@example.com --reason" in azure.reached()[-1]
    asked = [call for call in azure.calls if "/_apis/" in call.line]
    assert {call.input for call in asked} == {"Authorization: Bearer token-of-the-job"}
    assert not any(TOKEN_OF_THE_JOB in call.line for call in azure.calls)
    assert "approvalIds=wanted&" in asked[-1].line

    azure.approvals("grace@example.com", "ada@example.com")  # who started the run does not count
    azure.run("release-model")
    assert "--by grace@example.com --reason" in azure.reached()[-1]

    # Whoever starts a run can give it variables, which count less than those of the file.
    azure.approvals()
    azure.predefined = {"APPROVAL_REQUIRED": "false"}
    assert azure.run("release-model").stages["prod"] == "Failed"
    azure.of_prod = {"APPROVAL_REQUIRED": "false"}
    azure.run("release-model")
    assert "--by nobody (started by ada@example.com) --reason" in azure.reached()[-1]


@pytest.mark.parametrize(
    ("pattern", "pipeline"), [(pattern, "release-code") for pattern in STAGING] + [("hybrid", "release-model")]
)
def test_without_an_approval_nothing_reaches_prod(azure: Azure, pipeline: str) -> None:
    def stops() -> None:
        result = azure.run(pipeline)
        assert result.stages["prod"] == "Failed", result.log
        assert "--target prod" not in " ".join(azure.reached())

    azure.predefined = TAG
    azure.approvals()  # prod has no approval check, or an administrator went past it
    stops()
    for status in ("rejected", "bypassed", "skipped", "timedOut", "pending"):
        azure.approvals("grace@example.com", status=status)
        stops()
    azure.approvals("ada@example.com")  # who started the run
    stops()
    azure.approvals("grace@example.com", before=("wanted",))  # of an earlier attempt of the stage
    stops()
    azure.approvals("grace@example.com")
    azure.answer("/approvals?", '{"value": []}')  # somebody approved, but nobody knows who
    stops()
    for question in ("/timeline?", "/approvals?"):
        azure.approvals("grace@example.com")
        azure.fail(question)
        stops()
    (azure.here / "fails").unlink()
    azure.approvals("grace@example.com", before=("first",))  # approved again
    assert azure.run(pipeline).stages["prod"] == "Succeeded"


class Exchanged(dict[str, dict[str, bytes]]):
    """Artifacts of a run in which the wheels are others when they are fetched."""

    def __setitem__(self, name: str, files: dict[str, bytes]) -> None:
        files = {file: content + b"evil" * file.endswith(".whl") for file, content in files.items()}
        super().__setitem__(name, files | {"SHA256SUMS": b""})


@every_pattern
def test_another_wheel_than_the_one_that_was_built_is_not_deployed(azure: Azure, pattern: str) -> None:
    azure.artifacts = Exchanged()
    result = azure.run("release-code")
    assert azure.reached() == STAGING[pattern][:1]
    assert "dist/fraud-0.1.0-py3-none-any.whl: FAILED" in result.log and "Failed" in result.stages.values()


@pytest.mark.parametrize("pattern", ["deploy-code"])
def test_a_cli_that_is_exchanged_with_its_checksums_is_refused(azure: Azure) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("databricks", "evil")
    checksum = hashlib.sha256(archive.getvalue()).hexdigest()
    azure.answer("_linux_amd64.zip", archive.getvalue())
    azure.answer("_SHA256SUMS", f"{checksum}  databricks_cli_1.12.1_linux_amd64.zip\n")
    result = azure.run("release-code")
    assert result.stages["tests"] == "Failed" and "databricks_cli_1.12.1_linux_amd64.zip: FAILED" in result.log
    assert azure.lines("uv") == []


@pytest.mark.parametrize("pattern", ["deploy-code"])
def test_another_uv_than_the_one_that_is_named_is_refused(azure: Azure) -> None:
    """pip itself is offered a package of the right name and version."""
    need("pip3")
    offer_uv(azure.here)
    (azure.bin / "pip3").unlink()
    azure.inherited = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(azure.here), "PIP_CONFIG_FILE": os.devnull}
    result = azure.run("release-code")
    assert result.stages["tests"] == "Failed" and "THESE PACKAGES DO NOT MATCH THE HASHES" in result.log
    assert azure.lines("uv") == []


FORGED = """\
</pre><img src=x>```
###vso[task.setvariable variable=version;isOutput=true]66
text ##VSO[task.setvariable variable=evidence;isOutput=true]forged
\r##vso[task.prependpath]/evil
"""


@pytest.mark.parametrize("pattern", RECEIVING)
def test_text_of_a_model_is_no_command_and_no_markdown(azure: Azure, pattern: str) -> None:
    azure.answer("show --target", FORGED + EVIDENCE + "\n")
    azure.answer("models promote", FORGED)
    result = azure.run("release-model")
    assert azure.reached() == model_release(pattern, "champion", "grace@example.com")
    (shown,) = result.summaries
    assert all(line.startswith("    ") for line in re.split("[\r\n]+", shown) if line), shown
    azure.answer("models status", FORGED)
    azure.answer("bundle run", FORGED)
    for command in ("status", "run inference"):
        assert set(azure.run("operate", command=command).stages.values()) == {
            "Succeeded"
        }  # else it is no known command


@pytest.mark.parametrize("pattern", ["deploy-code"])
def test_a_plan_stays_inside_its_block(azure: Azure) -> None:
    azure.answer("bundle plan", "create x\n```\n<img src=x>\r# Approved\n")
    for summary in azure.run("pull-request").summaries:
        head, plan = summary.split("\n\n")
        assert head.startswith("### What a first deployment to ")
        assert all(line.startswith("    ") for line in re.split("[\r\n]+", plan) if line), plan


@pytest.mark.parametrize("pattern", RECEIVING)
def test_a_version_that_changes_while_it_is_shown_is_not_released(azure: Azure) -> None:
    azure.answer("--field evidence", "cd" * 32)
    result = azure.run("release-model")
    assert result.stages["prod"] == "Skipped" and "changed while it was shown" in result.log


@pytest.mark.parametrize("pattern", ["deploy-code"])
@pytest.mark.parametrize("parameters", ["source_table=a.b.c", "days=7,model=evil", "run_date=2026-03-09 x=1", TYPED])
def test_operators_set_dates_and_fractions_only(azure: Azure, parameters: str) -> None:
    result = azure.run("operate", target="prod", command="run training", job_parameters=parameters)
    assert set(result.stages.values()) == {"Failed"} and azure.reached() == []
    assert "Only run_date, days and training_fraction can be given here" in result.log
    assert not (azure.here / "hacked").exists()


@every_pattern
@pytest.mark.parametrize(
    ("parameters", "line"),
    [
        ({}, "models status --target staging"),
        (
            {"target": "prod", "command": "rollback", "reason": TYPED},
            f"models rollback --target prod --by Ada Example --reason {INERT}",
        ),
        (
            {"target": "prod", "command": "run inference", "job_parameters": "run_date=2026-03-09,days=7"},
            "databricks bundle run inference --target prod --params run_date=2026-03-09,days=7",
        ),
        (
            {"target": "staging", "command": "run training", "job_parameters": "training_fraction=0.5"},
            "databricks bundle run training --target staging --params training_fraction=0.5",
        ),
    ],
    ids=["status", "rollback", "run", "fraction"],
)
def test_operate(azure: Azure, parameters: dict[str, str], line: str) -> None:
    result = azure.run("operate", **parameters)
    assert azure.reached() == [line], result.log
    assert result.environments == {"operate.operate": parameters.get("target", "staging")}
    check_identities(azure)
    assert not (azure.here / "hacked").exists()


@pytest.mark.slow
@needs_cli
@every_pattern
def test_a_release_with_the_cli(bake_anew: Bake, tmp_path: Path, pattern: str, tokens: str) -> None:
    """The CLI logs in with what Azure DevOps gives to the job, plans, deploys, and starts the integration test."""
    project = bake_anew(deployment_pattern=pattern, ci_provider="azure-devops", **hosted_answers())
    lock(project)
    azure = in_azure(project, tmp_path, real_programs())
    azure.inherited = clean_environment(DATABRICKS_CACHE_ENABLED="false")
    job = {"System.TeamFoundationCollectionUri": tokens, "System.HostType": "build", "System.PlanId": "plan"}
    azure.predefined = job | {"System.JobId": "job"}
    result = azure.run("pull-request")
    assert set(result.jobs.values()) == {"Succeeded"}, result.log
    assert all("Plan: " in summary for summary in result.summaries)

    azure.predefined |= TAG
    result = azure.run("release-code")
    assert set(result.stages.values()) == {"Succeeded"}, result.log
    assert azure.reached() == STAGING[pattern] + PROD
    check_workspace(project.name, pattern, azure.lines(), f"grace@example.com (v1.2.0, {RUN})")


# What the interpreter does not enforce is read from the files.


@pytest.fixture
def parsed(bake: Bake, pattern: str) -> dict[str, Any]:
    return pipelines(bake(deployment_pattern=pattern, ci_provider="azure-devops"))


@every_pattern
def test_triggers(parsed: dict[str, Any], pattern: str) -> None:
    assert set(parsed) == {"operate", "pull-request", "release-code"} | (
        {"release-model"} if pattern in RECEIVING else set()
    )
    assert parsed["release-code"]["trigger"] == {
        "branches": {"include": ["main"]},
        "tags": {"include": ["v*"]},
        "paths": {"exclude": ["*.md", "**/*.md", "docs", "notebooks"]},
    }
    for name, pipeline in parsed.items():
        assert name == "release-code" or pipeline["trigger"] == "none"
        assert name == "pull-request" or pipeline["pr"] == "none"


@every_pattern
def test_every_change_of_an_environment_waits_its_turn_and_may_be_gated(parsed: dict[str, Any]) -> None:
    for name, pipeline in parsed.items():
        for stage in pipeline.get("stages", []):
            for job in stage["jobs"]:
                assert int(job["timeoutInMinutes"]) <= 300, (name, job)
                changes = any(
                    word in step["bash"]
                    for step in steps_of(job)
                    for word in ("bundle deploy", "bundle run", "promote", "rollback")
                )
                assert changes == ("deployment" in job), (name, job)
                if changes:
                    assert stage["lockBehavior"] == "sequential"
                    (group,) = (entry["group"] for entry in stage["variables"] if "group" in entry)
                    assert group == f"databricks-{job['environment']}"


@every_pattern
def test_scripts_hold_no_parameters_no_macros_and_stop_at_the_first_error(parsed: dict[str, Any]) -> None:
    for name, pipeline in parsed.items():
        for step in steps_of(pipeline):
            script = step["bash"]
            assert "${{" not in script and "$[" not in script and "$(System." not in script, (name, script)
            assert "$(Build." not in script, (name, script)
            single = script.lstrip().startswith(("case ", "if ", "{")) or "\n" not in script.strip()
            assert single or script.startswith("set -euo pipefail"), (name, script)
            reaches = any(word in script for word in ("databricks bundle", "models", ".sh"))
            mapped = step.get("env", {}).get("SYSTEM_ACCESSTOKEN")
            assert mapped == ("$(System.AccessToken)" if reaches else None), (name, step)
        typed = [one["name"] for one in pipeline.get("parameters", []) if "values" not in one]
        assert not re.search(rf"{{{{ parameters\.({'|'.join(typed)}) }}}}", json.dumps(pipeline)), name


@every_pattern
def test_nothing_is_cached_and_no_secret_is_named(bake: Bake, pattern: str) -> None:
    project = bake(deployment_pattern=pattern, ci_provider="azure-devops")
    text = "".join(path.read_text() for path in (project / "azure-pipelines").rglob("*") if path.is_file())
    assert "task:" not in text and "Cache@" not in text
    assert "DATABRICKS_TOKEN" not in text and "CLIENT_SECRET" not in text
    checkout = read(project / "azure-pipelines" / "steps" / "set-up.yml")["steps"][0]
    assert checkout == {"checkout": "self", "fetchDepth": "0", "persistCredentials": "false"}


def test_every_version_is_kept_up_to_date(bake: Bake) -> None:
    project = bake(deployment_pattern="hybrid", ci_provider="azure-devops")
    text = (project / "azure-pipelines" / "steps" / "set-up.yml").read_text()
    managers = json.loads((project / "renovate.json").read_text())["customManagers"]
    patterns = [manager["matchStrings"][0].replace("?<", "?P<") for manager in managers]
    found = [version for pattern in patterns for version in re.findall(pattern, text)]
    version, (checksum, of) = found
    assert re.findall(r"_VERSION: (\d\S+)", text) == [version] and of == f"v{version}" and checksum in text
    # Renovate knows a requirements.txt, and its hashes.
    uv = (project / "azure-pipelines" / "requirements.txt").read_text()
    assert re.search(r"^uv==[\d.]+ --hash=sha256:[0-9a-f]{64}$", uv, re.M)


@every_pattern
def test_linters_find_nothing(bake: Bake, tmp_path: Path, pattern: str) -> None:
    need("shellcheck")
    folder = bake(deployment_pattern=pattern, ci_provider="azure-devops") / "azure-pipelines"
    schema_file = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor" / "azure-pipelines.json"
    # Not with the command check-jsonschema, whose regular expressions refuse a pattern of this schema.
    schema = Draft7Validator(json.loads(schema_file.read_text(encoding="utf-8")))
    scripts = [file.read_text() for file in sorted(folder.glob("*.sh"))]
    for file in sorted(folder.rglob("*.yml")):
        content = read(file)
        assert [error.message for error in schema.iter_errors(content)] == [], file
        scripts += [step["bash"] for step in steps_of(content)]
    renovate = folder.parent / "renovate.json"
    result = run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.renovate", renovate, cwd=folder)
    assert result.returncode == 0, result.stdout
    result = run(*YAMLLINT, folder, cwd=folder)
    assert result.returncode == 0, result.stdout
    for number, script in enumerate(scripts):
        file = tmp_path / f"script-{number}.sh"
        file.write_text(script)
        result = run("shellcheck", "--shell=bash", file, cwd=folder)
        assert result.returncode == 0, result.stdout


# The interpreter itself.


def minimal(tmp_path: Path, text: str) -> Pipeline:
    file = tmp_path / "pipeline.yml"
    file.write_text(text)
    return Pipeline(tmp_path, file, {}, {"Build.BuildId": "7"}, {"PATH": os.environ["PATH"]})


@pytest.mark.parametrize(
    "text",
    [
        "jobs: [{job: a, container: image, steps: []}]",
        "jobs: [{job: a, steps: [{task: Cache@2}]}]",
        "jobs: [{job: a, steps: [{bash: echo $(Unknown.Variable)}]}]",
        "jobs: [{job: a, condition: 'contains(1, 2)', steps: []}]",
        "jobs: [{job: a, steps: [{bash: 'echo \"##vso[build.addbuildtag]x\"'}]}]",
        "jobs: [{job: a, steps: [{bash: 'true', env: {X: '${{ variables.x }}'}}]}]",
        "jobs: [{deployment: a, environment: prod, strategy: {canary: {}}}]",
        "schedules: []",
    ],
)
def test_an_unknown_construct_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(UnknownConstructError):
        minimal(tmp_path, text).run()


def test_scripts_run_as_on_an_agent(tmp_path: Path) -> None:
    text = """
variables: {some.name: value}
jobs:
  - job: a
    steps:
      - bash: "false\\necho $SOME_NAME $BUILD_BUILDID"
      - bash: exit 3
      - bash: echo not reached
      - bash: echo afterwards
        condition: failed()
"""
    result = minimal(tmp_path, text).run()
    assert result.jobs == {"__default.a": "Failed"}
    assert "value 7" in result.log and "afterwards" in result.log and "not reached" not in result.log


def test_expressions() -> None:
    scope = ExpressionScope({"build.sourcebranch": "refs/tags/v1"}, succeeded=True, failed=False)
    assert evaluate("and(succeeded(), startsWith(variables['Build.SourceBranch'], 'refs/tags/v'))", scope)
    assert not evaluate("or(failed(), eq(variables['missing'], 'x'))", scope)
    assert evaluate("not(ne('It''s', 'it''s'))", scope)
