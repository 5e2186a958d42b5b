"""Executes the rendered GitHub workflows of each pattern with act, with stand-ins for the programs that reach out.

act runs the jobs on this machine. It knows no filters of branches and paths, no environments, concurrency, permissions
or OIDC, and it does not join the outputs of a matrix: those are read from the files. It may lose the last lines that a
failing step prints, so no test asks for them. `actions/checkout` is a copy of the project, artifacts are kept in a
folder, and other actions are replaced by one that does nothing. The project's own actions run.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

import pytest
import yaml
from conftest import Bake
from helpers import PATTERNS, ROOT, TARGETS, YAMLLINT, commit, every_pattern, lock, need, run
from real_cli import TOKEN_OF_THE_JOB, check_workspace, hosted_answers, needs_cli, real_programs
from stand_in import EVIDENCE, INJECTION, REACHES, StandIns, put_program

RECEIVING = ("deploy-model", "hybrid")
RELEASE = "refs/tags/v1.2.0"
ADDRESS = "https://github.com/example/fraud/actions/runs/77"
STARTED = "started by ada, attempt 1 by ada"
RUN = f"{ADDRESS}, {STARTED}"
WHEEL_SHA256 = sha256(b"built").hexdigest()  # of what our stand-in for uv builds
KEPT = "wheel"  # the name under which a run keeps what it built


def action(script: str) -> str:
    """Return an action that runs one script, which knows the inputs REF and TO, and says that it kept artifact 5."""
    step = {"run": script, "shell": "bash", "env": {"REF": "${{ inputs.ref }}", "TO": "${{ inputs.path }}"}}
    inputs = {"ref": {"description": "commit"}, "path": {"description": "folder"}}
    outputs = {"artifact-id": {"description": "number", "value": "5"}}
    runs = {"using": "composite", "steps": [step]}
    return yaml.safe_dump(
        {"name": "stand-in", "description": "stand-in", "inputs": inputs, "outputs": outputs, "runs": runs}
    )


def workflows(folder: Path) -> dict[str, Any]:
    """Return the parsed workflows of a repository by name. `on`, which YAML reads as a truth value, is text again."""
    parsed = {}
    for path in sorted((folder / ".github" / "workflows").glob("*.yml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        parsed[path.stem] = {"on" if key is True else key: value for key, value in content.items()}
    return parsed


def steps_of(parsed: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Return every step of every job, with the names of its workflow and job."""
    return [
        (name, key, step)
        for name, workflow in parsed.items()
        for key, job in workflow["jobs"].items()
        for step in job["steps"]
    ]


@dataclass
class Result:
    """What a run of a workflow came to: the jobs that ran, and what they wrote on the page of the run."""

    succeeded: bool
    jobs: dict[str, str]
    summaries: list[str]
    log: str


