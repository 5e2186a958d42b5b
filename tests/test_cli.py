"""The Databricks CLI on the projects: it validates, deploys and runs them against a fake workspace."""

import json
import re
import shutil
import subprocess
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from conftest import Bake
from helpers import CHOICES, COMBINATIONS, PATTERNS, TARGETS, clean_environment, commit, load_bundle, lock, run
from product import answers, covering_pairs
from real_cli import host, hosts, needs_cli

pytestmark = [pytest.mark.slow, needs_cli]


@dataclass(frozen=True)
class Workspace:
    """A project, one target of it, and an empty workspace for that target."""

    project: Path
    target: str
    home: Path
    token: str

    def databricks(self, *arguments: str, fails: bool = False) -> subprocess.CompletedProcess[str]:
        """Run the CLI, and see to it that it succeeds, or fails."""
        environment = clean_environment(
            DATABRICKS_TOKEN=self.token,
            DATABRICKS_CACHE_ENABLED="false",
            HOME=str(self.home),
            USERPROFILE=str(self.home),
        )
        result = subprocess.run(
            ["databricks", *arguments, "--target", self.target],
            cwd=self.project,
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=300,
        )
        assert (result.returncode != 0) == fails, result.stdout + result.stderr
        return result

    def read(self, *arguments: str) -> Any:
        """Return what the CLI prints as JSON."""
        return json.loads(self.databricks(*arguments, "--output", "json").stdout)

    def get(self, path: str) -> Any:
        """Ask the workspace itself."""
        request = urllib.request.Request(host() + path, headers={"Authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


@pytest.fixture(scope="session")
def project_of(bake_anew: Bake) -> Callable[[str], Path]:
    """Return a function that renders a pattern once, for the same workspace three times, and puts it under git."""
    projects: dict[str, Path] = {}

    def make(pattern: str) -> Path:
        if pattern not in projects:
            projects[pattern] = bake_anew(deployment_pattern=pattern, **hosts())
            commit(projects[pattern])
            lock(projects[pattern])
        return projects[pattern]

    return make


@pytest.fixture(
    params=[
        pytest.param((pattern, target), id=f"pattern:{pattern}-target:{target}")
        for pattern in PATTERNS
        for target in TARGETS
    ]
)
def workspace(request: pytest.FixtureRequest, project_of: Callable[[str], Path], tmp_path: Path) -> Workspace:
    pattern, target = request.param
    project = project_of(pattern)
    shutil.rmtree(project / ".databricks", ignore_errors=True)  # what an earlier test deployed to its own workspace
    return Workspace(project, target, tmp_path, f"token-{uuid.uuid4().hex}")


def calm(result: subprocess.CompletedProcess[str]) -> str:
    """Return what the CLI printed, once it is seen that it found nothing to say."""
    printed = result.stdout + result.stderr
    assert not re.search(r"\b(recommendation|warning|error)s?\b", printed, re.IGNORECASE), printed
    return printed


def test_the_cli_has_nothing_to_say(workspace: Workspace) -> None:
    assert f"Target: {workspace.target}" in calm(workspace.databricks("bundle", "validate", "--strict"))
    for command in (("plan",), ("deploy", "--auto-approve"), ("plan",), ("summary",)):
        calm(workspace.databricks("bundle", *command))


def plain(value: Any, resources: dict[str, Any]) -> Any:
    """Return configuration as both readers mean it.

    The CLI leaves references to `resources` open until it deploys, and writes numbers and truth values as text.
    """
    if isinstance(value, dict):
        return {key: plain(element, resources) for key, element in value.items()}
    if isinstance(value, list):
        elements = [plain(element, resources) for element in value]
        keys = ("task_key", "name")
        return sorted(
            elements, key=lambda element: str([element.get(key) for key in keys if key in element] or element)
        )
    text = str(value).lower() if isinstance(value, bool) else str(value)
    text = re.sub(
        r"\$\{resources\.(\w+)\.(\w+)\.(\w+)\}", lambda match: str(resources[match[1]][match[2]][match[3]]), text
    )
    return text.removesuffix(".0") if re.fullmatch(r"\d+\.0", text) else text


def test_the_laptop_reads_the_bundle_as_the_cli_does(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `local/bundle.py` makes of the files is what would be deployed, apart from the prefixes of development."""
    validated = workspace.read("bundle", "validate")
    user = validated["workspace"]["current_user"]
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):  # where the laptop takes the user from
        monkeypatch.setenv(name, user["userName"])
    ours = load_bundle(workspace.project, workspace.target)["resources"]
    theirs = validated["resources"]
    assert {kind: set(found) for kind, found in theirs.items()} == {kind: set(found) for kind, found in ours.items()}

    fields = {
        "jobs": {
            *("name", "description", "tasks", "parameters", "timeout_seconds", "max_concurrent_runs", "queue"),
            *("health", "email_notifications", "tags", "schedule"),
        },
        "schemas": {"name", "catalog_name", "comment", "grants"},
        "registered_models": {"name", "catalog_name", "schema_name", "comment", "lifecycle", "grants"},
        "experiments": {"name"},
    }
    for kind, found in theirs.items():
        for key, resource in found.items():
            compared = {field: resource[field] for field in fields[kind] & resource.keys()}
            if workspace.target == "dev":
                compared["name"] = re.sub(
                    rf"\[dev {user['short_name']}\] |^dev_{user['short_name']}_", "", compared["name"]
                )
                if "tags" in compared:
                    compared["tags"].pop("dev")
            for schedule in (compared.get("schedule", {}), ours[kind][key].get("schedule", {})):
                schedule.setdefault("pause_status", "UNPAUSED") if schedule else None
            expected = {field: ours[kind][key][field] for field in fields[kind] & ours[kind][key].keys()}
            assert plain(compared, ours) == plain(expected, ours), f"{kind}.{key}"


def test_deploys_and_runs(workspace: Workspace) -> None:
    workspace.databricks("bundle", "deploy", "--auto-approve")
    assert "0 to add, 0 to change, 0 to delete" in workspace.databricks("bundle", "plan").stdout

    deployed = workspace.read("bundle", "summary")
    resources, user = deployed["resources"], deployed["workspace"]["current_user"]["short_name"]
    ours = load_bundle(workspace.project, workspace.target)["resources"]
    assert {kind: set(found) for kind, found in resources.items()} == {kind: set(found) for kind, found in ours.items()}
    for kind, found in resources.items():
        for key, resource in found.items():
            assert resource["id"], f"{kind}.{key} has no id after the deployment"
    prefix = f"dev_{user}_" if workspace.target == "dev" else ""
    model = f"{workspace.target}.{prefix}fraud_detection.{prefix}fraud_detection_model"
    assert resources["registered_models"]["model"]["id"] == model

    # Deployed jobs name the deployed resources, with the prefix of development.
    settings = workspace.get(f"/api/2.2/jobs/get?job_id={resources['jobs']['inference']['id']}")["settings"]
    given = {task["task_key"]: task["python_wheel_task"]["named_parameters"] for task in settings["tasks"]}["predict"]
    assert (given["model"], given["schema"]) == (model, resources["schemas"]["schema"]["id"])

    # What is deployed is this project's wheel.
    (wheel,) = (workspace.project / "dist").glob("*.whl")
    artifacts = f"{deployed['workspace']['root_path']}/artifacts/.internal"
    assert wheel.name in workspace.databricks("workspace", "list", artifacts).stdout

    for key, parameters in (("sample_data", "run_date=2026-03-02,rows_per_day=10"), ("inference", "days=3")):
        started = workspace.databricks("bundle", "run", key, "--no-wait", "--params", parameters)
        (run,) = re.findall(r"/runs/(\d+)", started.stdout + started.stderr)
        submitted = workspace.get(f"/api/2.2/jobs/runs/get?run_id={run}")
        assert str(submitted["job_id"]) == str(resources["jobs"][key]["id"])

    # Whoever looks on may look, whoever approves may start jobs and reaches the model, and nobody else may anything.
    allowed = groups_of(workspace, f"jobs/{resources['jobs']['inference']['id']}")
    scientists, approvers = {"data-scientists": "CAN_VIEW"}, {"model-approvers": "CAN_MANAGE_RUN"}
    assert allowed == {"dev": {}, "staging": scientists, "prod": scientists | approvers}[workspace.target]
    schema = workspace.get(f"/api/2.1/unity-catalog/permissions/schema/{resources['schemas']['schema']['id']}")
    granted = {entry["principal"]: set(entry["privileges"]) for entry in schema.get("privilege_assignments", [])}
    assert granted.get("data-scientists") == (
        None if workspace.target == "dev" else {"USE_SCHEMA", "SELECT", "EXECUTE"}
    )
    approved_here = "promotion" in resources["jobs"] and workspace.target == "prod"
    assert granted.get("model-approvers") == ({"USE_SCHEMA"} if approved_here else None)

    # A job that the pattern does not have here cannot be started, by whatever name.
    everything = {"sample_data", "training", "promotion", "inference", "monitoring", "integration_test"}
    for key in sorted(everything - resources["jobs"].keys()):
        refused = workspace.databricks("bundle", "run", key, "--no-wait", fails=True)
        assert f'"{key}" not found' in refused.stdout + refused.stderr


def test_no_deployment_deletes_versions_tables_or_runs(project_of: Callable[[str], Path], tmp_path: Path) -> None:
    """Not even one that says beforehand that it may."""
    project = tmp_path / "project"
    # Without what an earlier test deployed to its own workspace.
    shutil.copytree(project_of("deploy-code"), project, ignore=shutil.ignore_patterns(".databricks"))
    workspace = Workspace(project, "staging", tmp_path, f"token-{uuid.uuid4().hex}")
    workspace.databricks("bundle", "deploy")
    deployment = ("bundle", "deploy", "--auto-approve")
    for name in ("model_name", "schema_name", "catalog"):
        assert "prevent_destroy" in workspace.databricks(*deployment, "--var", f"{name}=other", fails=True).stderr, name
    # Its file is gone, but not what protects it.
    (project / "resources" / "model.registered_model.yml").rename(tmp_path / "aside")
    assert "prevent_destroy" in workspace.databricks(*deployment, fails=True).stderr
    (tmp_path / "aside").rename(project / "resources" / "model.registered_model.yml")
    assert "0 to add, 0 to change, 0 to delete" in workspace.databricks("bundle", "plan").stdout
    # What docs/switching.md says instead: the old model stays, beside the new one.
    workspace.databricks("bundle", "deployment", "unbind", "model")
    assert "0 deleted" in workspace.databricks("bundle", "deploy", "--var", "model_name=other").stderr
    for name in ("fraud_detection_model", "other"):
        assert workspace.get(f"/api/2.1/unity-catalog/models/staging.fraud_detection.{name}")["name"] == name


def groups_of(workspace: Workspace, what: str) -> dict[str, str]:
    """Return what groups may do with a job or an experiment; admins, who may do everything, are left out."""
    entries = workspace.get(f"/api/2.0/permissions/{what}").get("access_control_list", [])
    return {
        entry["group_name"]: entry["all_permissions"][0]["permission_level"]
        for entry in entries
        if entry.get("group_name", "admins") != "admins"
    }


def test_one_group_may_look_on_and_approve(bake_anew: Bake, tmp_path: Path) -> None:
    group = {"data_scientists_group": "everybody", "model_approvers_group": "everybody"}
    project = bake_anew(deployment_pattern="hybrid", **group, **hosts())
    commit(project)
    lock(project)
    workspace = Workspace(project, "prod", tmp_path, f"token-{uuid.uuid4().hex}")
    calm(workspace.databricks("bundle", "deploy", "--auto-approve"))
    assert "0 to add, 0 to change, 0 to delete" in workspace.databricks("bundle", "plan").stdout
    job = workspace.read("bundle", "summary")["resources"]["jobs"]["promotion"]["id"]
    assert groups_of(workspace, f"jobs/{job}") == {"everybody": "CAN_MANAGE_RUN"}


@pytest.mark.parametrize("compute", CHOICES["compute"])
def test_people_get_what_they_need_and_no_more(compute: str, bake_anew: Bake, tmp_path: Path) -> None:
    """Jobs run the wheel, so staging and prod get no file. In dev there is a notebook, and the package it installs."""
    project = bake_anew(compute=compute, **hosts())
    commit(project)
    lock(project)
    for target in TARGETS:
        workspace = Workspace(project, target, tmp_path, f"token-{uuid.uuid4().hex}")
        workspace.databricks("bundle", "deploy", "--auto-approve")
        state = project / ".databricks" / "bundle" / target / "deployment.json"
        sent = {file["local_path"] for file in json.loads(state.read_text(encoding="utf-8"))["files"] or []}
        if target != "dev":
            assert sent == set()
            continue
        files = {"databricks.yml", "hatch_build.py", "pyproject.toml", "uv.lock"}
        assert {name.split("/")[0] for name in sent} == {"notebooks", "resources", "src"} | files
        for name in sent:  # as far as the notebook sees them, which says `%pip install ..`
            (tmp_path / "files" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(project / name, tmp_path / "files" / name)
        built = run("uv", "build", "--wheel", "--out-dir", tmp_path / "dist", cwd=tmp_path / "files")
        assert built.returncode == 0, built.stdout
        (wheel,) = (tmp_path / "dist").glob("*.whl")
        (deployed,) = (project / "dist").glob("*.whl")
        assert ZipFile(wheel).namelist() == ZipFile(deployed).namelist()


@pytest.mark.parametrize("combination", covering_pairs(), ids=lambda combination: "-".join(combination.values()))
def test_every_pair_of_answers_is_deployed_and_destroyed(
    combination: dict[str, str], bake_anew: Bake, tmp_path: Path
) -> None:
    # The package index of that organisation is nowhere; test_organisation.py has one that answers.
    project = bake_anew(**answers(combination) | hosts() | {"package_index": ""})
    commit(project)
    lock(project)
    shared = f"token-{uuid.uuid4().hex}"
    workspaces = [
        Workspace(project, target, tmp_path, shared if combination["workspaces"] == "one" else f"{shared}-{target}")
        for target in TARGETS
    ]
    for workspace in workspaces:
        calm(workspace.databricks("bundle", "validate", "--strict"))
        plan = workspace.databricks("bundle", "plan").stdout
        (wanted,) = re.findall(r"Plan: (\d+) to add, 0 to change, 0 to delete", plan)
        deployed = calm(workspace.databricks("bundle", "deploy", "--auto-approve"))
        assert f"{wanted} created, 0 changed, 0 deleted" in deployed
        assert "0 to add, 0 to change, 0 to delete" in workspace.databricks("bundle", "plan").stdout

    # Nothing of one target took the place of another's, be it in the same workspace.
    for workspace in workspaces:
        assert "0 to add, 0 to change, 0 to delete" in workspace.databricks("bundle", "plan").stdout

    protected = project / "resources" / "protected.yml"
    text = protected.read_text(encoding="utf-8")
    for workspace in workspaces:
        if workspace.target != "dev":
            refused = workspace.databricks("bundle", "destroy", "--auto-approve", fails=True)
            assert "prevent_destroy" in refused.stdout + refused.stderr
            protected.write_text(text.replace("prevent_destroy: true", "prevent_destroy: false"), encoding="utf-8")
        workspace.databricks("bundle", "destroy", "--auto-approve")
        protected.write_text(text, encoding="utf-8")
        assert not [key for key, resource in resources_of(workspace) if "id" in resource]
    for token in {workspace.token for workspace in workspaces}:
        assert not replace(workspaces[0], token=token).get("/api/2.2/jobs/list").get("jobs")


def resources_of(workspace: Workspace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each resource of the bundle by its key; one that is deployed has an id."""
    for resources in workspace.read("bundle", "summary")["resources"].values():
        yield from resources.items()


def test_the_documents_name_commands_and_flags_that_the_cli_has(bake: Bake) -> None:
    found: dict[tuple[str, ...], str] = {}
    for combination in COMBINATIONS:
        project = bake(**combination)
        for page in (project / "README.md", *(project / "docs").glob("*.md")):
            for block in re.findall(
                r"^```shell\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
            ):
                for line in block.splitlines():
                    if line.startswith("databricks "):
                        words = re.sub(r'"[^"]*"|<[^>]*>', "VALUE", line).split()[1:]
                        found[tuple(words)] = page.name
    assert len(found) > 20
    helps: dict[tuple[str, ...], str] = {}
    for words, page in found.items():
        names = []
        for word in words:
            if not re.fullmatch(r"[a-z-]+", word) or word.startswith("-"):
                break
            names.append(word)
        for length in range(len(names), 0, -1):  # what follows the name of the command are its arguments
            command = tuple(names[:length])
            if command not in helps:
                shown = subprocess.run(["databricks", *command, "--help"], capture_output=True, text=True, timeout=60)
                helps[command] = shown.stdout
            if f"databricks {' '.join(command)} " in helps[command]:
                break
        else:
            raise AssertionError(f"{page}: there is no command databricks {' '.join(words)}")
        for flag in (word for word in words if word.startswith("--")):
            assert re.search(rf"(^|\s){flag}\b", helps[command]), f"{page}: databricks {' '.join(words)}: {flag}"
