"""What GitLab alone has: who is recorded, what waits, and what gitlab-ci-local ignores, which is read from the files.

What a release calls is the same with every provider: see test_releases.py.
"""

import hashlib
import io
import json
import os
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Bake
from helpers import PATTERNS, YAMLLINT, commit, need, offer_uv, run
from on_gitlab import JOB, TAG, GitLab, by, put_on_gitlab, read
from release_contract import APPROVAL
from stand_in import EVIDENCE, StandIns

MODEL = {"ACTION": "release-model", "VERSION": "5"}


# Run


@pytest.fixture
def gitlab(pattern: str, bake: Bake, tmp_path: Path) -> GitLab:
    return put_on_gitlab(bake(deployment_pattern=pattern, ci_provider="gitlab-ci"), tmp_path)


@pytest.mark.parametrize("pattern", ["deploy-model"])
def test_what_changes_prod_waits_for_somebody_to_start_it(gitlab: GitLab) -> None:
    code, model = gitlab.code("deploy-model"), gitlab.model("deploy-model", "5")
    assert gitlab.run(**TAG).commands == code[: code.index(APPROVAL)]
    assert gitlab.run(**MODEL).commands == model[: model.index(APPROVAL)]
    assert gitlab.run(ACTION="status", TARGET="prod").commands == []


@pytest.mark.parametrize("pattern", ["deploy-code"])
def test_whoever_started_the_pipeline_does_not_approve_it(gitlab: GitLab) -> None:
    gitlab.knows.player = "ada"
    said = gitlab.release("code").said
    assert "ada started this pipeline, and nobody else approved it. Let somebody else who may deploy" in said


@pytest.mark.parametrize("pattern", ["hybrid"])
def test_who_is_recorded_as_approver(gitlab: GitLab) -> None:
    def recorded(**variables: str) -> str:
        ran = gitlab.run("prod", **TAG, **variables)
        assert ran.succeeded, ran.said
        return str(gitlab.calls[-2].environment["BUNDLE_VAR_code_approved_by"]).removesuffix(f" (v1.2.0, {JOB})")

    assert recorded(GITLAB_USER_LOGIN="mallory") == "grace", "who the token belongs to"
    gitlab.knows.approvals = [by("alan", 1, status="approved"), by("joan", 2, status="approved")]
    assert recorded() == "alan, joan", "who approved, where GitLab asks for approvals"
    gitlab.knows.player, gitlab.knows.approvals = "ada", []
    assert recorded(APPROVAL_REQUIRED="false") == "nobody (started by ada)"


@pytest.mark.parametrize("pattern", ["hybrid"])
def test_a_tag_beside_main_is_refused(gitlab: GitLab) -> None:
    gitlab.leave_main()
    assert "is not on main, so nobody reviewed it" in gitlab.run(**TAG).said


@pytest.mark.parametrize("pattern", ["hybrid"])
def test_a_version_that_changes_while_it_is_shown_is_named(gitlab: GitLab) -> None:
    gitlab.answer("--field evidence", "cd" * 32 + "\n")
    assert "changed while it was shown" in gitlab.run(**MODEL).said


@pytest.mark.parametrize("pattern", ["hybrid"])
def test_text_of_a_model_cannot_fold_the_log(gitlab: GitLab) -> None:
    text = "section_start:1:evil\r\033[0Kevil\n"
    gitlab.answer("models status", text)
    gitlab.answer("show --target", text + EVIDENCE + "\n")
    for variables in (MODEL, {"ACTION": "status", "TARGET": "staging"}):
        assert "section_start:1:evil[0Kevil" in gitlab.run(**variables).said


# Stands in for `ml-template update`: it makes a branch.
UPDATE = """\
#!/usr/bin/env bash
set -e
[[ "$*" == *"ml-template update"* ]] || exit 0
echo "uv $*" >> "$CALLED"
git checkout --quiet -b template-update-9.9.9
git commit --quiet --allow-empty --message "Update from template 0.1.0 to 9.9.9"
git checkout --quiet -
exit 3
"""


@pytest.mark.parametrize("pattern", ["hybrid"])
def test_an_update_of_the_template_is_proposed(gitlab: GitLab, tmp_path: Path) -> None:
    origin = tmp_path / "origin.git"
    hook = origin / "hooks" / "post-receive"
    assert run("git", "init", "--bare", "--quiet", str(origin), cwd=tmp_path).returncode == 0
    assert run("git", "config", "receive.advertisePushOptions", "true", cwd=origin).returncode == 0
    hook.write_text('#!/bin/sh\necho "$GIT_PUSH_OPTION_0" > options\n', encoding="utf-8")
    hook.chmod(0o755)
    record = {"template": "https://example.com/template.git", "commit": "c0ffee"}
    (gitlab.project / ".cruft.json").write_text(json.dumps(record), encoding="utf-8")
    commit(gitlab.project)
    (gitlab.bin / "uv").write_text(UPDATE, encoding="utf-8")
    gitlab.environment["CALLED"] = str(tmp_path / "called")
    gitlab.variables["CI_REPOSITORY_URL"] = str(origin)

    ran = gitlab.run(ACTION="template-update")

    assert ran.succeeded, ran.said[-3000:]
    assert run("git", "log", "-1", "--format=%s", "template-update-9.9.9", cwd=origin).stdout.endswith("to 9.9.9\n")
    assert (origin / "options").read_text(encoding="utf-8") == "merge_request.create\n"
    called = (tmp_path / "called").read_text(encoding="utf-8")
    assert called == (
        "uv tool run --from git+https://example.com/template.git@c0ffee ml-template update --no-input --test\n"
    )
    assert "is proposed already" in gitlab.run(ACTION="template-update").said


def test_a_schedule_starts_nothing_but_updates_of_the_template(project: Path) -> None:
    config = read(project)
    (rule,) = [rule["if"] for rule in config["workflow"]["rules"] if "schedule" in rule["if"]]
    assert '$ACTION == "template-update"' in rule
    for name, job in jobs_of(config).items():
        conditions = [rule["if"] for rule in job["rules"]]
        pipelines = [text for text in conditions if "merge_request_event" not in text and "CI_COMMIT_TAG" not in text]
        assert all('$ACTION == "' in text or "$ACTION =~ /^(status$|rollback$|run )/" in text for text in pipelines), (
            name
        )


def test_a_deployment_takes_no_other_wheel(bake: Bake, tmp_path: Path) -> None:
    need("bash", "sha256sum", unix="the pipelines")
    command = read(bake(deployment_pattern="hybrid", ci_provider="gitlab-ci"))[".deploy"]["variables"][
        "BUNDLE_VAR_build"
    ]
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


# What gitlab-ci-local ignores is read from the files.


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
    released_by_none = {".devcontainer", ".git", ".vscode", "docs", "notebooks"}
    folders = {path.name for path in project.iterdir() if path.is_dir()} - released_by_none
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
    texts = (path for folder in (".gitlab", "docs") for path in (project / folder).rglob("*.*") if path.is_file())
    for path in (project / ".gitlab-ci.yml", *texts):
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
