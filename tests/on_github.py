"""GitHub as an adapter of `release_contract.py`: runs the rendered workflows with act, with stand-ins for programs.

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
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar
from zipfile import ZipFile, ZipInfo

import yaml
from helpers import commit, need, run
from real_cli import OIDC_TOKEN, TOKEN_OF_THE_JOB
from release_contract import VERSION, Provider, Ran
from stand_in import REACHES, put_program

RELEASE = f"refs/tags/{VERSION}"
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


def request_from(repository: str = "example/fraud", **more: str) -> dict[str, Any]:
    """Return the event of a pull request from a branch of `repository`."""
    head = {"sha": "0123abc", "ref": "better", "repo": {"full_name": repository}}
    return {"number": 7, "title": "Better", "head": head, "base": {"ref": "main"}} | more


@dataclass
class GitHub(Provider):
    """A project on GitHub: its workflows, and what they called."""

    approver: ClassVar[str] = "grace"
    reason: ClassVar[str] = RUN
    starter: ClassVar[str] = "ada, attempt 1 by ada"
    staged_by: ClassVar[str | None] = f"nobody ({STARTED})"
    names_nobody_where_nothing_trains: ClassVar[bool] = False
    shows_evidence_first: ClassVar[bool] = False

    environment: dict[str, str] = field(default_factory=dict)  # of the runner
    variables: dict[str, str] = field(default_factory=dict)  # of the repository and its environments
    attempt: int = 1  # of the run
    options: list[str] = field(default_factory=list)  # of act, in every run

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
            *self.options,
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

    def to_prod(self, *options: str, built: bool = True) -> Result:
        """Run what GitHub starts when release-code of the tag has ended.

        Args:
            built: whether that went well.
        """
        head = run("git", "rev-parse", "HEAD", cwd=self.project).stdout.strip()
        ended = {"id": 76, "event": "push", "head_branch": VERSION, "head_sha": head, "actor": {"login": "ada"}}
        ended |= {"head_repository": {"full_name": "example/fraud"}, "html_url": "https://github.com/runs/76"}
        return self.run(
            "release-prod", *options, workflow_run=ended | {"conclusion": "success" if built else "failure"}
        )

    def release_tag(self, *options: str) -> Result:
        """Release a tag: run release-code for it, and what GitHub starts when that has ended."""
        first = self.run("release-code", *options, ref=f"refs/tags/{VERSION}")
        calls = self.here / "calls.jsonl"
        before = calls.read_text(encoding="utf-8") if calls.exists() else ""
        then = self.to_prod(*options, built=first.succeeded)
        calls.write_text(before + (calls.read_text(encoding="utf-8") if calls.exists() else ""), encoding="utf-8")
        return Result(
            first.succeeded and then.succeeded,
            first.jobs | then.jobs,
            first.summaries + then.summaries,
            first.log + then.log,
        )

    # The events of the contract

    def log_in(self, tokens: str) -> str:
        # What uv needs to find its package registry and its cache.
        settings = re.compile(r"(UV|PIP|SSL)_.*|.*_proxy", re.IGNORECASE)
        self.environment = {name: value for name, value in os.environ.items() if settings.fullmatch(name)}
        self.environment |= {"DATABRICKS_CACHE_ENABLED": "false", "UV_PYTHON_DOWNLOADS": "never"}
        given = {"URL": f"{tokens}/github?api-version=2.0", "TOKEN": TOKEN_OF_THE_JOB}
        for name, value in given.items():
            self.options += ["--env", f"ACTIONS_ID_TOKEN_REQUEST_{name}={value}"]
        return OIDC_TOKEN

    def request(self, fork: bool = False) -> Ran:
        result = self.run("pull-request", pull_request=request_from("stranger/fraud" if fork else "example/fraud"))
        return self.ran(result.succeeded, "\n".join([*result.summaries, result.log]))

    def push(self) -> Ran:
        result = self.run("release-code", ref="refs/heads/main")
        return self.ran(result.succeeded, "\n".join(result.summaries))

    def release(self, kind: str, **asked: str) -> Ran:
        result = self.release_tag() if kind == "code" else self.run("release-model", inputs=asked)
        return self.ran(result.succeeded, "\n".join(result.summaries))

    def again(self, kind: str) -> Ran:
        result = self.to_prod() if kind == "code" else self.run("release-model", inputs={})
        return self.ran(result.succeeded, "\n".join(result.summaries))

    def operate(self, target: str, command: str, parameters: str = "", reason: str = "") -> Ran:
        given = {"target": target, "command": command, "parameters": parameters, "reason": reason}
        result = self.run("operate", inputs={name: text for name, text in given.items() if text})
        return self.ran(result.succeeded, result.log)

    def leave_main(self) -> None:
        (self.project / "sneaky.txt").write_text("nobody reviewed this")
        commit(self.project)
        assert run("git", "update-ref", RELEASE, "HEAD", cwd=self.project).returncode == 0

    def unapproved(self, kind: str) -> Iterator[str]:
        ways: dict[str, list[tuple[str, str, str]]] = {
            "an admin let it pass": [],
            "rejected": [("eve", "prod", "rejected")],
            "of another environment": [("eve", "staging", "approved")],
            "pending": [("eve", "prod", "pending")],
            "who started it": [("ada", "prod", "approved")],
        }
        for name, reviews in ways.items():
            self.approved(*reviews)
            yield name
            # A variable that anybody with the right to write may set changes nothing where prod has reviewers.
            self.variables["APPROVAL_REQUIRED"] = "false"
            yield f"{name}, and a variable says that nobody need"
            del self.variables["APPROVAL_REQUIRED"]
        grace = ("grace", "prod", "approved")
        self.approved(grace)
        for unknown in ("/approvals", "/environments/prod", "/jobs?filter=all"):
            self.fail(unknown)
            yield f"no answer for {unknown}"
        self.mend()
        self.attempt = 2
        self.tried(1, 2)
        yield "grace approved the first attempt, and an admin let the second one pass"
        self.approved(grace, ("bob", "prod", "approved"))
        yield "bob ran it again"
        self.attempt = 1
        self.tried(1)
        self.approved()
        self.protected("branch_policy")
        yield "prod has no reviewers"

    def check_identities(self, request: bool = False) -> None:
        """Every call that reaches a workspace comes from a job of its target's environment, and no other logs in."""
        parsed = workflows(self.project)
        for call in self.calls:
            environment = call.environment
            job = parsed[environment["GITHUB_WORKFLOW"]]["jobs"][environment["GITHUB_JOB"]]
            assert "DATABRICKS_TOKEN" not in environment and "DATABRICKS_HOST" not in environment, call
            # The one token that GitHub gives reaches `gh` alone.
            assert environment.get("GH_TOKEN") == (TOKEN_OF_THE_JOB if call.line.startswith("gh ") else None), call
            if not call.line.startswith(REACHES):
                assert call.line.startswith(("gh ", "curl ", "pip ")) or "DATABRICKS_CLIENT_ID" not in environment, call
                continue
            assert environment["DATABRICKS_AUTH_TYPE"] == "github-oidc", call
            if request:
                assert environment["DATABRICKS_CLIENT_ID"] == "identity-of-pull-requests" and "environment" not in job
            else:
                assert environment["DATABRICKS_CLIENT_ID"] == "identity-of-the-environment", call
                target = call.line.split("--target ")[1].split()[0]
                assert job["environment"] in (target, "${{ inputs.target }}"), call


def put_on_github(rendered: Path, here: Path, real: dict[str, str] | None = None, folder: str = "") -> GitHub:
    """Return a copy of a project below `here`, with all that its workflows need, and stand-ins for what reaches out.

    Args:
        rendered: the repository.
        folder: of the project in it.
    """
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
        "actions/upload-artifact": f'cp "${{TO%/}}"/* {here / KEPT}',
        "actions/download-artifact": f"mkdir -p $TO; cp {here / KEPT}/* $TO; cd $TO/..; bash {here / 'tamper'}",
    }
    for name, script in scripts.items():
        (here / "actions" / name).mkdir(parents=True)
        (here / "actions" / name / "action.yml").write_text(action(script))
    github = GitHub(here, project)
    github.put("databricks", "uv", "gh", "curl", "pip", real=real)
    put_program(github.bin, "jq", "jq_program.py")  # which `gh` has inside
    put_program(github.bin, "unzip", "unzip.py")
    pinned = project / folder / ".github" / "actions" / "databricks-cli" / "action.yml"
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