@dataclass
class GitHub(StandIns):
    """A project on GitHub: its workflows, and what they called."""

    project: Path
    environment: dict[str, str] = field(default_factory=dict)  # of the runner
    variables: dict[str, str] = field(default_factory=dict)  # of the repository and its environments
    attempt: int = 1  # of the run

    def run(self, workflow: str, *options: str, **event: Any) -> Result:
        """Run a workflow for an event: a `pull_request`, a `workflow_run`, a start with `inputs`, or else a push."""
        self.forget()
        repository = {"full_name": "example/fraud", "default_branch": "main"}
        kinds = {"pull_request": "pull_request", "workflow_run": "workflow_run", "inputs": "workflow_dispatch"}
        kind = next((kind for key, kind in kinds.items() if key in event), "push")
        payload = {"repository": repository, "ref": "refs/heads/main"} | event
        (self.here / "event.json").write_text(json.dumps(payload))
        variables = {
            "DATABRICKS_CLIENT_ID": "identity-of-the-environment",
            "DATABRICKS_PR_CLIENT_ID": "identity-of-pull-requests",
        } | self.variables
        secret = f"GITHUB_TOKEN={TOKEN_OF_THE_JOB}"
        known = {"GITHUB_REPOSITORY": "example/fraud", "GITHUB_RUN_ID": "77"}
        known |= {
            "GITHUB_RUN_ATTEMPT": str(self.attempt),
            "GITHUB_TRIGGERING_ACTOR": "bob" if self.attempt > 1 else "ada",
        }
        used = {step["uses"] for _, _, step in steps_of(workflows(self.project)) if "uses" in step}
        replaced = {uses: self.here / "actions" / uses.split("@")[0] for uses in used if not uses.startswith("./")}
        command = [
            *("act", kind, "--json", "--workflows", f".github/workflows/{workflow}.yml"),
            *("--platform", "ubuntu-24.04=-self-hosted", "--no-cache-server", "--concurrent-jobs", "1"),
            *("--eventpath", str(self.here / "event.json"), "--actor", "ada", "--secret", secret),
            *(part for name, value in variables.items() for part in ("--var", f"{name}={value}")),
            *(part for name, value in known.items() for part in ("--env", f"{name}={value}")),
            *(part for uses in sorted(replaced) for part in ("--local-repository", f"{uses}={replaced[uses]}")),
            *options,
        ]
        # Nothing of ours reaches the jobs: act hands its own environment on to them.
        environment = {"PATH": self.path, "HOME": str(self.here / "home")}
        result = subprocess.run(
            command,
            cwd=self.project,
            env=environment | self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        entries = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
        return Result(
            result.returncode == 0,
            {
                "-".join([entry["jobID"], *entry["matrix"].values()]): entry["jobResult"]
                for entry in entries
                if "jobResult" in entry
            },
            [entry["content"] for entry in entries if entry.get("command") == "summary"],
            result.stdout,
        )

    def approved(self, *reviews: tuple[str, str, str]) -> None:
        """Let these reviews have happened: the person, the environment, and the decision."""
        given = [
            {"state": state, "environments": [{"name": environment}], "user": {"login": person}}
            for person, environment, state in reviews
        ]
        self.answer("/approvals", json.dumps(given))

    def offer_cli(self, extra: str = "") -> str:
        """Let the release of the Databricks CLI hold our stand-in, and return the checksum of the archive."""
        content = BytesIO()
        with ZipFile(content, "w") as archive:
            entry = ZipInfo("databricks")
            entry.external_attr = 0o755 << 16
            archive.writestr(entry, (self.bin / "databricks").read_text(encoding="utf-8") + extra)
        self.answer("databricks_cli_", content.getvalue())
        return sha256(content.getvalue()).hexdigest()

    def tamper(self, script: str) -> None:
        """Let somebody run this script wherever an artifact was downloaded."""
        (self.here / "tamper").write_text(script)

    def protected(self, *rules: str) -> None:
        """Let the environment prod have protection rules of these types."""
        self.answer("/environments/prod", json.dumps({"protection_rules": [{"id": 1, "type": rule} for rule in rules]}))

    def tried(self, *runners: int | None) -> None:
        """Let prod have been tried on these runners, this attempt included; a rejected one got no runner, so None."""
        jobs = [{"id": number, "name": "Prod", "runner_id": runner} for number, runner in enumerate(runners)]
        self.answer("/jobs?filter=all", json.dumps({"jobs": [{"id": 9, "name": "Staging", "runner_id": 1}, *jobs]}))

    def release(self, *options: str, tag: str = "v1.2.0", **more: Any) -> Result:
        """Release a tag: run release-code for it, and what GitHub starts when that has ended.

        Args:
            more: what GitHub says of the run that has ended, where it is not an ordinary one.
        """
        head = run("git", "rev-parse", "HEAD", cwd=self.project).stdout.strip()
        ended = {"id": 76, "conclusion": "success", "event": "push", "head_branch": tag, "head_sha": head}
        ended |= {"head_repository": {"full_name": "example/fraud"}, "html_url": "https://github.com/runs/76"}
        ended |= {"actor": {"login": "ada"}}
        first = self.run("release-code", *options, ref=f"refs/tags/{tag}")
        calls = self.here / "calls.jsonl"
        before = calls.read_text(encoding="utf-8")
        ended["conclusion"] = "success" if first.succeeded else "failure"
        then = self.run("release-prod", *options, workflow_run=ended | more)
        calls.write_text(before + (calls.read_text(encoding="utf-8") if calls.exists() else ""), encoding="utf-8")
        return Result(
            first.succeeded and then.succeeded,
            first.jobs | then.jobs,
            first.summaries + then.summaries,
            first.log + then.log,
        )


def put_on_github(rendered: Path, here: Path, real: dict[str, str]) -> GitHub:
    """Return a copy of a project below `here`, with all that its workflows need, and stand-ins for what reaches out."""
    need("act", "bash", "git", "openssl", "sha256sum", unix="the workflows")
    project = here / "project"
    shutil.copytree(rendered, project)
    for path in (project / ".github" / "workflows").glob("*.yml"):
        # act 0.2.89 refuses this key, which came in May 2026. It says only how many jobs of a group may wait.
        text = re.sub(r"^ +queue: max .*\n", "", path.read_text(), flags=re.MULTILINE)
        # Nor does it know this name of the project itself, of July 2026, where it is that of the workflow's commit.
        path.write_text(text.replace("uses: $/", "uses: ./"))
    for name in ("home", KEPT):
        (here / name).mkdir()
    scripts = {
        # Where it has a `ref`; act does the others.
        "actions/checkout": f'git clone --quiet {project} "$TO" && git -C "$TO" checkout --quiet "$REF"',
        "actions/attest": "true",
        "actions/upload-artifact": f"cp dist/* {here / KEPT}",
        "actions/download-artifact": f"mkdir -p $TO; cp {here / KEPT}/* $TO; cd $TO/..; bash {here / 'tamper'}",
    }
    for name, script in scripts.items():
        (here / "actions" / name).mkdir(parents=True)
        (here / "actions" / name / "action.yml").write_text(action(script))
    github = GitHub(here, project)
    github.put("databricks", "uv", "gh", "curl", "pip", real=real)
    put_program(github.bin, "jq", "jq_program.py")  # which `gh` has inside
    put_program(github.bin, "unzip", "unzip.py")
    pinned = project / ".github" / "actions" / "databricks-cli" / "action.yml"
    text = re.sub(r"SHA256: [0-9a-f]{64}\n", f"SHA256: {github.offer_cli()}\n", pinned.read_text())
    pinned.write_text(text)
    commit(project)
    for reference in ("refs/remotes/origin/main", RELEASE):
        assert run("git", "update-ref", reference, "HEAD", cwd=project).returncode == 0
    github.tamper("true")
    github.approved(("alan", "staging", "approved"), ("eve", "prod", "rejected"), ("grace", "prod", "approved"))
    github.protected("branch_policy", "required_reviewers")
    github.tried(1)
    return github


@pytest.fixture
def github(bake: Bake, pattern: str, tmp_path: Path) -> GitHub:
    github = put_on_github(bake(deployment_pattern=pattern, ci_provider="github-actions"), tmp_path, {})
    for target in TARGETS:
        github.answer(f"bundle plan --target {target}", f"create jobs.`x`\n```\n\x1b### of {target}\n")
    return github


def request_from(repository: str = "example/fraud", **more: str) -> dict[str, Any]:
    """Return the event of a pull request from a branch of `repository`."""
    head = {"sha": "0123abc", "ref": "better", "repo": {"full_name": repository}}
    return {"number": 7, "title": "Better", "head": head, "base": {"ref": "main"}} | more


def check_identities(github: GitHub, workflow: str, target_input: str = "") -> None:
    """Every call that reaches a workspace comes from a job in the environment of its target, and no other logs in."""
    parsed = workflows(github.project)
    jobs = parsed[workflow]["jobs"] | (parsed["release-prod"]["jobs"] if workflow == "release-code" else {})
    for call in github.calls:
        environment = call.environment
        job = jobs[environment["GITHUB_JOB"]]
        assert "DATABRICKS_TOKEN" not in environment and "DATABRICKS_HOST" not in environment, call
        # The one token that GitHub gives reaches `gh` alone.
        assert environment.get("GH_TOKEN") == (TOKEN_OF_THE_JOB if call.line.startswith("gh ") else None), call
        if not call.line.startswith(REACHES):
            assert call.line.startswith(("gh ", "curl ", "pip ")) or "DATABRICKS_CLIENT_ID" not in environment, call
            continue
        assert environment["DATABRICKS_AUTH_TYPE"] == "github-oidc", call
        if workflow == "pull-request":
            assert environment["DATABRICKS_CLIENT_ID"] == "identity-of-pull-requests" and "environment" not in job
        else:
            assert environment["DATABRICKS_CLIENT_ID"] == "identity-of-the-environment", call
            target = call.line.split("--target ")[1].split()[0]
            assert job["environment"].replace("${{ inputs.target }}", target_input) == target, call


# Run


@every_pattern
def test_a_pull_request_checks_every_target_and_deploys_nothing(github: GitHub) -> None:
    result = github.run("pull-request", pull_request=request_from())
    assert result.succeeded, result.log
    assert set(result.jobs) == {"code", "comment", *(f"bundle-{target}" for target in TARGETS)}
    checks = ["uv sync --locked", "uv run ruff check", "uv run ruff format --check", "uv run mypy", "uv run pytest"]
    assert github.lines("uv ") == checks
    assert sorted(github.reached()) == sorted(
        f"databricks bundle {command} --target {target}"
        for command in ("validate --strict", "plan")
        for target in TARGETS
    )
    check_identities(github, "pull-request")
    assert sorted(summary.splitlines()[0] for summary in result.summaries) == [
        f"### What a first deployment to {target} would make" for target in sorted(TARGETS)
    ]


@pytest.mark.parametrize("pattern", ["hybrid"])
@pytest.mark.parametrize("target", TARGETS)
def test_the_plan_is_shown_on_the_request(github: GitHub, target: str) -> None:
    github.run("pull-request", "--matrix", f"target:{target}", pull_request=request_from())
    (comment,) = [call for call in github.calls if call.line.startswith("gh ")]
    assert comment.line == "gh pr comment 7 --edit-last --create-if-none --body-file -"
    assert comment.environment["GH_REPO"] == "example/fraud"
    parts = [f"### No plan for {other}" if other != target else "### What a first" for other in TARGETS]
    assert re.findall("|".join(parts), comment.input) == parts
    # All that the plan says is code, and nothing in it ends the code.
    assert comment.input.splitlines()[-2:] == ["", f"Planned for 0123abc in {ADDRESS}"]
    for line in ("create jobs.`x`", "```", f"### of {target}"):
        assert f"\n    {line}\n" in comment.input

    github.fail("bundle plan")
    result = github.run("pull-request", "--matrix", f"target:{target}", pull_request=request_from())
    assert result.jobs == {"code": "success", f"bundle-{target}": "failure", "comment": "success"}
    assert github.calls[-1].input.count("### No plan for") == 3


@pytest.mark.parametrize("pattern", ["hybrid"])
def test_a_long_plan_fits_into_the_comment(github: GitHub) -> None:
    github.answer("bundle plan --target dev", "create a job\n" * 9999)
    result = github.run("pull-request", "--matrix", "target:dev", pull_request=request_from())
    assert result.succeeded, result.log
    (comment,) = [call for call in github.calls if call.line.startswith("gh ")]
    assert 20_000 < len(comment.input) < 65536 / len(TARGETS)


@every_pattern
def test_code_from_a_fork_gets_no_identity(github: GitHub) -> None:
    result = github.run("pull-request", pull_request=request_from("stranger/fraud"))
    assert result.jobs["code"] == "success" and not {"bundle", "comment"} & set(result.jobs)
    assert github.reached() == []
    assert not [call for call in github.calls if call.line.startswith("gh ")]


@pytest.mark.parametrize("pattern", ["hybrid"])
@pytest.mark.parametrize("failing", ["uv sync", "ruff check", "ruff format", "mypy", "pytest", "validate --strict"])
def test_a_failed_check_is_seen(github: GitHub, failing: str) -> None:
    github.fail(failing)
    result = github.run("pull-request", pull_request=request_from())
    assert not result.succeeded
    assert "failure" in result.jobs.values()


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


@every_pattern
def test_main_goes_to_staging_only(github: GitHub, pattern: str) -> None:
    result = github.run("release-code", ref="refs/heads/main")
    assert result.succeeded, result.log
    assert github.reached() == STAGING[pattern]
    check_identities(github, "release-code")


@every_pattern
def test_a_tag_goes_through_staging_to_prod(github: GitHub, pattern: str) -> None:
    result = github.release()
    assert result.succeeded and set(result.jobs.values()) == {"success"}, result.log
    # No job but the integration test runs: a code release trains no model that ships, and moves no alias.
    assert github.reached() == STAGING[pattern] + PROD
    # The wheel is built once, before any job that logs in.
    uv = [line.partition(" --")[0] for line in github.lines("uv ")]
    assert uv == ["uv sync", "uv run pytest", "uv build", "uv export"]
    check_identities(github, "release-code")
    (summary,) = result.summaries
    assert "    tag           v1.2.0\n" in summary and f"    wheel         sha256 {WHEEL_SHA256}\n" in summary


@every_pattern
def test_code_that_trains_names_who_released_it(github: GitHub, pattern: str) -> None:
    github.release()
    approved = {
        call.line: call.environment.get("BUNDLE_VAR_code_approved_by")
        for call in github.calls
        if call.line.startswith("databricks bundle deploy")
    }
    assert approved["databricks bundle deploy --target prod"] == f"grace (v1.2.0, {RUN})"
    if pattern != "deploy-model":  # where staging trains, too
        assert approved["databricks bundle deploy --target staging"] == f"nobody ({STARTED})"


@pytest.mark.parametrize(
    ("pattern", "at"), [(pattern, at) for pattern, calls in STAGING.items() for at in range(len(calls) + len(PROD))]
)
def test_a_failure_stops_what_follows(github: GitHub, pattern: str, at: int) -> None:
    release = STAGING[pattern] + PROD
    github.fail(release[at])
    result = github.release()
    assert not result.succeeded
    assert github.reached() == release[: at + 1]
    # A failure in prod says what to do next.
    in_prod = "--target prod" in release[at]
    assert [summary.splitlines()[0] for summary in result.summaries] == (
        ["### What reaches prod if you approve", "### The tag was not fully released to prod"] if in_prod else []
    )
    assert not in_prod or "run this job again" in result.summaries[-1]


@every_pattern
@pytest.mark.parametrize("unknown", ["/approvals", "/environments/prod", "/jobs?filter=all"])
def test_nothing_is_deployed_to_prod_where_nobody_knows_who_approved(
    github: GitHub, pattern: str, unknown: str
) -> None:
    github.fail(unknown)
    assert github.release().jobs["prod"] == "failure"
    assert github.reached() == STAGING[pattern]


@every_pattern
@pytest.mark.parametrize("broken", ["uv run pytest", "uv sync"])
def test_nothing_is_deployed_after_a_failed_test(github: GitHub, broken: str) -> None:
    github.fail(broken)
    assert github.release().jobs["tests"] == "failure"
    assert github.reached() == []


@every_pattern
def test_a_tag_beside_main_is_refused(github: GitHub) -> None:
    (github.project / "sneaky.txt").write_text("nobody reviewed this")
    commit(github.project)
    result = github.run("release-code", ref=RELEASE)
    assert result.jobs["tests"] == "failure"
    assert github.calls == []


@every_pattern
@pytest.mark.parametrize(
    "tampering",
    [
        pytest.param("echo more >> dist/fraud-0.1.0-py3-none-any.whl", id="changed"),
        pytest.param("echo other > dist/fraud-9.9.9-py3-none-any.whl", id="another beside it"),
        pytest.param("mv dist/*.whl dist/fraud-9.9.9-py3-none-any.whl; echo x >> dist/*.whl", id="instead of it"),
        pytest.param("rm dist/*.whl", id="none"),
    ],
)
def test_a_wheel_that_was_tampered_with_is_not_deployed(github: GitHub, pattern: str, tampering: str) -> None:
    github.tamper(tampering)
    assert not github.run("release-code", ref=RELEASE).succeeded
    assert github.reached() == STAGING[pattern][:1]  # the CLI is called, and ends at the check
    github.tamper(f'if [ "$GITHUB_JOB" = prod ]; then {tampering}; fi')  # after the reviewers have seen it
    assert github.release().jobs["prod"] == "failure"
    assert github.reached() == STAGING[pattern] + PROD[:1]


@every_pattern
def test_only_what_github_signed_is_deployed(github: GitHub, pattern: str) -> None:
    github.variables["ATTEST_BUILDS"] = "true"
    assert github.release().succeeded
    commit = run("git", "rev-parse", "HEAD", cwd=github.project).stdout.strip()
    signed = [call for call in github.calls if call.line.startswith("gh attestation ")]
    jobs = ["integration-test"] if pattern == "deploy-model" else []
    assert [call.environment["GITHUB_JOB"] for call in signed] == sorted(
        [*jobs, "staging", "check"] * 2, key=["integration-test", "staging", "check"].index
    )
    for call in signed:
        assert "--repo example/fraud --signer-workflow example/fraud/.github/workflows/release-code.yml" in call.line
        assert f"--source-digest {commit}" in call.line
    assert {call.line.split("--predicate-type ")[1].split()[0] for call in signed} == {
        "https://slsa.dev/provenance/v1",
        "https://cyclonedx.org/bom",
    }

    github.fail("cyclonedx.org/bom")
    assert not github.release().succeeded
    assert github.reached() == []


@every_pattern
def test_a_program_that_was_tampered_with_does_not_run(github: GitHub, pattern: str) -> None:
    github.offer_cli("touch $HOME/hacked")
    assert not github.release().succeeded
    assert github.reached() == []
    assert not (github.here / "home" / "hacked").exists()


@pytest.mark.parametrize("pattern", ["hybrid"])
def test_a_tag_decides_nothing_about_its_release(github: GitHub) -> None:
    """Whoever may push a tag writes all of its workflows. What leads to prod is main's."""

    def git(*arguments: str) -> str:
        result = run("git", "-c", "user.name=eve", "-c", "user.email=eve@example.com", *arguments, cwd=github.project)
        assert result.returncode == 0, result.stdout
        return result.stdout.strip()

    main = git("rev-parse", "HEAD")
    branch = git("branch", "--show-current")
    git("checkout", "--quiet", "-b", "sneaky")
    for path in (github.project / ".github" / "workflows").glob("release-*.yml"):
        path.write_text(path.read_text().replace("merge-base --is-ancestor", "true"))
    git("commit", "--quiet", "--all", "--message", "nobody reviewed this")
    sneaky = git("rev-parse", "HEAD")
    git("tag", "v6.6.6")
    git("checkout", "--quiet", branch)
    # GitHub says that the workflow of the tag went well and built a wheel, for who pushed it wrote that, too.
    (github.here / KEPT / "fraud-0.1.0-py3-none-any.whl").write_text("built")
    pushed = {"id": 76, "conclusion": "success", "event": "push", "head_branch": "v6.6.6", "head_sha": sneaky}
    pushed["head_repository"] = {"full_name": "example/fraud"}
    for attack in (
        {},
        {"head_branch": "v1.2.0"},  # where another tag is that of main
        {"head_branch": "v7.7.7", "head_sha": main},  # no such tag, but perhaps a branch
        {"head_sha": main},  # the tag was moved
    ):
        result = github.run("release-prod", workflow_run=pushed | attack)
        assert result.jobs == {"check": "failure"} and github.calls == [], attack
    for other in (
        {"conclusion": "failure"},
        {"event": "pull_request"},
        {"head_repository": {"full_name": "eve/fraud"}},
        {"head_branch": "main"},
    ):
        good = pushed | {"head_branch": "v1.2.0", "head_sha": main} | other
        assert not {"check", "prod"} & set(github.run("release-prod", workflow_run=good).jobs), other
        assert github.calls == []
    good = pushed | {"head_branch": "v1.2.0", "head_sha": main}
    assert github.run("release-prod", workflow_run=good).jobs == {"check": "success", "prod": "success"}


HOSTILE = """\
</pre><img src=https://example.com/seen><script>alert(1)</script>
# All checks passed
[approve](https://example.com) @everybody
\x1b[2K\r::error::forged
```
::set-output name=version::13
::add-mask::12
##[error]forged
"""


@pytest.mark.parametrize("pattern", RECEIVING)
def test_text_of_a_registry_is_text(github: GitHub) -> None:
    github.answer("models show --target staging --version 12\n", HOSTILE + EVIDENCE)
    github.answer("models promote", HOSTILE)
    result = github.run("release-model", inputs={})
    assert result.succeeded, result.log
    assert "--version 12 " in github.reached()[-1]
    # On the page of the run all of it is code, whatever it holds.
    (summary,) = result.summaries
    heading, empty, *text = summary.splitlines()
    assert heading.startswith("### What reaches prod") and empty == ""
    assert all(line.startswith("    ") for line in text)
    assert "    </pre><img src=https://example.com/seen><script>alert(1)</script>" in text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", summary)
    # In the log GitHub follows none of it.
    entries = [json.loads(line) for line in result.log.splitlines() if line.startswith("{")]
    taken = {entry["command"] for entry in entries if "command" in entry and "forged" in json.dumps(entry)}
    assert taken == {"ignored", "summary"}
    assert not [entry for entry in entries if entry.get("command") in ("add-mask", "error")]
    assert not [entry for entry in entries if entry.get("command") == "set-output" and entry.get("arg") == "13"]


@pytest.mark.parametrize("pattern", RECEIVING)
def test_reviewers_see_what_is_released_or_nothing_is(github: GitHub) -> None:
    github.answer("models show --target staging --version 12\n", "version   12\nevidence  of something else\n")
    assert github.run("release-model", inputs={}).jobs == {"staging": "failure"}


def model_release(pattern: str, version: str, approver: str, source_model: str = "", number: str = "12") -> list[str]:
    """Return the calls of a model release, in their order."""
    acceptance = f"models promote --target staging --version {version}" + (
        f" --source-model {source_model}" if source_model else ""
    )
    asked = version if pattern == "hybrid" else "champion"
    return [
        *([acceptance] if pattern == "deploy-model" else []),
        f"models show --target staging --version {asked} --field version",
        f"models show --target staging --version {number}",
        f"models show --target staging --version {number} --field evidence",
        f"models promote --target prod --version {number} --evidence {EVIDENCE}"
        f" --approve --by {approver} --reason {RUN}",
    ]


def test_only_who_receives_has_a_model_release(bake: Bake) -> None:
    for pattern in ("deploy-code", *RECEIVING):
        parsed = workflows(bake(deployment_pattern=pattern, ci_provider="github-actions"))
        assert ("release-model" in parsed) == (pattern in RECEIVING)


@pytest.mark.parametrize("pattern", RECEIVING)
def test_a_model_release_deploys_no_code(github: GitHub, pattern: str) -> None:
    result = github.run("release-model", inputs={})
    assert result.succeeded, result.log
    # The calls are all there are: no bundle is deployed, and no job trains.
    assert github.reached() == model_release(pattern, "champion", "grace")
    assert {call.line.split()[0] for call in github.calls} == {"uv", "gh", "curl", "pip"}
    check_identities(github, "release-model")
    (summary,) = result.summaries
    assert summary.splitlines() == [
        "### What reaches prod if you approve: version 12 of staging, and nothing else",
        *("", "    version   12", f"    evidence  {EVIDENCE}"),
    ]


@pytest.mark.parametrize(
    ("pattern", "inputs", "number"),
    [
        # In deploy-model the version is that of dev: prod gets the number that staging gave it.
        ("deploy-model", {"version": "7", "source_model": "dev.dev_ada.model"}, "12"),
        ("deploy-model", {"version": INJECTION, "source_model": INJECTION}, "12"),
        ("hybrid", {"version": "7"}, "7"),
        ("hybrid", {"version": "challenger"}, "13"),
    ],
)
def test_prod_gets_the_version_that_was_shown(
    github: GitHub, pattern: str, inputs: dict[str, str], number: str
) -> None:
    result = github.run("release-model", inputs=inputs)
    assert github.reached() == model_release(pattern, approver="grace", number=number, **inputs), result.log
    assert not (github.here / "home" / "hacked").exists()


@pytest.mark.parametrize("pattern", ["hybrid"])
@pytest.mark.parametrize("version", ["previous", "", "7\nversion=8", INJECTION])
def test_a_version_that_is_not_there_is_refused_before_the_approval(github: GitHub, version: str) -> None:
    result = github.run("release-model", inputs={"version": version})
    assert result.jobs == {"staging": "failure"}
    # `models` gets exactly what was typed, so it can refuse it.
    assert github.reached() == model_release(pattern="hybrid", version=version, approver="")[:1]
    assert not (github.here / "home" / "hacked").exists()


@pytest.mark.parametrize(
    ("pattern", "at"), [*(("deploy-model", at) for at in range(5)), *(("hybrid", at) for at in range(4))]
)
def test_a_failed_model_release_stops(github: GitHub, pattern: str, at: int) -> None:
    release = model_release(pattern, "champion", "grace")
    github.fail(release[at])
    result = github.run("release-model", inputs={})
    assert not result.succeeded
    assert github.reached() == release[: at + 1]
    in_prod = "--target prod" in release[at]
    assert ("### The model was not promoted to prod" in "".join(result.summaries)) == in_prod


def released(github: GitHub, workflow: str) -> str:
    """Release, and return the call with which prod was changed, or nothing if it was left alone."""
    result = github.release() if workflow == "release-code" else github.run("release-model", inputs={})
    changes = [call for call in github.calls if re.search("(deploy|promote) .*--target prod", call.line)]
    assert bool(changes) == result.succeeded, result.log
    assert changes or result.jobs["prod"] == "failure", result.log
    return "".join(call.line + call.environment.get("BUNDLE_VAR_code_approved_by", "") for call in changes)


RELEASES = [
    ("deploy-code", "release-code"),
    ("deploy-model", "release-code"),
    *((p, "release-model") for p in RECEIVING),
]
every_release = pytest.mark.parametrize(("pattern", "workflow"), RELEASES)


@every_release
@pytest.mark.parametrize(
    "reviews",
    [
        pytest.param([], id="an admin let it pass"),
        pytest.param([("eve", "prod", "rejected")], id="rejected"),
        pytest.param([("eve", "staging", "approved")], id="of another environment"),
        pytest.param([("eve", "prod", "pending")], id="pending"),
        pytest.param([("ada", "prod", "approved")], id="who started it"),
    ],
)
def test_where_nobody_approved_the_release_stops(
    github: GitHub, workflow: str, reviews: list[tuple[str, str, str]]
) -> None:
    github.approved(*reviews)
    assert released(github, workflow) == ""
    # A variable that anybody with the right to write may set changes nothing where prod has reviewers.
    github.variables["APPROVAL_REQUIRED"] = "false"
    assert released(github, workflow) == ""


@every_release
def test_an_approval_counts_for_one_attempt(github: GitHub, workflow: str) -> None:
    github.attempt = 2
    github.tried(1, 2)
    assert released(github, workflow) == ""  # grace approved the first attempt, and an admin let the second one pass
    github.approved(("grace", "prod", "approved"), ("bob", "prod", "approved"))
    assert released(github, workflow) == ""  # bob ran it again
    github.approved(("grace", "prod", "approved"), ("alan", "prod", "approved"))
    change = released(github, workflow)
    assert "alan" in change and "attempt 2 by bob" in change and "started by ada" in change
    github.approved(("eve", "prod", "rejected"), ("grace", "prod", "approved"))
    github.tried(None, 2)  # a rejected attempt never began
    assert "grace" in released(github, workflow)


@every_release
def test_where_prod_has_no_reviewers_an_admin_says_so_and_nobody_is_called_approver(
    github: GitHub, workflow: str
) -> None:
    github.approved()
    github.protected("branch_policy")
    assert released(github, workflow) == ""
    github.variables["APPROVAL_REQUIRED"] = "false"
    change = released(github, workflow)
    assert f"nobody ({STARTED})" in change and "grace" not in change


@every_pattern
@pytest.mark.parametrize(
    ("inputs", "line"),
    [
        ({"target": "staging", "command": "status"}, "models status --target staging"),
        (
            {"target": "prod", "command": "rollback", "reason": INJECTION},
            f"models rollback --target prod --by ada, attempt 1 by ada --reason {INJECTION}",
        ),
        (
            {"target": "prod", "command": "run inference", "parameters": "run_date=2026-03-09,days=7"},
            "databricks bundle run inference --target prod --params run_date=2026-03-09,days=7",
        ),
    ],
    ids=["status", "rollback", "run"],
)
def test_operate(github: GitHub, inputs: dict[str, str], line: str) -> None:
    result = github.run("operate", inputs=inputs)
    assert result.succeeded, result.log
    assert github.reached() == [line]
    check_identities(github, "operate", inputs["target"])
    assert not (github.here / "home" / "hacked").exists()


@pytest.mark.parametrize("pattern", ["deploy-code"])
@pytest.mark.parametrize(
    "parameters",
    [
        *("source_table=dev.ada.bought", "code_approved_by=grace", "days=7,model=dev.ada.model", "days"),
        *('"days=7,source_table=dev.ada.bought"', "days=7\nsource_table=dev.ada.bought", "run_date=${x}", INJECTION),
    ],
)
def test_operators_choose_no_table_and_no_model(github: GitHub, parameters: str) -> None:
    result = github.run("operate", inputs={"target": "prod", "command": "run training", "parameters": parameters})
    assert not result.succeeded
    assert github.reached() == []
    assert not (github.here / "home" / "hacked").exists()


@pytest.mark.parametrize("pattern", ["hybrid"])
def test_a_rollback_names_who_ran_it_again(github: GitHub) -> None:
    github.attempt = 2
    github.run("operate", inputs={"target": "prod", "command": "rollback", "reason": "worse"})
    assert github.reached() == ["models rollback --target prod --by ada, attempt 2 by bob --reason worse"]


@pytest.mark.parametrize("pattern", ["hybrid"])
def test_names_of_branches_tags_and_titles_are_inert(github: GitHub) -> None:
    name = INJECTION.replace(" ", "${IFS}")
    request = request_from(title=name)
    request["head"]["ref"] = name
    assert github.run("pull-request", pull_request=request).succeeded
    github.run("release-code", ref=f"refs/tags/{name}")
    ended = {"conclusion": "success", "event": "push", "head_branch": f"v{name}", "head_sha": name, "id": 76}
    ended["head_repository"] = {"full_name": "example/fraud"}
    assert github.run("release-prod", workflow_run=ended).jobs == {"check": "failure"}
    assert not (github.here / "home" / "hacked").exists()


# What act does not enforce is read from the files.


@pytest.fixture
def project(bake: Bake, pattern: str) -> Path:
    return bake(deployment_pattern=pattern, ci_provider="github-actions")


@pytest.fixture
def parsed(project: Path) -> dict[str, Any]:
    return workflows(project)


def scripts_of(job: dict[str, Any]) -> str:
    """Return all that the steps of a job run, as one text."""
    return "\n".join(step.get("run", "") for step in job["steps"])


def logs_in(job: dict[str, Any]) -> bool:
    return bool(re.search("databricks bundle|uv run .*models", scripts_of(job)))


@every_pattern
def test_triggers(parsed: dict[str, Any], pattern: str) -> None:
    assert set(parsed) == {"operate", "pull-request", "release-code", "release-prod"} | (
        {"release-model"} if pattern in RECEIVING else set()
    )
    # GitHub takes this workflow from main, whatever was pushed.
    assert parsed["release-prod"]["on"] == {"workflow_run": {"workflows": ["release-code"], "types": ["completed"]}}
    assert parsed["pull-request"]["on"] == {"pull_request": {"branches": ["main"]}}
    # A change of documents alone releases nothing.
    ignored = ["**.md", "docs/**", "notebooks/**", ".github/dependabot.yml"]
    assert parsed["release-code"]["on"] == {"push": {"branches": ["main"], "tags": ["v*"], "paths-ignore": ignored}}
    for name in {"operate", "release-model"} & set(parsed):
        assert set(parsed[name]["on"]) == {"workflow_dispatch"}


@every_pattern
def test_every_job_has_limits_and_the_least_permissions(parsed: dict[str, Any]) -> None:
    for name, workflow in parsed.items():
        assert workflow["permissions"] == {}, name
        for key, job in workflow["jobs"].items():
            where = f"{name}.{key}"
            assert job["runs-on"] == "ubuntu-24.04", where
            assert 0 < job["timeout-minutes"] <= 300, where
            needed = {"contents": "read"} if "actions/checkout@" in json.dumps(job["steps"]) else {}
            used = json.dumps(job["steps"])
            needed |= {"id-token": "write"} if logs_in(job) or "actions/attest@" in used else {}
            needed |= {"attestations": "write"} if "actions/attest@" in used else {}
            needed |= {"attestations": "read"} if "verify-attestations.sh" in used else {}
            needed |= {"actions": "read"} if "approver.sh" in used or '"run-id"' in used else {}
            needed |= {"pull-requests": "write"} if "gh pr comment" in scripts_of(job) else {}
            assert job["permissions"] == needed, where
            # A token that can write never meets code of the request.
            assert "pull-requests" not in needed or [list(step) for step in job["steps"]] == [["name", "env", "run"]]
            # What GitHub gives to sign with opens no environment: see the subjects in docs/cicd-setup.md.
            assert "actions/attest@" not in used or "environment" not in job


@every_pattern
def test_who_logs_in_has_an_environment_and_waits_its_turn(parsed: dict[str, Any]) -> None:
    for name, workflow in parsed.items():
        for key, job in workflow["jobs"].items():
            where = f"{name}.{key}"
            if not logs_in(job):
                assert "environment" not in job and "DATABRICKS_CLIENT_ID" not in json.dumps(job), where
                continue
            assert job["env"]["DATABRICKS_AUTH_TYPE"] == "github-oidc", where
            # All that programs print there is text to GitHub.
            assert job["defaults"] == {"run": {"shell": "bash .github/as-text.sh {0}"}}, where
            assert not [step for step in job["steps"] if "shell" in step], where
            if name == "pull-request":
                assert job["env"]["DATABRICKS_CLIENT_ID"] == "${{ vars.DATABRICKS_PR_CLIENT_ID }}"
                assert job["if"] == "github.event.pull_request.head.repo.full_name == github.repository"
                assert "environment" not in job and not re.search("bundle (deploy|run|destroy)", scripts_of(job))
                continue
            assert job["env"]["DATABRICKS_CLIENT_ID"] == "${{ vars.DATABRICKS_CLIENT_ID }}", where
            environment = job["environment"]
            changes = "bundle deploy" in scripts_of(job) or "models promote" in scripts_of(job)
            concurrency = workflow["concurrency"] if name == "operate" else job["concurrency"]
            assert concurrency == {
                "group": f"{'deploy' if changes else 'operate'}-{environment}",
                "queue": "max",
                "cancel-in-progress": False,
            }, where
            if name != "operate":
                assert set(re.findall(r"--target (\w+)", scripts_of(job))) == {environment}, where
    assert parsed["release-code"]["concurrency"]["cancel-in-progress"] is False
    assert "concurrency" not in parsed.get("release-model", {})
    if "release-model" in parsed:
        assert parsed["release-model"]["jobs"]["prod"]["needs"] == "staging"
    # Nothing of a tag reaches prod before main's own workflow has seen it.
    in_prod = {name for name, workflow in parsed.items() if "prod" in workflow["jobs"]}
    assert in_prod - {"release-model"} == {"release-prod"}
    assert parsed["release-prod"]["jobs"]["prod"]["needs"] == "check"


@every_pattern
def test_what_a_person_types_never_becomes_text_of_a_script(parsed: dict[str, Any]) -> None:
    for name, key, step in steps_of(parsed):
        assert "${{" not in step.get("run", ""), f"{name}.{key}"
    texts = json.dumps({name: workflow["jobs"] for name, workflow in parsed.items()})
    assert not re.search(r"github\.(head_ref|event\.(pull_request\.(title|body|head\.ref)|head_commit))", texts)
    for name in {"operate", "release-model"} & set(parsed):
        given = {f"${{{{ inputs.{question} }}}}" for question in parsed[name]["on"]["workflow_dispatch"]["inputs"]}
        assert given <= set(re.findall(r"\$\{\{ inputs\.\w+ \}\}", json.dumps(parsed[name])))


@every_pattern
def test_each_target_brings_its_own_plan(parsed: dict[str, Any]) -> None:
    jobs = parsed["pull-request"]["jobs"]
    assert jobs["bundle"]["strategy"] == {"fail-fast": False, "matrix": {"target": list(TARGETS)}}
    assert jobs["bundle"]["outputs"] == {target: f"${{{{ steps.plan.outputs.{target} }}}}" for target in TARGETS}
    assert jobs["comment"]["needs"] == "bundle"
    assert jobs["comment"]["if"] == "${{ !cancelled() && needs.bundle.result != 'skipped' }}"
    (step,) = jobs["comment"]["steps"]
    for target in TARGETS:
        assert step["env"][target.upper()] == f"${{{{ needs.bundle.outputs.{target} }}}}"


@every_pattern
def test_nothing_is_cached_and_no_secret_is_named(project: Path, parsed: dict[str, Any]) -> None:
    for name, key, step in steps_of(parsed):
        action = step.get("uses", "").split("@")[0]
        assert action in ("", "$/.github/actions/uv", "$/.github/actions/databricks-cli") or (
            action.removeprefix("actions/") in ("attest", "checkout", "download-artifact", "upload-artifact")
        ), f"{name}.{key}"
        if action == "actions/checkout":
            assert step["with"]["persist-credentials"] is False
    for path in (path for path in sorted((project / ".github").rglob("*")) if path.is_file()):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"secrets\.|DATABRICKS_TOKEN|CLIENT_SECRET|pull_request_target", text), path


