"""The files of a rendered project: which there are, and that each is clean."""

import ast
import fnmatch
import json
import re
import shutil
import subprocess
import sys
import tomllib
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Bake
from cookiecutter.main import cookiecutter
from golden_tree import GOLDEN
from helpers import (
    CHOICES,
    COOKIECUTTER,
    PATTERNS,
    ROOT,
    TEMPLATE,
    YAMLLINT,
    every_combination,
    files,
    render_hook,
    run,
)
from product import context_of

OPTIONS = TEMPLATE / "_options"
# Whoever adds a file sees it in the review of tests/golden.
DEFAULT_FILES = set(files(GOLDEN / "default"))
# What a project has where an environment receives its model, and no other has.
RECEIVING_FILES = {
    "docs/promotion.md",
    "local/release_story.py",
    "resources/promotion.job.yml",
    "src/fraud_detection/approval.py",
    "src/fraud_detection/drift_alarm.py",
    "src/fraud_detection/receive.py",
}
RECEIVES = {"deploy-model", "hybrid"}
# What scores tables, and what serves requests.
BATCH_FILES = {"docs/scoring.md", "src/fraud_detection/predict.py", "tests/unit/test_predict.py"}
REALTIME_FILES = {
    *("docs/serving.md", "local/serving.py", "local/serving_story.py"),
    *(f"src/fraud_detection/{name}.py" for name in ("ask_endpoint", "check_endpoint", "collect", "serving")),
    *("tests/unit/test_collect.py", "tests/unit/test_serving.py"),
}
# How the paths of a CI provider's files begin.
CI_FILES = {
    "github-actions": (".github/",),
    "azure-devops": ("azure-pipelines", ".azure"),
    "gitlab-ci": (".gitlab",),
    "none": ("release.py",),
}
ILLEGAL_ON_WINDOWS = re.compile(r'[<>:"|?*\\\x00-\x1f]|[. ]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.IGNORECASE)
LONGEST_PATH = 140  # Windows allows 260, and the folder of the user comes before
LONGEST_NAME = 60


def text_files(project: Path) -> dict[str, str]:
    """Return every file of a project as text; a file that is not UTF-8 fails."""
    return {name: content.decode("utf-8") for name, content in files(project).items()}


# The files that there are


@every_combination
def test_files_depend_on_the_answers_as_they_should(answers: dict[str, str], bake: Bake) -> None:
    names = set(files(bake(**answers)))
    of_providers = {ci: {name for name in names if name.startswith(starts)} for ci, starts in CI_FILES.items()}
    assert {ci for ci, found in of_providers.items() if found} == {answers["ci_provider"]}
    # Where the host brings no updates of dependencies itself.
    renovated = {"renovate.json"} if answers["ci_provider"] in ("azure-devops", "gitlab-ci") else set()
    assert names & {"renovate.json"} == renovated
    assert ("docs/cicd-setup.md" in names) == (answers["ci_provider"] != "none")
    # Where the host reads a file of that name.
    assert ("environments/code_owners.py" in names) == (answers["ci_provider"] in ("github-actions", "gitlab-ci"))
    inference = answers.get("inference", "batch")
    using = (BATCH_FILES if inference != "realtime" else set()) | (REALTIME_FILES if inference != "batch" else set())
    assert names & (BATCH_FILES | REALTIME_FILES) == using
    receiving = RECEIVING_FILES if answers["deployment_pattern"] in RECEIVES else set()
    assert names & RECEIVING_FILES == receiving
    # Models that are expensive to train are what deploy-model is for.
    large = {"docs/large-network.md"} if answers["deployment_pattern"] == "deploy-model" else set()
    assert names & {"docs/large-network.md"} == large
    of_some = {"docs/cicd-setup.md", "environments/code_owners.py"}
    others = names.difference(*of_providers.values()) - renovated - of_some
    default = {name for name in DEFAULT_FILES if not name.startswith(CI_FILES["github-actions"])}
    assert others == (default - of_some - BATCH_FILES) | using | receiving | large


@pytest.mark.parametrize("pattern", PATTERNS)
def test_code_and_model_have_workflows_of_their_own(pattern: str, bake: Bake) -> None:
    names = set(files(bake(deployment_pattern=pattern, ci_provider="github-actions")))
    assert ".github/workflows/release-code.yml" in names
    assert (".github/workflows/release-model.yml" in names) == (pattern in RECEIVES)
    names = set(files(bake(deployment_pattern=pattern, ci_provider="gitlab-ci")))
    assert ".gitlab/release-code.yml" in names
    assert (".gitlab/release-model.yml" in names) == (pattern in RECEIVES)


@every_combination
def test_file_names_work_on_every_system(answers: dict[str, str], bake: Bake) -> None:
    for root in (bake(**answers), TEMPLATE):
        names = list(files(root))
        for name in names:
            # The braces of the template's own folders are legal on Windows.
            assert not [part for part in name.split("/") if ILLEGAL_ON_WINDOWS.search(part)], name
            assert len(name) <= LONGEST_PATH, name
            assert max(map(len, name.split("/"))) <= LONGEST_NAME, name
        assert len({name.lower() for name in names}) == len(names), "two names differ by case alone"
        assert not [path for path in root.rglob("*") if path.is_symlink()]


# What is in them


@every_combination
def test_nothing_of_the_template_is_left(answers: dict[str, str], bake: Bake) -> None:
    project = bake(**answers)
    assert not list(project.rglob("_options"))
    for name, text in text_files(project).items():
        # Dynamic references of Databricks, expressions of GitHub, and a brace that an f-string writes.
        rest = re.sub(r"(?<!\$)\{\{\s*(job|tasks)\.[^{}]*\}\}|\$\{\{[^{}]*\}\}|\bf['\"]\$?\{\{", "", text)
        assert not re.findall(r".*(?:\{\{|\{%|\{#|-%\}|cookiecutter\.[a-z_]).*", rest), name


@every_combination
def test_every_file_can_be_read_by_its_own_tool(answers: dict[str, str], bake: Bake) -> None:
    def documents(text: str) -> list[Any]:  # GitLab has two in one file
        return list(yaml.safe_load_all(text))

    read = {".yml": documents, ".yaml": documents, ".toml": tomllib.loads, ".json": json.loads}
    read[".py"] = ast.parse
    parsed = 0
    for name, text in text_files(bake(**answers)).items():
        if reader := read.get(Path(name).suffix):
            assert reader(text) is not None, name
            parsed += 1
    assert parsed > 40


@every_combination
def test_yaml_keys_are_written_once(answers: dict[str, str], bake: Bake) -> None:
    """PyYAML takes the last one in silence, the Databricks CLI and GitHub refuse."""

    def check(node: Any, name: str) -> None:
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value]
            assert len(keys) == len(set(keys)), f"{name}:{node.start_mark.line + 1}: {keys}"
            for _, value in node.value:
                check(value, name)
        elif isinstance(node, yaml.SequenceNode):
            for value in node.value:
                check(value, name)

    for name, text in text_files(bake(**answers)).items():
        if name.endswith((".yml", ".yaml")):
            for document in yaml.compose_all(text):
                check(document, name)


