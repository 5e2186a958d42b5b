"""GitLab CI/CD of a rendered project: every pipeline runs with gitlab-ci-local, and what that ignores is read.

gitlab-ci-local knows no `workflow`, environments, resource groups or protected tags, and no inputs: the variables that
they fill are set instead. What a job asks of GitLab itself is answered here, over HTTP.
"""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from conftest import Bake
from helpers import PATTERNS, YAMLLINT, clean_environment, commit, every_pattern, lock, need, offer_uv, run
from real_cli import TOKEN_OF_THE_JOB, check_workspace, hosted_answers, needs_cli, real_programs
from stand_in import EVIDENCE, StandIns, put_program

RUNNER = "gitlab-ci-local@4.70.1"
MODELS = "uv run --locked --no-default-groups models"
ORIGIN = "git@gitlab.com:group/project.git"
RECEIVES = {"deploy-model", "hybrid"}
MERGE_REQUEST = {
    "CI_PIPELINE_SOURCE": "merge_request_event",
    "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "1",
    "CI_MERGE_REQUEST_PROJECT_ID": "1",
    "DATABRICKS_MR_CLIENT_ID": "merge-request-id",
}
Pipeline = Callable[..., tuple[int, list[str], list[dict[str, Any]], str]]


def by(username: str, number: int, **more: Any) -> dict[str, Any]:
    """Return a job or an approval of this person, as GitLab describes it."""
    return {"id": number, "user": {"username": username}, **more}


@dataclass
class GitLab:
    """What GitLab knows of the pipeline that runs: ada has started it, and grace starts its jobs for prod."""

    url: str
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


@pytest.fixture(scope="session")
def gitlab_server() -> Iterator[tuple[str, list[GitLab]]]:
    """Yield the address of the API, and the list whose last element answers."""
    knows: list[GitLab] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            allowed = self.headers["JOB-TOKEN"] == TOKEN_OF_THE_JOB and not knows[-1].broken
            self.send_response(200 if allowed else 403)
            content: Any = {}
            if allowed:
                content, following = knows[-1].answer(address.path, parse_qs(address.query))
                self.send_header("X-Next-Page", following)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", knows
    server.shutdown()


