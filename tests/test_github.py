"""What GitHub alone has: its pages and comments, signatures, and what act does not enforce, which is read from files.

What a release calls is the same with every provider: see test_releases.py.
"""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Bake
from helpers import PATTERNS, ROOT, TARGETS, YAMLLINT, commit, every_pattern, need, run
from on_github import ADDRESS, KEPT, STARTED, WHEEL_SHA256, GitHub, put_on_github, request_from, steps_of, workflows
from stand_in import EVIDENCE, INJECTION

RECEIVING = ("deploy-model", "hybrid")
CODE_OF = ("deploy-code", "deploy-model")


@pytest.fixture
def github(bake: Bake, pattern: str, tmp_path: Path) -> GitHub:
    github = put_on_github(bake(deployment_pattern=pattern, ci_provider="github-actions"), tmp_path)
    for target in TARGETS:
        github.answer(f"bundle plan --target {target}", f"create jobs.`x`\n```\n\x1b### of {target}\n")
    return github


# Run


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
def test_the_plans_stand_on_the_page_of_the_run(github: GitHub) -> None:
    result = github.run("pull-request", pull_request=request_from())
    assert set(result.jobs) == {"code", "comment", *(f"bundle-{target}" for target in TARGETS)}
    assert sorted(summary.splitlines()[0] for summary in result.summaries) == [
        f"### What a first deployment to {target} would make" for target in sorted(TARGETS)
    ]


@pytest.mark.parametrize("pattern", ["hybrid"])
def test_a_failed_check_is_seen(github: GitHub) -> None:
    for failing in ("uv sync", "ruff check", "ruff format", "mypy", "pytest", "validate --strict"):
        github.fail(failing)
        result = github.run("pull-request", pull_request=request_from())
        assert not result.succeeded and "failure" in result.jobs.values(), failing


# Stands in for `ml-template update`: it makes a branch, and says what it brings.
UPDATE = """\
#!/usr/bin/env bash
set -e
echo "uv $*" >> "$HOME/called"
git checkout --quiet -b template-update-9.9.9
echo "more" >> "{changes}"
git commit --quiet --all --message "Update from template 0.1.0 to 9.9.9"
git checkout --quiet -
echo "What changed" > dist/description.md
exit 3
"""


@pytest.mark.parametrize("pattern", ["hybrid"])
def test_an_update_of_the_template_is_proposed(github: GitHub, tmp_path: Path) -> None:
    origin = tmp_path / "origin.git"
    for command in (("init", "--bare", "--quiet", origin), ("remote", "add", "origin", origin)):
        assert run("git", *command, cwd=github.project).returncode == 0
    record = {"template": "https://example.com/template.git", "commit": "c0ffee"}
    (github.project / ".cruft.json").write_text(json.dumps(record), encoding="utf-8")
    commit(github.project)

    def proposed(changes: str) -> list[str]:
        (github.bin / "uv").write_text(UPDATE.replace("{changes}", changes), encoding="utf-8")
        result = github.run("template-update", inputs={})
        assert result.succeeded, result.log[-3000:]
        return [call.line for call in github.calls if call.line.startswith("gh ") and "setup-git" not in call.line]

    assert proposed("README.md") == [], "it is off"
    github.variables["TEMPLATE_UPDATES"] = "on"
    title = "--title Update from template 0.1.0 to 9.9.9 --body-file description.md"
    assert proposed("README.md") == [f"gh pr create --head template-update-9.9.9 {title}"]
    assert "9.9.9" in run("git", "log", "-1", "--format=%s", "template-update-9.9.9", cwd=origin).stdout
    called = (tmp_path / "home" / "called").read_text(encoding="utf-8")
    command = "uv tool run --from git+https://example.com/template.git@c0ffee ml-template update --no-input --test"
    assert called == f"{command} --description dist/description.md\n"
    assert proposed("README.md") == [], "it is proposed already"

    assert run("git", "branch", "-D", "template-update-9.9.9", cwd=origin).returncode == 0
    *_, issue = proposed(".github/workflows/operate.yml")
    assert issue == f"gh issue create {title}"
    assert run("git", "branch", "--list", cwd=origin).stdout == ""


@pytest.mark.parametrize("pattern", CODE_OF)
def test_the_reviewers_of_a_tag_see_what_is_released(github: GitHub) -> None:
    (summary,) = github.release_tag().summaries
    assert "    tag           v1.2.0\n" in summary and f"    wheel         sha256 {WHEEL_SHA256}\n" in summary


@pytest.mark.parametrize("pattern", CODE_OF)
def test_a_wheel_that_was_tampered_with_is_not_deployed(github: GitHub, pattern: str) -> None:
    staging, prod = github.code(pattern)[0], "databricks bundle deploy --target prod"
    attacks = [
        "echo more >> dist/fraud-0.1.0-py3-none-any.whl",
        "echo other > dist/fraud-9.9.9-py3-none-any.whl",  # another one beside it
        "mv dist/*.whl dist/fraud-9.9.9-py3-none-any.whl; echo x >> dist/*.whl",
        "rm dist/*.whl",
    ]
    for attack in attacks:
        github.tamper(attack)
        assert not github.push().succeeded, attack
        assert github.commands() == [staging]  # the CLI is called, and ends at the check
    github.tamper("true")
    assert github.push().succeeded
    for attack in attacks:
        github.tamper(f'if [ "$GITHUB_JOB" = prod ]; then {attack}; fi')  # after the reviewers have seen it
        assert github.to_prod().jobs["prod"] == "failure", attack
        assert github.commands() == [prod]