@every_pattern
def test_packages_and_actions_are_kept_up_to_date(project: Path) -> None:
    updates = yaml.safe_load((project / ".github" / "dependabot.yml").read_text(encoding="utf-8"))["updates"]
    assert {entry["package-ecosystem"] for entry in updates} == {"github-actions", "pip", "uv"}
    assert all(entry["cooldown"]["default-days"] >= 7 for entry in updates)


# Linters, also over the workflows of the template itself


@pytest.fixture(params=[*PATTERNS, "the-template"])
def repository(request: pytest.FixtureRequest, bake: Bake) -> Path:
    if request.param == "the-template":
        return ROOT
    return bake(deployment_pattern=request.param, ci_provider="github-actions")


def test_actions_are_pinned_by_commit_and_named_by_version(repository: Path) -> None:
    for path in sorted((repository / ".github" / "workflows").glob("*.yml")):
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if "uses:" in line]
        for line in lines:
            assert re.fullmatch(
                r"\s*(- )?uses: ([\w-]+/[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+|\$/\.github/actions/[\w-]+)", line
            ), (path, line)


def test_the_template_is_tested_with_the_cli_of_its_projects(bake: Bake) -> None:
    """Without it the tests of the bundles would skip on GitHub."""

    installed = bake(ci_provider="github-actions") / ".github" / "actions" / "databricks-cli" / "action.yml"
    (version,) = re.findall(r" VERSION: (\S+)", installed.read_text(encoding="utf-8"))
    ours = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8"))["jobs"].values()
    steps = [step for job in ours for step in job["steps"] if "databricks/setup-cli@" in step.get("uses", "")]
    assert [step["with"]["version"] for step in steps] == [version]
    test = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8"))["jobs"]["test"]
    steps = [step.get("uses", step.get("run", "")).partition("@")[0] for step in test["steps"]]
    assert steps.index("databricks/setup-cli") < steps.index("python tasks.py test")
    assert {step["if"] for step in test["steps"] if "if" in step} == {"runner.os == 'Linux'"}
    assert any(system.startswith("ubuntu") for system in test["strategy"]["matrix"]["os"])