@pytest.fixture(autouse=True)
def gitlab(gitlab_server: tuple[str, list[GitLab]]) -> GitLab:
    """Return what GitLab knows during this test."""
    url, knows = gitlab_server
    knows.append(GitLab(url))
    return knows[-1]


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return gitlab-ci-local, installed with npm, which `python tasks.py test` brings."""
    need("bash", "git", "npm", unix="the pipelines")
    folder = tmp_path_factory.mktemp("gitlab-ci-local")
    result = run("npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", folder, RUNNER, cwd=folder)
    if result.returncode:
        pytest.skip(f"npm cannot install {RUNNER}: {result.stdout[-300:]}")
    return folder / "node_modules" / ".bin" / "gitlab-ci-local"


@pytest.fixture(scope="session")
def pipeline(
    runner: Path, bake_anew: Bake, tmp_path_factory: pytest.TempPathFactory, gitlab_server: tuple[str, list[GitLab]]
) -> Pipeline:
    """Return a function that runs a pipeline of a pattern: its exit code, the calls, their environments, the log."""
    projects: dict[tuple[str, bool, bool], Path] = {}

    def project_of(pattern: str, reviewed: bool, real: bool) -> Path:
        if (pattern, reviewed, real) not in projects:
            answers = {"deployment_pattern": pattern, "ci_provider": "gitlab-ci"} | (hosted_answers() if real else {})
            project = projects[pattern, reviewed, real] = bake_anew(**answers)
            if real:
                lock(project)
            commit(project)
            origin = tmp_path_factory.mktemp("origin") / "project.git"
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
            if not reviewed:
                (project / "more.txt").write_text("not on main\n", encoding="utf-8")
                commit(project)
        return projects[pattern, reviewed, real]

    def start(
        pattern: str,
        play: tuple[str, ...] = (),
        fail: str = "",
        answers: dict[str, str] | None = None,
        reviewed: bool = True,
        real: bool = False,
        **variables: str,
    ) -> tuple[int, list[str], list[dict[str, Any]], str]:
        project = project_of(pattern, reviewed, real)
        home = tmp_path_factory.mktemp("home")
        stand_ins = StandIns(home)
        stand_ins.put("databricks", "pip", "uv", real=real_programs() if real else {})
        put_program(stand_ins.bin, "rsync", "rsync.py")  # which gitlab-ci-local calls
        installs = ("databricks --version", "pip install")
        stand_ins.answer(installs[0], f"Databricks CLI v{read(project)['variables']['DATABRICKS_CLI_VERSION']}\n")
        if fail:
            stand_ins.fail(fail)
        for part, text in (answers or {}).items():
            stand_ins.answer(part, text)
        known = {"DATABRICKS_ACCOUNT_ID": "account", "GITLAB_USER_LOGIN": "ada"}
        known |= {"CI_API_V4_URL": gitlab_server[0], "CI_PROJECT_ID": "1", "CI_JOB_TOKEN": TOKEN_OF_THE_JOB}
        if "CI_PIPELINE_SOURCE" not in variables:
            known["DATABRICKS_CLIENT_ID"] = "client-id"
        settings = [part for pair in (known | variables).items() for part in ("--variable", "=".join(pair))]
        if "CI_PIPELINE_SOURCE" in variables or "CI_COMMIT_TAG" in variables:
            settings += ["--unset-variable", "CI_COMMIT_BRANCH"]  # as GitLab does
        command = [runner, "--force-shell-executor", "--shell-isolation", "--no-artifacts-to-source", "--home", home]
        command += ["--concurrency", "1", "--state-dir", f".gitlab-ci-local/{home.name}", *settings]
        of_cli = {"HOME": str(home), "DATABRICKS_CACHE_ENABLED": "false"} if real else {}
        if play:
            command += ["--manual", *play]
        result = subprocess.run(
            list(map(str, command)),
            cwd=project,
            env=clean_environment(PATH=stand_ins.path, **of_cli),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        calls = [call for call in stand_ins.calls if not call.line.startswith(installs)]
        return result.returncode, [call.line for call in calls], [call.environment for call in calls], result.stdout

    return start


TESTS = ["uv sync --locked", "uv run pytest"]
BUILD = [
    "uv build --wheel",
    "uv export --quiet --locked --no-default-groups --format cyclonedx1.5 --output-file dist/sbom.json",
]


def code_release(pattern: str) -> list[str]:
    """Return the calls of a code release of a tag, in their order."""
    proof, staging = "databricks bundle run integration_test", "databricks bundle deploy --target staging"
    before = [staging, f"{proof} --target staging"]
    if pattern == "deploy-model":
        before = ["databricks bundle deploy --target dev", f"{proof} --target dev", staging]
    prod = ["databricks bundle deploy --target prod", "databricks bundle summary --target prod"]
    return [*TESTS, *BUILD, *before, *prod]


def model_release(pattern: str) -> list[str]:
    """Return the calls of a model release of version 5, in their order."""
    asked, number = ("5", "5") if pattern == "hybrid" else ("champion", "12")
    return [
        *([] if pattern == "hybrid" else [f"{MODELS} promote --target staging --version 5"]),
        f"{MODELS} show --field version --target staging --version {asked}",
        f"{MODELS} show --field evidence --target staging --version {number}",
        f"{MODELS} show --target staging --version {number}",
        f"{MODELS} promote --target prod --version {number} --evidence {EVIDENCE} --approve --by grace "
        "--reason https://gitlab.com/group/project/-/jobs/1",
    ]


# Run


@every_pattern
def test_a_merge_request_is_checked_and_deploys_nothing(pattern: str, pipeline: Pipeline) -> None:
    code, calls, used, log = pipeline(pattern, **MERGE_REQUEST)
    assert code == 0, log
    checks = ["sync --locked", "run ruff check", "run ruff format --check", "run mypy", "run pytest"]
    assert [call for call in calls if call.startswith("uv ")][:5] == [f"uv {check}" for check in checks]
    of_bundle = [call for call in calls if call.startswith("databricks ")]
    assert sorted(of_bundle) == sorted(
        f"databricks bundle {command} --target {target}"
        for command in ("validate --strict", "plan")
        for target in ("dev", "staging", "prod")
    )
    for call, environment in zip(calls, used, strict=True):
        of_cli = call.startswith("databricks ")
        assert environment.get("DATABRICKS_AUTH_TYPE") == ("env-oidc" if of_cli else None)
        assert environment.get("DATABRICKS_CLIENT_ID") == ("merge-request-id" if of_cli else None)


def test_a_fork_gets_no_identity(pipeline: Pipeline) -> None:
    code, calls, _, log = pipeline("hybrid", **MERGE_REQUEST | {"CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "2"})
    assert code == 0, log
    assert calls and not [call for call in calls if call.startswith("databricks ")]


@every_pattern
def test_main_goes_to_staging(pattern: str, pipeline: Pipeline) -> None:
    code, calls, used, log = pipeline(pattern)
    assert code == 0, log
    assert calls == code_release(pattern)[:-2]
    for call, environment in zip(calls, used, strict=True):
        assert environment.get("DATABRICKS_AUTH_TYPE") == ("env-oidc" if call.startswith("databricks ") else None)


@every_pattern
def test_a_tag_waits_before_prod(pattern: str, pipeline: Pipeline) -> None:
    _, calls, _, _ = pipeline(pattern, CI_COMMIT_TAG="v1.0.0")
    assert calls == code_release(pattern)[:-2]


@every_pattern
def test_a_tag_goes_through_staging_to_prod(pattern: str, pipeline: Pipeline) -> None:
    code, calls, used, log = pipeline(pattern, play=("prod",), CI_COMMIT_TAG="v1.0.0", CI_JOB_URL="https://job")
    assert code == 0, log
    assert calls == code_release(pattern)
    trained = pattern != "deploy-model"
    assert used[-2].get("BUNDLE_VAR_code_approved_by") == ("grace (v1.0.0, https://job)" if trained else None)
    assert "was not fully released" not in log


@every_pattern
def test_what_fails_stops_what_follows(pattern: str, pipeline: Pipeline) -> None:
    whole = code_release(pattern)
    test = next(call for call in whole if "integration_test" in call)
    for failing in ("uv run pytest", test, "databricks bundle deploy --target prod"):
        number = whole.index(failing)
        code, calls, _, log = pipeline(pattern, play=("prod",), fail=failing, CI_COMMIT_TAG="v1.0.0")
        assert code != 0
        assert calls == whole[: number + 1]
        assert ("v1.0.0 was not fully released to prod" in log) == (failing == whole[-2])


def test_a_tag_beside_main_is_refused(pipeline: Pipeline) -> None:
    code, calls, _, log = pipeline("hybrid", play=("prod",), reviewed=False, CI_COMMIT_TAG="v1.0.0")
    assert code != 0
    assert calls == []
    assert "is not on main, so nobody reviewed it" in log


@pytest.mark.parametrize("pattern", sorted(RECEIVES))
def test_a_model_release_deploys_no_code(pattern: str, pipeline: Pipeline) -> None:
    answers = {"ACTION": "release-model", "VERSION": "5", "CI_JOB_URL": "https://gitlab.com/group/project/-/jobs/1"}
    whole = model_release(pattern)
    _, calls, _, _ = pipeline(pattern, **answers)
    assert calls == whole[:-1], "prod waits"
    code, calls, used, log = pipeline(pattern, play=("model-prod",), **answers)
    assert code == 0, log
    assert calls == whole
    assert {environment["DATABRICKS_AUTH_TYPE"] for environment in used} == {"env-oidc"}
    for number, failing in enumerate(whole):
        code, calls, _, log = pipeline(pattern, play=("model-prod",), fail=failing, **answers)
        assert code != 0
        assert calls == whole[: number + 1]
        assert ("was not promoted to prod" in log) == (number == len(whole) - 1)


def test_an_alias_becomes_the_number_that_was_shown(pipeline: Pipeline) -> None:
    for version, number in (("champion", "12"), ("challenger", "13"), ("5", "5")):
        _, calls, _, log = pipeline("hybrid", play=("model-prod",), ACTION="release-model", VERSION=version)
        assert f"models promote --target prod --version {number} " in calls[-1], log


def test_the_model_of_a_developer_can_be_released(pipeline: Pipeline) -> None:
    _, calls, _, log = pipeline("deploy-model", ACTION="release-model", SOURCE_MODEL="dev.dev_ada_s.dev_ada_m")
    assert calls[0].endswith("--version champion --source-model dev.dev_ada_s.dev_ada_m"), log


# What it takes to reach prod

TAG = {"CI_COMMIT_TAG": "v1.0.0"}
MODEL = {"ACTION": "release-model", "VERSION": "5"}
RELEASES = [("deploy-code", "prod", TAG), ("deploy-model", "prod", TAG), ("hybrid", "model-prod", MODEL)]
every_release = pytest.mark.parametrize(("pattern", "job", "release"), RELEASES)


def changes_of_prod(calls: list[str]) -> list[str]:
    return [call for call in calls if "--target prod" in call]


@every_release
def test_whoever_started_the_pipeline_does_not_approve_it(
    pattern: str, job: str, release: dict[str, str], pipeline: Pipeline, gitlab: GitLab
) -> None:
    gitlab.player = "ada"
    code, calls, _, log = pipeline(pattern, play=(job,), **release)
    assert code != 0 and changes_of_prod(calls) == []
    assert "ada started this pipeline, and nobody else approved it. Let somebody else run this job" in log

    # A colleague who runs an early job again, and the variables of a pipeline, do not change who that was.
    gitlab.jobs = [by("ada", 30), by("bob", 21), by("bob", 20), by("ada", 10, retried=True)]
    _, calls, _, log = pipeline(pattern, play=(job,), GITLAB_USER_LOGIN="bob", **release)
    assert changes_of_prod(calls) == [], log

    # An approval of one's own, and a rejection, are no approval by somebody else.
    gitlab.approvals = [by("ada", 1, status="approved"), by("grace", 2, status="rejected")]
    _, calls, _, log = pipeline(pattern, play=(job,), **release)
    assert changes_of_prod(calls) == [], log


@every_release
def test_without_an_answer_of_gitlab_nothing_is_released(
    pattern: str, job: str, release: dict[str, str], pipeline: Pipeline, gitlab: GitLab
) -> None:
    gitlab.broken = True
    code, calls, _, _ = pipeline(pattern, play=(job,), **release)
    assert code != 0 and changes_of_prod(calls) == []


def test_who_is_recorded_as_approver(pipeline: Pipeline, gitlab: GitLab) -> None:
    def recorded(**variables: str) -> str:
        _, calls, used, log = pipeline("hybrid", play=("prod",), CI_JOB_URL="url", **TAG, **variables)
        assert len(changes_of_prod(calls)) == 2, log
        return str(used[-2]["BUNDLE_VAR_code_approved_by"]).removesuffix(" (v1.0.0, url)")

    assert recorded(GITLAB_USER_LOGIN="mallory") == "grace", "who the token belongs to"
    gitlab.approvals = [by("alan", 1, status="approved"), by("joan", 2, status="approved")]
    assert recorded() == "alan, joan", "who approved, where GitLab asks for approvals"
    gitlab.player, gitlab.approvals = "ada", []
    assert recorded(APPROVAL_REQUIRED="false") == "nobody (started by ada)"


def test_a_deployment_builds_nothing_and_takes_no_other_wheel(bake: Bake, pipeline: Pipeline, tmp_path: Path) -> None:
    _, calls, used, log = pipeline("hybrid", play=("prod",), **TAG)
    assert [call for call in calls if call.startswith("uv build")] == [BUILD[0]], log
    assert "DATABRICKS_AUTH_TYPE" not in used[calls.index(BUILD[0])]
    project = bake(deployment_pattern="hybrid", ci_provider="gitlab-ci")
    command = read(project)[".deploy"]["variables"]["BUNDLE_VAR_build"]
    wheel = tmp_path / "dist" / "a.whl"
    wheel.parent.mkdir()
    wheel.write_text("wheel", encoding="utf-8")
    checksum = hashlib.sha256(b"wheel").hexdigest()

    def verified(checksum: str) -> bool:
        return run("bash", "-c", command, cwd=tmp_path, WHEEL_SHA256=checksum).returncode == 0

    assert verified(checksum) and not verified("")
    (wheel.parent / "b.whl").write_text("newer", encoding="utf-8")
    assert not verified(checksum), "the CLI could take either"
    (wheel.parent / "b.whl").unlink()
    wheel.write_text("another", encoding="utf-8")
    assert not verified(checksum)


def test_a_cli_that_is_exchanged_with_its_checksums_is_refused(bake: Bake, tmp_path: Path) -> None:
    need("bash", "sha256sum", unix="the pipelines")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("databricks", "#!/bin/sh\ntouch run\n")
    stand_ins = StandIns(tmp_path)
    stand_ins.put("curl", "databricks", "uname")
    stand_ins.answer("uname", "x86_64\n")
    checksum = hashlib.sha256(archive.getvalue()).hexdigest()
    for name in ("zip", "tar.gz"):
        stand_ins.answer(f"_linux_amd64.{name}", archive.getvalue())
    stand_ins.answer(
        "SHA256SUMS", "".join(f"{checksum}  databricks_cli_1.12.1_linux_amd64.{e}\n" for e in ("zip", "tar.gz"))
    )
    script = bake(ci_provider="gitlab-ci") / ".gitlab" / "install-databricks-cli.sh"
    result = run("bash", script, cwd=tmp_path, PATH=stand_ins.path, DATABRICKS_CLI_VERSION="1.12.1")
    assert result.returncode != 0 and "FAILED" in result.stdout
    assert not list(tmp_path.rglob("run"))


def test_another_uv_than_the_one_that_is_named_is_refused(bake: Bake, tmp_path: Path) -> None:
    """pip itself is offered a package of the right name and version."""
    need("bash", "pip", unix="the pipelines")
    offer_uv(tmp_path)
    project = bake(ci_provider="gitlab-ci")
    (tmp_path / ".gitlab").symlink_to(project / ".gitlab")
    (install,) = read(project)["default"]["before_script"]
    settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}
    result = run("bash", "-eo", "pipefail", "-c", install, cwd=tmp_path, **settings)
    assert result.returncode != 0 and "THESE PACKAGES DO NOT MATCH THE HASHES" in result.stdout


def test_a_version_that_changes_while_it_is_shown_is_not_released(pipeline: Pipeline) -> None:
    for pattern in sorted(RECEIVES):
        other = {"--field evidence": "cd" * 32 + "\n"}
        _, calls, _, log = pipeline(pattern, play=("model-prod",), answers=other, **MODEL)
        assert changes_of_prod(calls) == [] and "changed while it was shown" in log


def test_text_of_a_model_cannot_fold_the_log(pipeline: Pipeline) -> None:
    text = "section_start:1:evil\r\033[0Kevil\n"
    for variables in (MODEL, {"ACTION": "status", "TARGET": "staging"}):
        answers = {"show --target": text + EVIDENCE + "\n", "models status": text}
        _, _, _, log = pipeline("hybrid", answers=answers, **variables)
        assert "section_start:1:evil[0Kevil" in log


@pytest.mark.parametrize("parameters", ["source_table=a.b.c", "days=7,model=evil", "run_date=2026-03-09 x=1", "days"])
def test_operators_set_dates_and_fractions_only(parameters: str, pipeline: Pipeline) -> None:
    answers = {"ACTION": "run training", "TARGET": "prod", "PARAMETERS": parameters}
    code, calls, _, log = pipeline("deploy-code", play=("operate-prod",), **answers)
    assert code != 0 and calls == []
    assert "Only run_date, days and training_fraction can be given here" in log


# What it takes to operate


@pytest.mark.parametrize("target", ["staging", "prod"])
def test_operations_run_one_command(target: str, pipeline: Pipeline) -> None:
    expected = {
        "status": f"{MODELS} status --target {target}",
        "rollback": f"{MODELS} rollback --target {target} --by ada --reason too many (x)",
        "run inference": f"databricks bundle run inference --target {target} --params run_date=2026-03-09,days=7",
    }
    for action, command in expected.items():
        answers = {"ACTION": action, "TARGET": target, "REASON": "too many (x)"}
        answers["PARAMETERS"] = "run_date=2026-03-09,days=7"
        _, calls, _, log = pipeline("hybrid", play=(f"operate-{target}",), **answers)
        assert calls == [command], log
    if target == "prod":
        assert pipeline("hybrid", ACTION="status", TARGET="prod")[1] == [], "prod waits"


@pytest.mark.slow
@needs_cli
@every_pattern
def test_a_release_with_the_cli(pattern: str, pipeline: Pipeline) -> None:
    """The CLI logs in with the token of the job, plans, deploys, and starts the integration test."""
    job = {"DATABRICKS_OIDC_TOKEN": "token of the job", "CI_JOB_URL": "https://job"}
    code, _, _, log = pipeline(pattern, real=True, **MERGE_REQUEST | job)
    assert code == 0, log
    assert "Plan: " in log
    code, calls, _, log = pipeline(pattern, play=("prod",), real=True, CI_COMMIT_TAG="v1.0.0", **job)
    assert code == 0, log
    assert calls == [call for call in code_release(pattern) if call not in BUILD]  # which uv itself does
    (slug,) = set(re.findall(r"\bfraud-[0-9a-f]{8}\b", log))
    check_workspace(slug, pattern, calls, "grace (v1.0.0, https://job)")


# Read


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


@pytest.fixture(params=PATTERNS)
def project(request: pytest.FixtureRequest, bake: Bake) -> Path:
    """Return a project of each pattern with GitLab."""
    return bake(deployment_pattern=request.param, ci_provider="gitlab-ci")


def jobs_of(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: job for name, job in config.items() if isinstance(job, dict) and "script" in job and name[0] != "."}


def test_only_reviewed_code_releases(project: Path) -> None:
    workflow = read(project)["workflow"]
    conditions = [rule["if"] for rule in workflow["rules"]]
    assert all(
        "merge_request_event" in condition
        or "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH" in condition
        or '$CI_COMMIT_REF_PROTECTED == "true"' in condition
        for condition in conditions
    )
    pushes = [rule for rule in workflow["rules"] if '"push"' in rule["if"] and "CI_COMMIT_BRANCH" in rule["if"]]
    folders = {path.name for path in project.iterdir() if path.is_dir()} - {"docs", "notebooks", ".git"}
    for rule in pushes:
        assert {f"{folder}/**/*" for folder in folders} <= set(rule["changes"])
        assert not [path for path in rule["changes"] if path.startswith(("docs", "notebooks")) or path.endswith(".md")]
    assert len(pushes) == 1


def test_deployments_have_their_own_identity_and_wait_for_each_other(project: Path) -> None:
    config = read(project)
    tiers = {"dev": "development", "staging": "staging", "prod": "production"}
    for name, job in jobs_of(config).items():
        text = json.dumps(job["script"])
        if "databricks bundle" not in text and "models " not in text:
            assert "id_tokens" not in job, name
            continue
        assert job["id_tokens"] == {"DATABRICKS_OIDC_TOKEN": {"aud": "$DATABRICKS_ACCOUNT_ID"}}
        assert job["variables"]["DATABRICKS_AUTH_TYPE"] == "env-oidc"
        assert "timeout" in job, f"{name}: a token lives as long as the time limit"
        if name == "bundle":
            assert "environment" not in job and "deploy" not in text
            continue
        environment = job["environment"]
        assert environment["deployment_tier"] == tiers[environment["name"]]
        assert "DATABRICKS_CLIENT_ID" not in job["variables"], "it comes from the environment"
        assert "cache" not in job and "interruptible" not in job
        # A deployment verifies the wheel of `build`, and builds none.
        assert (
            ("BUNDLE_VAR_build" in job["variables"]) == ("bundle deploy" in text) == ("build" in job.get("needs", []))
        )
        if "deploy" in text or "promote" in text:
            assert job["resource_group"] == f"deploy-{environment['name']}"
        if environment["name"] == "prod":
            (rule,) = job["rules"]
            assert (rule["when"], rule["allow_failure"]) == ("manual", False)
        # A release of code and one of a model must not make each other out of date.
        assert environment.get("action") == (None if "bundle deploy" in text else "access"), name
    assert config["default"]["interruptible"] is False
    assert "cache" not in config["default"] and "cache" not in config["tests"]


def subject(environment: dict[str, str], *protected: str) -> str:
    """Return how GitLab's token of a job ends that names this environment: the tier is whatever the job says."""
    is_protected = str(environment["name"] in protected).lower()
    return f"environment_protected:{is_protected}:deployment_tier:{environment['deployment_tier']}"