@every_combination
def test_the_bundle_is_written_as_yamllint_wants_it(answers: dict[str, str], bake: Bake) -> None:
    result = run(*YAMLLINT, "databricks.yml", "resources", "src", ".pre-commit-config.yaml", cwd=bake(**answers))
    assert result.returncode == 0, result.stdout


@every_combination
def test_white_space_is_clean(answers: dict[str, str], bake: Bake) -> None:
    for name, text in text_files(bake(**answers)).items():
        assert "\r" not in text, name
        assert "\n\n\n\n" not in text, f"{name}: three blank lines in a row"
        assert not re.search(r"[ \t]+$", text, re.MULTILINE), f"{name}: white space at the end of a line"
        assert not text or (text.endswith("\n") and not text.endswith("\n\n")), f"{name}: end of the file"
        assert not text.startswith("\n"), f"{name}: begins with a blank line"


@every_combination
def test_nothing_is_locked_or_left_over(answers: dict[str, str], bake: Bake) -> None:
    for name, text in text_files(bake(**answers)).items():
        assert not name.endswith((".lock", ".pyc", ".orig", ".rej")), name
        assert "index-url" not in text, name
        assert not re.search(r"/(?:home|Users|root|tmp|work)/\w+/(?!\$)", text.replace("/Workspace/", "")), name