@pytest.mark.parametrize("pattern", ["hybrid"])
def test_a_long_plan_fits_into_the_comment(github: GitHub) -> None:
    github.answer("bundle plan --target dev", "create a job\n" * 9999)
    result = github.run("pull-request", "--matrix", "target:dev", pull_request=request_from())
    assert result.succeeded, result.log
    (comment,) = [call for call in github.calls if call.line.startswith("gh ")]
    assert 20_000 < len(comment.input) < 65536 / len(TARGETS)


@pytest.mark.parametrize("pattern", CODE_OF)
def test_only_what_github_signed_is_deployed(github: GitHub, pattern: str) -> None:
    github.variables["ATTEST_BUILDS"] = "true"
    assert github.release_tag().succeeded
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
    assert not github.release_tag().succeeded
    assert github.commands() == []


@pytest.mark.parametrize("pattern", CODE_OF)
def test_a_program_that_was_tampered_with_does_not_run(github: GitHub, pattern: str) -> None:
    github.offer_cli("touch $HOME/hacked")
    assert not github.release_tag().succeeded
    assert github.commands() == []
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
    assert "--version 12" in github.commands()[-1]
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
def test_the_reviewers_of_a_model_see_what_is_released(github: GitHub) -> None:
    (summary,) = github.run("release-model", inputs={}).summaries
    assert summary.splitlines() == [
        "### What reaches prod if you approve: version 12 of staging, and nothing else",
        *("", "    version   12", f"    evidence  {EVIDENCE}"),
    ]


@pytest.mark.parametrize("pattern", ["deploy-model"])
@pytest.mark.parametrize("kind", ["code", "model"])
def test_an_approval_counts_for_one_attempt(github: GitHub, kind: str) -> None:
    """What an attempt without one comes to is tested for every provider."""

    def recorded() -> str:
        assert github.again(kind).succeeded
        changes = [call for call in github.calls if re.search("(deploy|promote) .*--target prod", call.line)]
        return "".join(call.line + call.environment.get("BUNDLE_VAR_code_approved_by", "") for call in changes)

    assert github.release(kind).succeeded
    github.attempt = 2
    github.tried(1, 2)
    github.approved(("grace", "prod", "approved"), ("alan", "prod", "approved"))
    change = recorded()
    assert "alan" in change and "attempt 2 by bob" in change and "started by ada" in change
    github.approved(("eve", "prod", "rejected"), ("grace", "prod", "approved"))
    github.tried(None, 2)  # a rejected attempt never began
    assert "grace" in recorded()

    # Where prod has no reviewers an admin says so, and nobody is called approver.
    github.attempt = 1
    github.approved()
    github.protected("branch_policy")
    github.variables["APPROVAL_REQUIRED"] = "false"
    change = recorded()
    assert f"nobody ({STARTED})" in change and "grace" not in change


@pytest.mark.parametrize("pattern", RECEIVING)
def test_reviewers_see_what_is_released_or_nothing_is(github: GitHub) -> None:
    github.answer("models show --target staging --version 12\n", "version   12\nevidence  of something else\n")
    assert github.run("release-model", inputs={}).jobs == {"staging": "failure"}


@pytest.mark.parametrize("pattern", ["hybrid"])
def test_a_rollback_names_who_ran_it_again(github: GitHub) -> None:
    github.attempt = 2
    github.run("operate", inputs={"target": "prod", "command": "rollback", "reason": "worse"})
    assert github.commands() == ["models rollback --by ada, attempt 2 by bob --reason worse --target prod"]


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
    assert set(parsed) == {"operate", "pull-request", "release-code", "release-prod", "template-update"} | (
        {"release-model"} if pattern in RECEIVING else set()
    )
    # GitHub takes this workflow from main, whatever was pushed.
    assert parsed["release-prod"]["on"] == {"workflow_run": {"workflows": ["release-code"], "types": ["completed"]}}
    assert parsed["pull-request"]["on"] == {"pull_request": {"branches": ["main"]}}
    # A change of documents alone releases nothing.
    ignored = ["**.md", "docs/**", "notebooks/**", ".devcontainer/**", ".vscode/**", ".github/dependabot.yml"]
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
            needed |= {"pull-requests": "write"} if "gh pr" in scripts_of(job) else {}
            needed |= {"contents": "write"} if "git push" in scripts_of(job) else {}
            needed |= {"issues": "write"} if "gh issue create" in scripts_of(job) else {}
            assert job["permissions"] == needed, where
            # A token that can write never meets code of a request or of the template.
            if "pull-requests" in needed:
                assert not re.search(r"\b(uv|python3?|pip|bash|source) ", scripts_of(job)), where
                assert not [step for step in job["steps"] if step.get("uses", "").startswith("$/")], where
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
def test_updates_of_the_template_are_off_until_somebody_wants_them(parsed: dict[str, Any]) -> None:
    jobs = parsed["template-update"]["jobs"]
    assert jobs["make"]["if"] == "vars.TEMPLATE_UPDATES == 'on'"
    assert jobs["propose"]["needs"] == "make"


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
    used = 0
    for path in sorted((repository / ".github").rglob("*.yml")):
        for line in (line for line in path.read_text(encoding="utf-8").splitlines() if "uses:" in line):
            used += 1
            assert re.fullmatch(
                r"\s*(- )?uses: ([\w-]+/[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+|\$/\.github/actions/[\w-]+)", line
            ), (path, line)
    assert used >= 5


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