def test_no_job_outside_prod_can_claim_to_be_of_prod(project: Path) -> None:
    """The environment prod is protected, and no other: so only who may deploy there gets `true`."""
    of_prod = "environment_protected:true:deployment_tier:production"
    for job in jobs_of(read(project)).values():
        if "environment" in job:
            in_prod = job["environment"]["name"] == "prod"
            assert (subject(job["environment"], "prod") == of_prod) == in_prod
    attack = {"name": "staging", "deployment_tier": "production"}
    assert subject(attack, "prod") != of_prod
    assert subject(attack, "prod", "staging") == of_prod, "why staging must not be protected as well"


def test_the_plan_is_shown_on_the_request(project: Path) -> None:
    job = read(project)["bundle"]
    assert any(line.startswith('databricks bundle plan --target "$BUNDLE_TARGET" | ') for line in job["script"])
    assert job["artifacts"]["expose_as"] and job["artifacts"]["paths"] == ["plan.txt"]


def test_inputs_are_values_and_nothing_else(project: Path) -> None:
    header, config = yaml.safe_load_all((project / ".gitlab-ci.yml").read_text(encoding="utf-8"))
    text = (project / ".gitlab-ci.yml").read_text(encoding="utf-8")
    assert len(re.findall(r"\$\[\[", text)) == len(re.findall(r'^  [A-Z_]+: "\$\[\[ inputs\.\w+ \]\]"$', text, re.M))
    for name, given in header["spec"]["inputs"].items():
        assert config["variables"][name.upper()] == f"$[[ inputs.{name} ]]"
        if "options" in given:
            assert given["default"] in given["options"]
            continue
        pattern = given["regex"]
        assert re.fullmatch(pattern, given["default"])
        for character in "\"'$`\\\n:;&|<>{}[]#*!%":
            assert not re.fullmatch(pattern, f"a{character}a"), (name, character)