def test_linters_find_nothing(repository: Path) -> None:
    need("actionlint", "shellcheck", "zizmor")  # actionlint hands the scripts to shellcheck
    folder = repository / ".github"
    files = sorted((folder / "workflows").glob("*.yml"))
    own = sorted((folder / "actions").glob("*/action.yml"))
    assert files
    schemas = [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
    for command in (
        ["actionlint", "-no-color", *files],
        ["zizmor", "--offline", "--persona", "auditor", "--no-progress", *files, *own, folder / "dependabot.yml"],
        [*YAMLLINT, *files, *own, folder / "dependabot.yml"],
        [*schemas, "vendor.github-workflows", *files],
        *([*schemas, "vendor.github-actions", path] for path in own),
        [*schemas, "vendor.dependabot", folder / "dependabot.yml"],
        *(["shellcheck", script] for script in sorted(folder.glob("*.sh"))),
    ):
        result = run(*command, cwd=repository)
        assert result.returncode == 0, result.stdout
    # An exception is made where it applies, with its reason.
    assert not [path for path in repository.rglob("zizmor.y*ml") if ".venv" not in path.parts]
    for path in files:
        for line in re.findall(r"zizmor: ignore.*|shellcheck disable.*", path.read_text(encoding="utf-8")):
            assert re.fullmatch(r"zizmor: ignore\[[\w,-]+\] \w.*", line), (path, line)


# With the real programs


@pytest.mark.slow
def test_another_uv_is_not_installed(bake: Bake, tmp_path: Path) -> None:
    need("bash", "pip", unix="the runners of GitHub")
    if sys.platform != "linux":
        pytest.skip("the hashes are for the runners of GitHub, which are Linux")
    folder = tmp_path / "uv"
    shutil.copytree(bake(ci_provider="github-actions") / ".github" / "actions" / "uv", folder)
    (step,) = yaml.safe_load((folder / "action.yml").read_text(encoding="utf-8"))["runs"]["steps"]
    given = {"RUNNER_TEMP": str(tmp_path), "GITHUB_PATH": str(tmp_path / "path"), "GITHUB_ACTION_PATH": str(folder)}

    pinned = folder / "requirements.txt"
    text = pinned.read_text(encoding="utf-8")
    pinned.write_text(re.sub("sha256:[0-9a-f]{8}", "sha256:00000000", text), encoding="utf-8")
    result = run("bash", "-e", "-c", step["run"], cwd=tmp_path, **given)
    assert result.returncode != 0 and "DO NOT MATCH THE HASHES" in result.stdout, result.stdout
    assert not (tmp_path / "path").exists()

    pinned.write_text(text, encoding="utf-8")
    assert run("bash", "-e", "-c", step["run"], cwd=tmp_path, **given).returncode == 0
    installed = run(tmp_path / "uv" / "bin" / "uv", "--version", cwd=tmp_path).stdout
    assert f"uv=={installed.split()[1]} " in text


@pytest.mark.slow
@needs_cli
@every_pattern
def test_a_release_with_the_cli(bake_anew: Bake, tmp_path: Path, pattern: str, tokens: str) -> None:
    """The CLI logs in with what GitHub gives to the job, plans, deploys, and starts the integration test."""
    project = bake_anew(deployment_pattern=pattern, ci_provider="github-actions", **hosted_answers())
    lock(project)
    github = put_on_github(project, tmp_path, real_programs())
    # What uv needs to find its package registry and its cache.
    settings = re.compile(r"(UV|PIP|SSL)_.*|.*_proxy", re.IGNORECASE)
    github.environment = {name: value for name, value in os.environ.items() if settings.fullmatch(name)}
    github.environment |= {"DATABRICKS_CACHE_ENABLED": "false", "UV_PYTHON_DOWNLOADS": "never"}
    given = {"URL": f"{tokens}/github?api-version=2.0", "TOKEN": TOKEN_OF_THE_JOB}
    job = [part for name, value in given.items() for part in ("--env", f"ACTIONS_ID_TOKEN_REQUEST_{name}={value}")]
    checked = github.run("pull-request", *job, pull_request=request_from())
    assert checked.succeeded, checked.log
    assert len(checked.summaries) == len(TARGETS)
    for summary in checked.summaries:
        assert "    create jobs.inference\n" in summary and "0 to change, 0 to delete" in summary

    released = github.release(*job)
    assert released.succeeded, released.log
    assert github.reached() == STAGING[pattern] + PROD
    check_identities(github, "release-code")
    check_workspace(project.name, pattern, github.lines(), f"grace (v1.2.0, {RUN})")
