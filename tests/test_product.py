"""Every combination of the answers that decide about files: its files, its bundle, and that each answer counts.

With WHOLE_PRODUCT set, every combination of all answers, which takes two minutes more.
"""

import ast
import hashlib
import json
import multiprocessing
import re
import shutil
import tomllib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import Bake
from helpers import TARGETS, WHOLE_PRODUCT, bundle_files, files, strings
from product import OPTIONS, answers, combinations, compile_once, part_of_combinations, render
from test_bundle import HAS_SCHEMA, MODELS, complaints, declared, needs_schema, official_schema
from test_rendered import (
    BATCH_FILES,
    CI_FILES,
    DASHBOARD_FILES,
    DEFAULT_FILES,
    REALTIME_FILES,
    RECEIVES,
    RECEIVING_FILES,
)

# What a project has only for some answers, besides the files of test_rendered.py: (option, its answers) -> files.
FILES = {
    ("ci_provider", "azure-devops"): """
        azure-pipelines/approver.sh azure-pipelines/comment.sh azure-pipelines/operate.yml azure-pipelines/plain.sh
        azure-pipelines/propose.sh azure-pipelines/pull-request.yml azure-pipelines/release-code.yml
        azure-pipelines/requirements.txt azure-pipelines/template-update.yml
        azure-pipelines/steps/build.yml azure-pipelines/steps/set-up.yml azure-pipelines/steps/wheel.yml renovate.json
        .azuredevops/pull_request_template.md
    """,
    ("ci_provider", "gitlab-ci"): """
        .gitlab-ci.yml .gitlab/approver.py .gitlab/install-databricks-cli.sh .gitlab/release-code.yml
        .gitlab/requirements.txt .gitlab/template-update.yml .gitlab/merge_request_templates/Default.md renovate.json
    """,
    ("ci_provider", "none"): "release.py",
    ("deployment_pattern", "deploy-model"): "docs/large-network.md",
    ("organisation", "known"): "docs/package-index.md resources/tags.yml",
}
RELEASES_MODELS = {
    "github-actions": {".github/workflows/release-model.yml"},
    "azure-devops": {"azure-pipelines/release-model.yml"},
    "gitlab-ci": {".gitlab/release-model.yml"},
    "none": set(),
}
# What a project has besides that shares its repository with others.
SHARED_REPOSITORY = {
    "github-actions": {"tests/unit/test_placed.py"},
    "azure-devops": set(),
    "gitlab-ci": {".gitlab/repository.yml", ".gitlab/start.yml"},
    "none": set(),
}


@dataclass(frozen=True)
class Rendered:
    """What is left of a project that was rendered, looked at, and deleted."""

    combination: dict[str, str]
    digest: str
    problems: list[str]
    complaints: list[str]  # of the official schema, where there is one


def expected_files(combination: dict[str, str]) -> set[str]:
    ci = combination["ci_provider"]
    found = {name for name in DEFAULT_FILES if not name.startswith(CI_FILES["github-actions"])}
    if ci == "github-actions":
        found |= {name for name in DEFAULT_FILES if name.startswith(CI_FILES[ci])}
    if ci == "none":
        found -= {"docs/cicd-setup.md"}
    if ci in ("none", "azure-devops"):  # they read no file CODEOWNERS
        found -= {"environments/code_owners.py"}
    if combination["deployment_pattern"] in RECEIVES:
        found |= RECEIVING_FILES | RELEASES_MODELS[ci]
    if combination["inference"] == "realtime":
        found -= BATCH_FILES
    if combination["inference"] != "batch":
        found |= REALTIME_FILES
    if combination["dashboard"] == "with":
        found |= DASHBOARD_FILES
    if combination["organisation"] == "known":
        found |= SHARED_REPOSITORY[ci]
    for (option, answer), names in FILES.items():
        if combination[option] == answer:
            found |= set(names.split())
    return found