def test_versions_are_pinned(project: Path) -> None:
    config = read(project)
    assert re.fullmatch(r"python:3\.12-\w+@sha256:[0-9a-f]{64}", config["default"]["image"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", config["variables"]["DATABRICKS_CLI_VERSION"])
    assert not [name for name, job in jobs_of(config).items() if "image" in job]
    install = (project / ".gitlab" / "install-databricks-cli.sh").read_text(encoding="utf-8")
    assert "sha256sum --check --strict" in install and "latest" not in install
    known = re.findall(r"checksum=[0-9a-f]{64} # of v(\S+)", install)
    assert known == [config["variables"]["DATABRICKS_CLI_VERSION"]] * 2


def test_no_secret_is_stored(project: Path) -> None:
    for path in (project / ".gitlab-ci.yml", *(project / ".gitlab").iterdir(), *(project / "docs").glob("*.md")):
        assert not re.search(r"DATABRICKS_TOKEN\b|CLIENT_SECRET|dapi[0-9a-f]", path.read_text(encoding="utf-8")), path


def test_linters_find_nothing(project: Path, tmp_path: Path) -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
    header, pipeline = (project / ".gitlab-ci.yml").read_text(encoding="utf-8").split("\n---\n")
    for number, document in enumerate((header, pipeline)):  # GitLab reads two documents, its schema describes one
        (tmp_path / f"{number}.yml").write_text(document + "\n", encoding="utf-8")
    releases = sorted((project / ".gitlab").glob("*.yml"))
    documents = [tmp_path / "0.yml", tmp_path / "1.yml", *releases]
    for command in (
        [*check, "vendor.gitlab-ci", "--data-transform", "gitlab-ci", *documents],
        [*check, "vendor.renovate", project / "renovate.json"],
        [*YAMLLINT, project / ".gitlab-ci.yml", *releases],
    ):
        result = run(*command, cwd=tmp_path)
        assert result.returncode == 0, result.stdout

    need("shellcheck")
    scripts = {"install": (project / ".gitlab" / "install-databricks-cli.sh").read_text(encoding="utf-8")}
    for name, job in jobs_of(read(project)).items():
        # As the runner joins them.
        scripts[name] = "set -eo pipefail\n" + "\n".join([*job.get("before_script", []), *job["script"]])
        if "after_script" in job:
            scripts[f"{name}-after"] = "\n".join(job["after_script"])
    for name, script in scripts.items():
        (tmp_path / f"{name}.sh").write_text(script + "\n", encoding="utf-8")
    result = run("shellcheck", "--shell=bash", *sorted(tmp_path.glob("*.sh")), cwd=tmp_path)
    assert result.returncode == 0, result.stdout


def test_the_schema_would_find_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "wrong.yml").write_text("job: {script: [true], needz: [other]}\n", encoding="utf-8")
    wrong = run(
        sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.gitlab-ci", "wrong.yml", cwd=tmp_path
    )
    assert "needz" in wrong.stdout
