"""GitLab as an adapter of `release_contract.py`: runs the rendered pipelines with gitlab-ci-local.

It knows no `workflow`, environments, resource groups or protected tags, and no inputs: the variables that they fill
are set instead. What a job asks of GitLab itself is answered here, over HTTP.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from helpers import SHARED, alone, clean_environment, commit, need, run
from real_cli import OIDC_TOKEN, TOKEN_OF_THE_JOB
from release_contract import VERSION, Provider, Ran
from stand_in import put_program

RUNNER = "gitlab-ci-local@4.70.1"
ORIGIN = "git@gitlab.com:group/project.git"
JOB = "https://gitlab.com/group/project/-/jobs/1"
INSTALLS = ("databricks --version", "pip install")
MERGE_REQUEST = {
    "CI_PIPELINE_SOURCE": "merge_request_event",
    "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "1",
    "CI_MERGE_REQUEST_PROJECT_ID": "1",
    "DATABRICKS_MR_CLIENT_ID": "merge-request-id",
}
TAG = {"CI_COMMIT_TAG": VERSION}


def by(username: str, number: int, **more: Any) -> dict[str, Any]:
    """Return a job or an approval of this person, as GitLab describes it."""
    return {"id": number, "user": {"username": username}, **more}


@dataclass
class Knows:
    """What GitLab knows of the pipeline that runs: ada has started it, and grace starts its jobs for prod."""

    player: str = "grace"
    jobs: list[dict[str, Any]] = field(default_factory=lambda: [by("grace", 30), by("ada", 20), by("ada", 10)])
    approvals: list[dict[str, Any]] = field(default_factory=list)
    broken: bool = False

    def answer(self, path: str, query: dict[str, list[str]]) -> tuple[Any, str]:
        """Return an answer and the number of the next page, of which each holds two entries."""
        running = query.get("environment") == ["prod"] and query.get("status") == ["running"]
        answers = {
            "/job": by(self.player, 30, pipeline={"id": 7}),
            "/projects/1/pipelines/7/jobs": [
                job for job in self.jobs if query.get("include_retried") == ["true"] or not job.get("retried")
            ],
            "/projects/1/deployments": [{"id": 4, "deployable": None}, {"id": 5, "deployable": {"id": 30}}] * running,
            "/projects/1/deployments/5": {"approvals": self.approvals},
        }
        found, page = answers[path], int(query.get("page", ["1"])[0])
        if isinstance(found, dict):
            return found, ""
        return found[2 * page - 2 : 2 * page], str(page + 1) if found[2 * page :] else ""


class Api(ThreadingHTTPServer):
    """GitLab's API, for the token of a job."""

    daemon_threads = True

    def __init__(self, knows: Knows) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.knows, self.address = knows, f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    server: Api

    def do_GET(self) -> None:
        address, knows = urlsplit(self.path), self.server.knows
        allowed = self.headers["JOB-TOKEN"] == TOKEN_OF_THE_JOB and not knows.broken
        self.send_response(200 if allowed else 403)
        content: Any = {}
        if allowed:
            content, following = knows.answer(address.path, parse_qs(address.query))
            self.send_header("X-Next-Page", following)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def runner() -> Path:
    """Return gitlab-ci-local, installed once with npm, which `python tasks.py test` brings."""
    need("bash", "git", "npm", unix="the pipelines")
    folder = SHARED["folder"] / "gitlab-ci-local"
    program = folder / "node_modules" / ".bin" / "gitlab-ci-local"
    with alone(folder):
        if not program.exists():
            command = ("npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", folder, RUNNER)
            if (result := run(*command, cwd=folder)).returncode:
                pytest.skip(f"npm cannot install {RUNNER}: {result.stdout[-300:]}")
    return program