def parameters_of(module: Path) -> set[str]:
    """Return the parameters of the function that a module is named after: the task."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == module.stem)
    return {argument.arg for argument in function.args.args}


def code_problems(project: Path, resources: dict[str, dict[str, Any]]) -> list[str]:
    """Hold tasks against code: entry points and their parameters exist in both, and job parameters are used."""
    declared_tasks = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    entry_points, used, problems = declared_tasks["tasks"], set(), []
    (package,) = (path.parent for path in project.glob("src/*/__init__.py"))
    for target, found in resources.items():
        for key, job in found["jobs"].items():
            given = {parameter["name"] for parameter in job["parameters"]}
            taken: set[str] = set()
            for task in job["tasks"]:
                if wheel := task.get("python_wheel_task"):
                    name = wheel["entry_point"]
                    used.add(name)
                    if entry_points.get(name) != f"{package.name}.tasks.{name}:main":
                        problems.append(f"{target} {key}: pyproject.toml has no entry point {name}")
                        continue
                    # Databricks hands the parameters of the job to each task that has named ones itself.
                    own, needed = wheel["named_parameters"].keys(), parameters_of(package / "tasks" / f"{name}.py")
                    taken |= needed
                    if not own or not own <= needed <= own | given:
                        problems.append(f"{target} {key}: parameters of {name} differ from its function's")
                if call := task.get("run_job_task"):
                    called = list(found["jobs"].values())[call["job_id"] - 1]  # a number, see `declared`
                    # Databricks adds the parameters of the job itself.
                    handed = call["job_parameters"].keys() | given
                    unknown = handed - {parameter["name"] for parameter in called["parameters"]}
                    problems += [f"{target} {key}.{task['task_key']}: {name} is not declared" for name in unknown]
            asked = set(re.findall(r"\{\{job\.parameters\.(\w+)\}\}", " ".join(text for _, text in strings(job))))
            problems += [f"{target} {key}: parameter {name}" for name in sorted(asked - given | given - asked - taken)]
    return problems + [f"no job uses the entry point {name}" for name in sorted(entry_points.keys() - used)]


def bundle_problems(project: Path, config: dict[str, Any], resources: dict[str, dict[str, Any]]) -> list[str]:
    """Hold the bundle of every target against the typed models, its variables and the code."""
    variables = {name for file in config.values() for name in file.get("variables", {})}
    used = set(re.findall(r"\$\{var\.(\w+)", " ".join(text for _, text in strings(config))))
    problems = [f"variable {name} is not declared, or not used" for name in sorted(variables ^ used)]
    for target, found in resources.items():
        for kind, by_key in found.items():
            for key, resource in by_key.items():
                try:
                    MODELS[kind].from_dict(resource)
                except ValueError as error:
                    problems.append(f"{target} {kind}.{key}: {error}")
    return problems + code_problems(project, resources)


def schema_complaints(config: dict[str, Any], resources: dict[str, dict[str, Any]]) -> list[str]:
    """Hold the bundle files, and the merged resources of every target, against the official schema."""
    merged = [{"bundle": {"name": "project"}, "resources": found} for found in resources.values()]
    return [complaint for part in (*config.values(), *merged) for complaint in complaints(official_schema(), part)]


# Problems and complaints by the digest of bundle and code, which CI providers have in common.
CHECKED: dict[str, tuple[list[str], list[str]]] = {}


def look_at(combination: dict[str, str], folder: Path) -> Rendered:
    """Render one combination, and return what is wrong with it."""
    folder.mkdir()
    project = render(answers(combination), folder)
    content = files(project)
    names = expected_files(combination)
    problems = [f"{name} is missing" for name in sorted(names - content.keys())]
    problems += [f"{name} should not be there" for name in sorted(content.keys() - names)]
    bundle = {name: data for name, data in content.items() if name.startswith(("databricks.yml", "resources/", "src/"))}
    digest = hash_of(bundle)
    if digest not in CHECKED:
        config = bundle_files(project)
        resources = {target: declared(project, target) for target in TARGETS}  # fails on what is not defined
        complaints_of_schema = schema_complaints(config, resources) if HAS_SCHEMA else []
        CHECKED[digest] = bundle_problems(project, config, resources), complaints_of_schema
    shutil.rmtree(folder)
    problems_of_bundle, complaints_of_schema = CHECKED[digest]
    return Rendered(combination, hash_of(content), problems + problems_of_bundle, complaints_of_schema)


def hash_of(content: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, data in content.items():
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> list[Rendered]:
    """The product, rendered in as many processes as there are cores."""
    folder = tmp_path_factory.mktemp("product")
    everything = combinations() if WHOLE_PRODUCT else part_of_combinations()
    folders = [folder / str(number) for number in range(len(everything))]
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(initializer=compile_once, mp_context=fresh) as pool:
        return list(pool.map(look_at, everything, folders, chunksize=24))


def test_every_combination_is_as_it_should_be(rendered: list[Rendered]) -> None:
    broken = {json.dumps(project.combination): project.problems[:5] for project in rendered if project.problems}
    assert not dict(list(broken.items())[:5]), f"{len(broken)} of {len(rendered)} combinations"


@needs_schema
def test_every_combination_follows_the_official_schema(rendered: list[Rendered]) -> None:
    broken = {json.dumps(project.combination): project.complaints[:5] for project in rendered if project.complaints}
    assert not dict(list(broken.items())[:5]), f"{len(broken)} of {len(rendered)} combinations"


def test_every_answer_counts(rendered: list[Rendered]) -> None:
    """Two projects that differ in an answer differ in a file, whatever the other answers are."""
    by_digest: dict[str, list[dict[str, str]]] = {}
    for project in rendered:
        by_digest.setdefault(project.digest, []).append(project.combination)
    assert not [same for same in by_digest.values() if len(same) > 1]
    assert len(rendered) == len({tuple(project.combination.values()) for project in rendered}) >= 144
    assert {option: {project.combination[option] for project in rendered} for option in OPTIONS} == {
        option: set(chosen) for option, chosen in OPTIONS.items()
    }


@pytest.mark.parametrize("number", range(0, len(combinations()), 1307 if WHOLE_PRODUCT else 2614))
def test_rendering_in_process_gives_what_the_command_gives(number: int, bake: Bake, bake_anew: Bake) -> None:
    given = answers(combinations()[number])
    assert files(bake(**given)) == files(bake_anew(**given))
