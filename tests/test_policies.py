"""The policies of an organisation: every project keeps the default ones, and each edit that breaks one is found."""

import json
import os
import re
import shutil
import sys
from itertools import product
from pathlib import Path
from typing import Any

import check_jsonschema
import pytest
import yaml
from click.testing import CliRunner, Result
from conftest import Bake
from helpers import CHOICES, PATTERNS, RECORD, ROOT, TARGETS, YAMLLINT, commit, load_bundle, need, run
from jsonschema import Draft7Validator
from on_github import action

from ml_template.__main__ import main
from ml_template.policies import DEFAULTS, FAILS, effective_bundle, judge, load_policies
from ml_template.render import Record

PROVIDERS = CHOICES["ci_provider"]


@pytest.fixture(scope="module")
def projects(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Every pattern with every provider."""
    made = {}
    for pattern, provider in product(PATTERNS, PROVIDERS):
        project = tmp_path_factory.mktemp("judged") / "project"
        rendered = bake(deployment_pattern=pattern, ci_provider=provider)
        # What the policies read. A rendering in this process has no record.
        shutil.copytree(rendered, project, ignore=shutil.ignore_patterns("docs", "local", "tests", "*.py"))
        Record("https://example.com/us/template", "0" * 40, {"deployment_pattern": pattern}).write(project)
        made[pattern, provider] = project
    return made


def broken(project: Path, *paths: Path) -> dict[str, list[str]]:
    """Return what breaks each policy in a project, as a person reads it."""
    return {
        result.policy: list(map(str, result.findings))
        for result in judge(project, load_policies(paths))
        if result.result == FAILS
    }


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["policies", *map(str, arguments)], env={"COLUMNS": "80"})


@pytest.mark.parametrize(("pattern", "provider"), list(product(PATTERNS, PROVIDERS)))
def test_a_project_keeps_the_policies(projects: dict[tuple[str, str], Path], pattern: str, provider: str) -> None:
    results = {result.policy: result for result in judge(projects[pattern, provider], load_policies())}
    assert {name: result.findings for name, result in results.items() if result.findings} == {}
    # Nothing is passed for want of files.
    applied = {name for name, result in results.items() if result.result == "passes"}
    assert results.keys() - applied == ({"pinned"} if provider == "none" else set())


# In a project of this pattern and provider, a text in a file becomes another one: what breaks, and what is told.
EDITS = yaml.safe_load((ROOT / "tests" / "policy_edits.yml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: f"{edit['policy']}:{edit['file']}")
def test_an_edit_breaks_a_policy(projects: dict[tuple[str, str], Path], tmp_path: Path, edit: dict[str, Any]) -> None:
    project = shutil.copytree(projects[tuple(edit["project"])], tmp_path / "project")
    file = project / edit["file"]
    text = file.read_text(encoding="utf-8")
    assert edit["old"] in text
    file.write_text(text.replace(edit["old"], edit["new"].replace("<32 hex digits>", "0a" * 16)), encoding="utf-8")
    found = broken(project)
    assert any(edit["told"] in line for line in found[edit["policy"]]), found
    assert found.keys() <= {edit["policy"], "approval"}, found  # a model that nobody waits for breaks two
    assert "0a0a" not in str(found), "a secret is not printed"


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_bundle_is_read_as_the_project_reads_it(bake: Bake, pattern: str) -> None:
    """Which the tests of the bundle compare with the CLI of Databricks."""
    project = bake(deployment_pattern=pattern, ci_provider="none")
    read = effective_bundle(project, project)
    assert read["deployment_pattern"] == pattern
    for target in TARGETS:
        ours, theirs = read["targets"][target], load_bundle(project, target)
        assert ours["mode"] == theirs["mode"]
        jobs = ours["resources"]["jobs"]
        assert jobs.keys() == theirs["resources"]["jobs"].keys()
        for key, job in theirs["resources"]["jobs"].items():
            assert [task["task_key"] for task in jobs[key]["tasks"]] == [task["task_key"] for task in job["tasks"]]
        known = {name: value for name, value in theirs["var"].items() if "${" not in str(ours["variables"][name])}
        assert known == {name: ours["variables"][name] for name in known} and len(known) > 10


def test_an_organisation_changes_and_adds_policies(projects: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    own, more = tmp_path / "own.yml", tmp_path / "more.yml"
    own.write_text(
        """
        deployment-pattern:
          files: {databricks.yml: {properties: {deployment_pattern: {enum: [deploy-code]}}}}
        gate-thresholds:
          files: {src/*/problem/config.yml: true}
        """
    )
    more.write_text(
        """
        name-of-the-package:
          rule: A project is a package of the organisation.
          change: Call the package us-something.
          files:
            pyproject.toml: {properties: {project: {properties: {name: {pattern: ^us-}}}}}
        """
    )
    found = broken(projects["hybrid", "none"], own, more)
    assert found.keys() == {"deployment-pattern", "name-of-the-package"}
    assert found["deployment-pattern"] == ["databricks.yml, deployment_pattern: 'hybrid' is not one of ['deploy-code']"]
    assert not broken(projects["deploy-code", "none"], own)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[", "cannot be read"),
        ("- record", "is no file of policies"),
        ("record: {file: {}}", "The policy record is not complete"),
        ("new: {rule: What holds.}", "The policy new is not complete"),
        ("record: {files: {.cruft.json: {type: text}}}", "The policy record has no valid JSON Schema, at $.type"),
    ],
)
def test_a_file_that_is_none_of_policies_is_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "own.yml").write_text(text)
    result = command("--policies", tmp_path / "own.yml", tmp_path)
    assert result.exit_code == 1 and told in result.output, result.output


def test_the_command_tells_what_to_change(
    projects: dict[tuple[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    good, bad = Path("project"), Path("bad")  # short: a table breaks long ones anywhere
    shutil.copytree(projects["deploy-code", "github-actions"], good)
    shutil.copytree(projects["hybrid", "none"], bad)
    (bad / RECORD).unlink()
    result = command(good)
    assert result.exit_code == 0 and len(re.findall(r" passes ", result.output)) == len(load_policies())
    assert max(map(len, result.output.splitlines())) <= 80

    result = command(good, bad)
    assert result.exit_code == 1
    assert re.search(r"bad +record *$", result.output, re.M) and re.search(r"project +nothing *$", result.output, re.M)
    assert ".cruft.json: the file is missing" in result.output and "Take .cruft.json from the history" in result.output

    results = json.loads(command("--json", "-", bad).output)[str(bad)]
    assert [one["findings"] for one in results if one["result"] == FAILS] == [
        [{"file": ".cruft.json", "where": "", "found": "the file is missing"}]
    ]


def test_projects_of_one_repository_share_its_pipelines(projects: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    for name, pattern in (("churn", "deploy-code"), ("fraud", "hybrid")):
        shutil.copytree(projects[pattern, "github-actions"], tmp_path / name)
    (tmp_path / ".git").mkdir()
    (tmp_path / "churn" / ".github").rename(tmp_path / ".github")
    workflow = tmp_path / ".github" / "workflows" / "pull-request.yml"
    workflow.write_text(re.sub("checkout@[0-9a-f]{40}", "checkout@main", workflow.read_text(encoding="utf-8")))
    results = json.loads(command("--json", "-", tmp_path).output)
    for name in ("churn", "fraud"):
        (pinned,) = (one for one in results[str(tmp_path / name)] if one["policy"] == "pinned")
        assert {one["file"] for one in pinned["findings"]} == {".github/workflows/pull-request.yml"}


def test_gitlab_reads_includes_from_the_root_of_the_repository(
    projects: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    project = shutil.copytree(projects["hybrid", "gitlab-ci"], tmp_path / "fraud")
    (tmp_path / ".git").mkdir()
    for path in (project / ".gitlab-ci.yml", *(project / ".gitlab").glob("*.yml")):
        text = path.read_text(encoding="utf-8").replace("local: .gitlab/", "local: fraud/.gitlab/")
        path.write_text(text.replace("{name: prod,", "{name: fraud-prod,"), encoding="utf-8")
    assert broken(project) == {}
    release = project / ".gitlab" / "release-code.yml"
    release.write_text(release.read_text(encoding="utf-8").replace("approver.py", "other.py"), encoding="utf-8")
    assert broken(project) == {"approval": [".gitlab-ci.yml, prod.script: no line asks who approved"]}


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("databricks.yml", "targets: [", "the file cannot be read"),
        ("databricks.yml", "", "the file cannot be read"),
        ("databricks.yml", "targets: {prod: {variables: {a: '${var.b}', b: '${var.a}'}}}", "'mode' is a required"),
        (".cruft.json", "{", "the file cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_breaks_its_policies(tmp_path: Path, file: str, text: str, told: str) -> None:
    (tmp_path / file).write_text(text)
    assert told in str(broken(tmp_path))


def test_nothing_outside_of_the_repository_is_read(projects: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    """A project that is judged names the files, and whoever judges it has others."""
    project = shutil.copytree(projects["hybrid", "none"], tmp_path / "project")
    (tmp_path / "ours.yml").write_text("targets: {prod: {mode: ours}}")
    bundle = project / "databricks.yml"
    bundle.write_text(bundle.read_text(encoding="utf-8").replace("  - resources/*.yml", "  - ../*.yml"))
    assert "ours" not in str(broken(project))
    bundle.unlink()
    try:
        bundle.symlink_to(tmp_path / "ours.yml")
    except OSError:
        pytest.skip("this user may make no symbolic links")
    assert broken(project)["production-mode"] == ["databricks.yml: the file is missing"]


def test_the_policies_are_written_as_other_yaml() -> None:
    result = run(*YAMLLINT, DEFAULTS, ROOT / "tests" / "policy_edits.yml", cwd=ROOT)
    assert result.returncode == 0, result.stdout


def test_the_page_shows_policies_and_calls_that_work(projects: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    page = (ROOT / "docs" / "fleet.md").read_text(encoding="utf-8")
    own, github, gitlab, azure = re.findall(r"^```yaml\n(.*?)^```", page, re.M | re.S)
    (tmp_path / "own.yml").write_text(own, encoding="utf-8")
    assert {policy.name for policy in load_policies((tmp_path / "own.yml",))} >= {"cost-centre", "record", "approval"}
    found = broken(projects["deploy-model", "none"], tmp_path / "own.yml")
    assert found.keys() == {"deployment-pattern", "record", "cost-centre"}
    assert any("'cost_centre' is a required property" in line for line in found["cost-centre"])

    called = yaml.safe_load(github)["jobs"]["policies"]
    workflow = ROOT / called["uses"].partition("@")[0].removeprefix("us/ml-template/")
    inputs = yaml.load(workflow.read_text(encoding="utf-8"), yaml.BaseLoader)["on"]["workflow_call"]["inputs"]
    assert called["with"].keys() <= inputs.keys()
    (included,) = yaml.safe_load(gitlab)["include"]
    header = next(yaml.safe_load_all((ROOT / included["file"]).read_text(encoding="utf-8")))
    asked = {name for name, about in header["spec"]["inputs"].items() if "default" not in about}
    assert asked <= included["inputs"].keys() <= header["spec"]["inputs"].keys()
    (template,) = yaml.safe_load(azure)["jobs"]
    parameters = yaml.safe_load((ROOT / template["template"].partition("@")[0]).read_text(encoding="utf-8"))[
        "parameters"
    ]
    assert template["parameters"].keys() <= {one["name"] for one in parameters}


# The reusable workflow of each provider


def test_linters_find_nothing(tmp_path: Path) -> None:
    """Also see test_github.py, for all workflows of the template."""
    need("shellcheck")
    files = sorted((ROOT / "pipelines").glob("*.yml"))
    result = run(*YAMLLINT, *files, cwd=ROOT)
    assert result.returncode == 0, result.stdout
    header, gitlab = (ROOT / "pipelines" / "gitlab-policies.yml").read_text(encoding="utf-8").split("\n---\n")
    for number, document in enumerate((header, gitlab)):
        (tmp_path / f"{number}.yml").write_text(document, encoding="utf-8")
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.gitlab-ci"]
    result = run(*check, "--data-transform", "gitlab-ci", tmp_path / "0.yml", tmp_path / "1.yml", cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    # A value of Azure DevOps is text.
    azure = yaml.load((ROOT / "pipelines" / "azure-policies.yml").read_text(encoding="utf-8"), yaml.BaseLoader)
    schema_file = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor" / "azure-pipelines.json"
    schema = Draft7Validator(json.loads(schema_file.read_text(encoding="utf-8")))
    assert [error.message for error in schema.iter_errors(azure)] == []
    github = yaml.safe_load((ROOT / ".github" / "workflows" / "policies.yml").read_text(encoding="utf-8"))
    scripts = [
        "\n".join(yaml.safe_load(gitlab)["policies"]["script"]),
        azure["jobs"][0]["steps"][-1]["bash"],
        github["jobs"]["policies"]["steps"][-1]["run"],
    ]
    for number, script in enumerate(scripts):
        (tmp_path / f"{number}.sh").write_text(script + "\n", encoding="utf-8")
    result = run("shellcheck", "--shell=bash", *sorted(tmp_path.glob("*.sh")), cwd=tmp_path)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("provider", ["github-actions", "gitlab-ci", "azure-devops"])
@pytest.mark.parametrize("mode", ["production", "development"])
def test_a_project_is_judged_by_code_that_is_not_its_own(
    projects: dict[tuple[str, str], Path], tmp_path: Path, provider: str, mode: str
) -> None:
    """The same script of each provider, with what it downloads put in place: GitHub's whole workflow runs in act."""
    need("bash", "git", unix="the scripts of the pipelines")
    project = shutil.copytree(projects["hybrid", provider], tmp_path / "project")
    bundle = project / "databricks.yml"
    bundle.write_text(bundle.read_text(encoding="utf-8").replace("mode: production", f"mode: {mode}"))
    # What would run if it were taken from the project.
    (project / "ml_template").mkdir()
    (project / "ml_template" / "__main__.py").write_text("")
    platform = tmp_path / "platform"
    shutil.copytree(ROOT / "ml_template", platform / "ml_template", ignore=shutil.ignore_patterns("__pycache__"))
    (platform / "own.yml").write_text("own: {rule: R., change: C., files: {databricks.yml: true}}")
    revision = commit(platform)
    programs = tmp_path / "bin"
    programs.mkdir()
    python = f'exec env PYTHONSAFEPATH=1 PYTHONPATH="$spec" COLUMNS=80 {sys.executable} -m ml_template'
    if provider == "gitlab-ci":
        text = (ROOT / "pipelines" / "gitlab-policies.yml").read_text(encoding="utf-8").split("\n---\n")[1]
        script = "\n".join(yaml.safe_load(text)["policies"]["script"]).replace("/tmp/platform", str(tmp_path / "clone"))
        stand_in(programs / "pip", "true")
        stand_in(programs / "ml-template", f'spec="{tmp_path / "clone"}"; {python} "$@"')
        known = {"CI_SERVER_PROTOCOL": "https", "CI_JOB_TOKEN": "token", "CI_SERVER_FQDN": "gitlab.example.com"}
        known |= {"PLATFORM": "us/platform", "COMMIT": revision, "PROJECT": ".", "POLICIES": "own.yml"}
        known |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{platform}.insteadOf"}
        known |= {"GIT_CONFIG_VALUE_0": "https://gitlab-ci-token:token@gitlab.example.com/us/platform.git"}
    else:
        stand_in(programs / "pipx", f'shift 2; spec="$1"; shift 2; {python} "$@"')
        known = {"POLICIES": "own.yml", "PROJECT": ".", "PIPELINE_WORKSPACE": str(tmp_path)}
        text = (ROOT / "pipelines" / "azure-policies.yml").read_text(encoding="utf-8")
        script = yaml.safe_load(text)["jobs"][0]["steps"][-1]["bash"]
    known["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
    if provider == "github-actions":
        need("act")
        actions = tmp_path / "actions"
        actions.mkdir()
        (actions / "action.yml").write_text(action(f'[ "$TO" = project ] || cp -r "{platform}" "$TO"'))
        uses = f"    uses: ./.github/workflows/policies.yml\n    with: {{policies: {known['POLICIES']}}}\n"
        shutil.copy(ROOT / ".github" / "workflows" / "policies.yml", project / ".github" / "workflows")
        (project / ".github" / "workflows" / "call.yml").write_text(f"on: push\njobs:\n  policies:\n{uses}")
        commit(project)
        used = re.findall(r"actions/checkout@\S+", (project / ".github" / "workflows" / "policies.yml").read_text())[0]
        result = run(
            *("act", "push", "--workflows", ".github/workflows/call.yml", "--platform", "ubuntu-24.04=-self-hosted"),
            *("--no-cache-server", "--local-repository", f"{used}={actions}"),
            cwd=project,
            PATH=known["PATH"],
            HOME=str(tmp_path),
        )
    else:
        result = run("bash", "-eo", "pipefail", "-c", script, cwd=project, **known)
    assert (result.returncode == 0) == (mode == "production"), result.stdout
    told = re.sub("\x1b\\[[0-9;]*m", "", result.stdout)
    assert re.search(r"\bown +passes", told) and re.search(r"production-mode +(passes|fails)", told)


def stand_in(path: Path, script: str) -> None:
    """Write a program."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