def heading_anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a Markdown text."""
    anchors: set[str] = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", without_code(text), re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        number = 1
        anchor = slug
        while anchor in anchors:
            anchor, number = f"{slug}-{number}", number + 1
        anchors.add(anchor)
    return anchors


def without_code(text: str) -> str:
    return re.sub(r"^ *(```|~~~).*?^ *\1", "", text, flags=re.MULTILINE | re.DOTALL)


def dead_links(root: Path, names: list[str]) -> list[str]:
    """Return the relative links and anchors of these Markdown files that lead nowhere."""
    dead = []
    for name in names:
        page = root / name
        text = re.sub(r"`[^`\n]*`", "", without_code(page.read_text(encoding="utf-8")))
        links = re.findall(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)|^\[[^]]+\]: *(\S+)", text, re.MULTILINE)
        for link in (first or second for first, second in links):
            if re.match(r"[a-z]+:", link):
                continue
            target, _, anchor = link.partition("#")
            file = (page.parent / target).resolve() if target else page
            if not file.exists():
                dead.append(f"{name}: {link}")
            elif anchor and anchor not in heading_anchors(file.read_text(encoding="utf-8")):
                dead.append(f"{name}: {link} (no such heading)")
    return dead


@every_combination
def test_links_lead_somewhere(answers: dict[str, str], bake: Bake) -> None:
    project = bake(**answers)
    pages = [name for name in files(project) if name.endswith(".md")]
    assert "README.md" in pages
    assert not dead_links(project, pages)


def test_links_of_the_template_lead_somewhere() -> None:
    pages = [path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))]
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md"} <= set(pages)
    assert not dead_links(ROOT, pages)


@every_combination
def test_a_page_tells_the_story_of_its_own_pattern(answers: dict[str, str], bake: Bake) -> None:
    """Only the page that compares the patterns names the others."""
    project = bake(**answers)
    own = answers["deployment_pattern"]
    for name, text in text_files(project).items():
        if name.endswith(".md") and name != "docs/deployment-pattern.md":
            assert not {other for other in PATTERNS if other != own and re.search(rf"\b{other}\b", text)}, name
    compared = (project / "docs" / "deployment-pattern.md").read_text(encoding="utf-8")
    assert all(pattern in compared for pattern in PATTERNS)


# How the template is made


def contexts() -> list[dict[str, Any]]:
    """Return all variables for each combination of answers of the questions with choices."""
    return [context_of(dict(zip(CHOICES, answers, strict=True))) for answers in product(*CHOICES.values())]


@pytest.fixture(scope="session")
def possible() -> list[dict[str, Any]]:
    return contexts()


def overlays() -> dict[tuple[str, str], set[str]]:
    """Return the files of each overlay, by (question, answer)."""
    return {
        (folder.parent.name, folder.name): set(files(folder))
        for folder in sorted(OPTIONS.glob("*/*"))
        if folder.is_dir()
    }


def test_every_overlay_belongs_to_a_question_and_an_answer(possible: list[dict[str, Any]]) -> None:
    assert overlays()
    assert not [path for path in OPTIONS.iterdir() if path.is_file()]
    for question, answer in overlays():
        assert question in COOKIECUTTER and question not in ("__prompts__", "_copy_without_render"), question
        assert answer in {context[question] for context in possible}, f"{question} is never {answer}"


def test_overlays_do_not_meet(possible: list[dict[str, Any]]) -> None:
    base = {name for name in files(TEMPLATE) if not name.startswith("_options/")}
    for (question, answer), names in overlays().items():
        assert names, f"_options/{question}/{answer} is empty"
        assert not names & base, f"_options/{question}/{answer} hides files of every project"
    for (one, its_files), (other, other_files) in combinations(overlays().items(), 2):
        together = [context for context in possible if context[one[0]] == one[1] and context[other[0]] == other[1]]
        assert not (together and its_files & other_files), f"{one} and {other} write {its_files & other_files}"


def rendered_through() -> dict[str, str]:
    """Return the template's files that Jinja renders, by their path in the template."""
    as_they_are = COOKIECUTTER["_copy_without_render"]
    return {
        name: text
        for name, text in text_files(TEMPLATE).items()
        if not any(fnmatch.fnmatch(name, pattern) for pattern in as_they_are)
    }


