"""What Azure DevOps alone has: comments, commands in a log, and what no interpreter enforces, read from the files.

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

import check_jsonschema  # brings the schema of pipelines
import pytest
from azure_pipelines import Pipeline, UnknownConstructError, evaluate, read
from azure_pipelines import Scope as ExpressionScope
from conftest import Bake
from helpers import YAMLLINT, commit, every_pattern, need, offer_uv, run
from jsonschema import Draft7Validator
from on_azure import Azure, put_in_azure
from real_cli import TOKEN_OF_THE_JOB
from release_contract import APPROVAL
from stand_in import EVIDENCE, INJECTION

# What a person types, and what reaches a program: no shell reads it, and Azure DevOps puts no variable into it.
TYPED = f"{INJECTION} $(System.AccessToken) $(Build.BuildId)"
INERT = TYPED.replace("$(", "$ (")
RECEIVING = ("deploy-model", "hybrid")


@pytest.fixture
def azure(bake: Bake, tmp_path: Path, pattern: str) -> Azure:
    return put_in_azure(bake(deployment_pattern=pattern, ci_provider="azure-devops"), tmp_path)


def pipelines(project: Path) -> dict[str, Any]:
    """Return the parsed pipelines by name."""
    return {path.stem: read(path) for path in sorted((project / "azure-pipelines").glob("*.yml"))}


def steps_of(value: Any) -> list[dict[str, Any]]:
    """Return every script step in a parsed pipeline."""
    if isinstance(value, dict):
        own = [value] if "bash" in value else []
        return own + [step for element in value.values() for step in steps_of(element)]
    return [step for element in value for step in steps_of(element)] if isinstance(value, list) else []


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


@pytest.mark.parametrize("pattern", ["deploy-code"])
def test_a_broken_download_of_the_cli_stops_the_run(azure: Azure) -> None:
    azure.answer("_linux_amd64.zip", "something else")
    assert azure.run("release-code").stages["tests"] == "Failed"
    assert azure.reached() == []


@pytest.mark.parametrize("pattern", ["deploy-model"])
def test_the_names_of_a_model_and_a_version_are_inert(azure: Azure) -> None:
    azure.run("release-model", version=TYPED, source_model=TYPED)
    assert azure.commands() == [one for one in azure.model("deploy-model", INERT, "12", INERT) if one != APPROVAL]
    azure.run("operate", command="run training", job_parameters=TYPED)
    assert azure.commands() == []
    azure.run("operate", target="prod", command="rollback", reason=TYPED)
    assert azure.commands() == [f"models rollback --by Ada Example --reason {INERT} --target prod"]
    assert not (azure.here / "hacked").exists()


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


class Exchanged(dict[str, dict[str, bytes]]):
    """Artifacts of a run in which the wheels are others when they are fetched."""

    def __setitem__(self, name: str, files: dict[str, bytes]) -> None:
        files = {file: content + b"evil" * file.endswith(".whl") for file, content in files.items()}
        super().__setitem__(name, files | {"SHA256SUMS": b""})


@pytest.mark.parametrize("pattern", ["deploy-code", "deploy-model"])
def test_another_wheel_than_the_one_that_was_built_is_not_deployed(azure: Azure, pattern: str) -> None:
    azure.artifacts = Exchanged()
    result = azure.run("release-code")
    assert azure.commands() == azure.code(pattern)[:1]
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
    assert azure.commands() == [one for one in azure.model(pattern) if one != APPROVAL]
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


# Stands in for `ml-template update`: it makes a branch.
UPDATE = """\
#!/usr/bin/env bash
set -e
[ -z "${SYSTEM_ACCESSTOKEN:-}" ]
echo "uv $*" >> "$HOME/called"
git checkout --quiet -b template-update-9.9.9
git commit --quiet --allow-empty --message "Update from template 0.1.0 to 9.9.9" --message "What changed"
git checkout --quiet -
exit 3
"""


@pytest.mark.parametrize("pattern", ["hybrid"])
def test_an_update_of_the_template_is_proposed(azure: Azure, tmp_path: Path) -> None:
    origin = tmp_path / "origin.git"
    for command in (("init", "--bare", "--quiet", str(origin)), ("remote", "add", "origin", str(origin))):
        assert run("git", *command, cwd=azure.project).returncode == 0
    record = {"template": "https://example.com/template.git", "commit": "c0ffee"}
    (azure.project / ".cruft.json").write_text(json.dumps(record), encoding="utf-8")
    commit(azure.project)
    (azure.bin / "uv").write_text(UPDATE, encoding="utf-8")
    azure.predefined = {"Build.Repository.ID": "repository"}

    result = azure.run("template-update")

    assert set(result.jobs.values()) == {"Succeeded"}, result.log
    assert (azure.here / "called").read_text(encoding="utf-8") == (
        "uv tool run --from git+https://example.com/template.git@c0ffee ml-template update --no-input --test\n"
    )
    assert run("git", "log", "-1", "--format=%b", "template-update-9.9.9", cwd=origin).stdout == "What changed\n\n"
    (call,) = [call for call in azure.calls if "pullRequests" in call.line]
    assert "--request POST" in call.line
    assert json.loads(call.input) == {
        "sourceRefName": "refs/heads/template-update-9.9.9",
        "targetRefName": "refs/heads/main",
        "title": "Update from template 0.1.0 to 9.9.9",
        "description": "What changed\n\n",
    }
    # The next agent has a clone of its own.
    assert run("git", "branch", "-D", "template-update-9.9.9", cwd=azure.project).returncode == 0
    assert "is proposed already" in azure.run("template-update").log


# What the interpreter does not enforce is read from the files.


@pytest.fixture
def parsed(bake: Bake, pattern: str) -> dict[str, Any]:
    return pipelines(bake(deployment_pattern=pattern, ci_provider="azure-devops"))


@every_pattern
def test_triggers(parsed: dict[str, Any], pattern: str) -> None:
    assert set(parsed) == {"operate", "pull-request", "release-code", "template-update"} | (
        {"release-model"} if pattern in RECEIVING else set()
    )
    assert parsed["release-code"]["trigger"] == {
        "branches": {"include": ["main"]},
        "tags": {"include": ["v*"]},
        "paths": {"exclude": ["*.md", "**/*.md", "docs", "notebooks", ".devcontainer", ".vscode"]},
    }
    (weekly,) = parsed["template-update"]["schedules"]
    assert weekly["branches"] == {"include": ["main"]}
    for name, pipeline in parsed.items():
        assert name == "template-update" or "schedules" not in pipeline
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
        "resources: {}",
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