@dataclass
class GitLab(Provider):
    """A project on GitLab: its pipelines, and what they called."""

    approver: ClassVar[str] = "grace"
    reason: ClassVar[str] = JOB
    starter: ClassVar[str] = "ada"
    staged_by: ClassVar[str | None] = "ada"
    names_nobody_where_nothing_trains: ClassVar[bool] = True
    shows_evidence_first: ClassVar[bool] = True
    inputs: ClassVar[bool] = False

    knows: Knows = field(default_factory=Knows)
    environment: dict[str, str] = field(default_factory=dict)  # of the runner
    variables: dict[str, str] = field(default_factory=dict)  # of every pipeline
    runs: int = 0
    file: str = ".gitlab-ci.yml"

    def __post_init__(self) -> None:
        self.api = Api(self.knows)
        Thread(target=self.api.serve_forever, daemon=True).start()

    def run(self, *play: str, **variables: str) -> Ran:
        """Run a pipeline, and the jobs `play` that wait for somebody to start them.

        Args:
            variables: of the pipeline.
        """
        self.forget()
        self.runs += 1
        known = {"DATABRICKS_ACCOUNT_ID": "account", "GITLAB_USER_LOGIN": "ada", "CI_JOB_URL": JOB}
        known |= {"CI_API_V4_URL": self.api.address, "CI_PROJECT_ID": "1", "CI_JOB_TOKEN": TOKEN_OF_THE_JOB}
        if "CI_PIPELINE_SOURCE" not in variables:
            known["DATABRICKS_CLIENT_ID"] = "client-id"
        known |= self.variables | variables
        options = [
            "--file",
            self.file,
            "--force-shell-executor",
            "--shell-isolation",
            "--no-artifacts-to-source",
            "--concurrency",
            "1",
        ]
        options += ["--home", str(self.here), "--state-dir", f".gitlab-ci-local/{self.runs}"]
        options += [part for name, text in known.items() for part in ("--variable", f"{name}={text}")]
        if "CI_PIPELINE_SOURCE" in variables or "CI_COMMIT_TAG" in variables:
            options += ["--unset-variable", "CI_COMMIT_BRANCH"]  # as GitLab does
        if play:
            options += ["--manual", *play]
        result = subprocess.run(
            [str(runner()), *options],
            cwd=self.project,
            env=clean_environment(PATH=self.path, **self.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        return self.ran(result.returncode == 0, result.stdout)

    def commands(self) -> list[str]:
        return [command for command in super().commands() if not command.startswith(INSTALLS)]

    # The events of the contract

    def log_in(self, tokens: str) -> str:
        self.environment = {"HOME": str(self.here), "DATABRICKS_CACHE_ENABLED": "false"}
        self.variables = {"DATABRICKS_OIDC_TOKEN": "token of the job"}
        return OIDC_TOKEN

    def request(self, fork: bool = False) -> Ran:
        return self.run(**MERGE_REQUEST | ({"CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "2"} if fork else {}))

    def push(self) -> Ran:
        return self.run()

    def release(self, kind: str, **asked: str) -> Ran:
        if kind == "code":
            return self.run("prod", **TAG)
        typed = {"version": "champion"} | asked
        return self.run("model-prod", ACTION="release-model", **{name.upper(): text for name, text in typed.items()})

    def operate(self, target: str, command: str, parameters: str = "", reason: str = "") -> Ran:
        typed = {"ACTION": command, "TARGET": target, "PARAMETERS": parameters, "REASON": reason}
        return self.run(f"operate-{target}", **typed)

    def leave_main(self) -> None:
        (self.project / "more.txt").write_text("not on main\n", encoding="utf-8")
        commit(self.project)

    def unapproved(self, kind: str) -> Iterator[str]:
        self.knows.player = "ada"
        yield "who started the pipeline starts the job for prod"
        # A colleague who runs an early job again, and the variables of a pipeline, do not change who that was.
        self.variables["GITLAB_USER_LOGIN"] = "bob"
        self.knows.jobs = [by("ada", 30), by("bob", 21), by("bob", 20), by("ada", 10, retried=True)]
        yield "somebody else ran an early job again"
        # An approval of one's own, and a rejection, are no approval by somebody else.
        self.knows.approvals = [by("ada", 1, status="approved"), by("grace", 2, status="rejected")]
        yield "rejected by others"
        self.knows.player, self.knows.broken = "grace", True
        yield "GitLab does not answer"

    def check_identities(self, request: bool = False) -> None:
        """GitLab gives each environment its own variable, so the names are checked in the files: see test_gitlab.py."""
        for call in self.calls:
            if call.line.startswith(INSTALLS):
                continue
            reaches = call.command.startswith(("databricks ", "models "))
            identity = "merge-request-id" if request else "client-id"
            assert call.environment.get("DATABRICKS_AUTH_TYPE") == ("env-oidc" if reaches else None), call
            if reaches or request:
                assert call.environment.get("DATABRICKS_CLIENT_ID") == (identity if reaches else None), call


def put_on_gitlab(
    rendered: Path, here: Path, real: Mapping[str, str] | None = None, folder: str = "", file: str = ".gitlab-ci.yml"
) -> GitLab:
    """Return a copy of a project below `here`, with a repository on GitLab, and stand-ins for what reaches out.

    Args:
        rendered: the repository.
        folder: of the project in it.
        file: the pipeline that is run.
    """
    runner()
    project, origin = here / "project", here / "project.git"
    shutil.copytree(rendered, project)
    commit(project)
    for arguments in (
        ("branch", "--move", "main"),
        ("clone", "--quiet", "--bare", project, origin),
        ("config", f"url.{origin}.insteadOf", ORIGIN),
        ("remote", "add", "origin", ORIGIN),
        ("fetch", "--quiet", "origin"),
        ("remote", "set-head", "origin", "main"),
    ):
        result = run("git", *arguments, cwd=project)
        assert result.returncode == 0, result.stdout
    gitlab = GitLab(here, project, file=file)
    gitlab.put("databricks", "pip", "uv", real=real)
    put_program(gitlab.bin, "rsync", "rsync.py")  # which gitlab-ci-local calls
    gitlab.answer(INSTALLS[0], f"Databricks CLI v{read(project / folder)['variables']['DATABRICKS_CLI_VERSION']}\n")
    return gitlab


def read(project: Path) -> dict[str, Any]:
    """Return all jobs and settings of the pipelines, with what each job extends laid under it."""
    *_, config = yaml.safe_load_all((project / ".gitlab-ci.yml").read_text(encoding="utf-8"))
    for path in sorted((project / ".gitlab").glob("release-*.yml")):
        jobs = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert not set(jobs) & set(config), path
        config |= jobs

    def whole(job: dict[str, Any]) -> dict[str, Any]:
        names = job.get("extends", [])
        result: dict[str, Any] = {}
        for base in [whole(config[name]) for name in ([names] if isinstance(names, str) else names)] + [job]:
            merged = {key: result[key] | base[key] for key in base if isinstance(result.get(key), dict)}
            result |= base | merged
        return result

    settings = ("default", "include", "spec", "stages", "variables", "workflow")
    return {name: whole(value) if name not in settings else value for name, value in config.items()}