def test_at_most_one_line_in_ten_is_a_control_line() -> None:
    shares = {
        name: text.count("{%") and sum("{%" in line for line in text.splitlines()) / len(text.splitlines())
        for name, text in rendered_through().items()
    }
    assert not {name: round(share, 2) for name, share in shares.items() if share > 0.1}


def test_files_that_are_not_rendered_exist() -> None:
    names = [name.replace("{{cookiecutter.package_name}}", "package") for name in files(TEMPLATE)]
    for pattern in COOKIECUTTER["_copy_without_render"]:
        assert fnmatch.filter(names, pattern), f"nothing matches {pattern}"


def test_the_name_of_a_pattern_decides_nothing() -> None:
    """Files ask what a pattern can do, never what it is called."""
    logic = re.compile(r"\{%.*?%\}|\{\{.*?\}\}", re.DOTALL)
    for name, text in rendered_through().items():
        assert "deployment_pattern ==" not in text, name
        assert "deployment_pattern !=" not in text, name
        for expression in logic.findall(text):
            assert not [pattern for pattern in PATTERNS if pattern in expression], f"{name}: {expression}"
    for hook in (ROOT / "hooks").glob("*.py"):
        assert not [pattern for pattern in PATTERNS if pattern in hook.read_text(encoding="utf-8")], hook.name


def test_the_hooks_need_nothing_installed() -> None:
    for hook in ("pre_gen_project.py", "post_gen_project.py"):
        tree = ast.parse(render_hook(hook, context_of({})))
        modules = {
            name.split(".")[0]
            for node in ast.walk(tree)
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        assert modules <= sys.stdlib_module_names
        assert not modules & {"socket", "subprocess", "urllib", "http"}


# Rendering again


@every_combination
def test_rendering_over_a_project_gives_the_same(answers: dict[str, str], bake: Bake, tmp_path: Path) -> None:
    before = files(bake(**answers))
    project = tmp_path / bake(**answers).name
    shutil.copytree(bake(**answers), project)
    cookiecutter(
        str(ROOT),
        no_input=True,
        extra_context=answers,
        output_dir=str(project.parent),
        overwrite_if_exists=True,
        default_config=True,
    )
    assert files(project) == before


@every_combination
def test_the_last_hook_may_run_twice(answers: dict[str, str], bake: Bake, tmp_path: Path) -> None:
    project = bake(**answers)
    context = context_of(answers)
    copy = tmp_path / project.name
    shutil.copytree(project, copy)
    hook = tmp_path / "post_gen_project.py"
    hook.write_text(render_hook(hook.name, context), encoding="utf-8")
    for _ in range(2):
        result = subprocess.run([sys.executable, hook], cwd=copy, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        assert "uv sync" in result.stdout
        assert files(copy) == files(project)
