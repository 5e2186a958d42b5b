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

import jinja2
import jinja2.nodes
import pytest
import yaml
from conftest import Bake
from cookiecutter.exceptions import UndefinedVariableInTemplate
from cookiecutter.main import cookiecutter
from golden_tree import GOLDEN
from helpers import (
    CHOICES,
    COOKIECUTTER,
    PATTERNS,
    QUESTIONS,
    ROOT,
    TARGETS,
    TEMPLATE,
    YAMLLINT,
    every_combination,
    files,
    render_hook,
    run,
)
from pages import false_code
from product import TOGETHER, context_of

from tasks import FORM_DEFAULT

OPTIONS = TEMPLATE / "_options"
# Whoever adds a file sees it in the review of tests/golden.
DEFAULT_FILES = set(files(GOLDEN / "default"))
# What a project has where an environment receives its model, and no other has.
RECEIVING_FILES = {
    "docs/promotion.md",
    "lifecycle/releases.py",
    "resources/promotion.job.yml",
    "src/fraud_detection/tasks/approval.py",
    "src/fraud_detection/tasks/drift_alarm.py",
    "src/fraud_detection/tasks/receive.py",
}
RECEIVES = {"deploy-model", "hybrid"}
# What scores tables, and what serves requests.
BATCH_FILES = {"docs/scoring.md", "src/fraud_detection/tasks/predict.py", "tests/unit/test_predict.py"}
REALTIME_FILES = {
    *("docs/serving.md", "local/queries.py", "local/serving.py", "lifecycle/serving.py"),
    *(f"src/fraud_detection/tasks/{name}.py" for name in ("query_endpoint", "check_endpoint", "collect")),
    "src/fraud_detection/platform/serving.py",
    *("tests/unit/test_collect.py", "tests/unit/test_serving.py"),
}
# What shows how the model does.
DASHBOARD_FILES = {
    *("docs/dashboard.md", "environments/warehouse.py", "tests/unit/test_dashboard.py", "resources/warehouse.yml"),
    *("resources/dashboard.dashboard.yml", "resources/dashboard.lvdash.json"),
    *("resources/alarm.alert.yml", "resources/stale.alert.yml"),
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
    shown = DASHBOARD_FILES if "sql_warehouse" in answers else set()
    of_some = {"docs/cicd-setup.md", "environments/code_owners.py"}
    others = names.difference(*of_providers.values()) - renovated - of_some
    default = {name for name in DEFAULT_FILES if not name.startswith(CI_FILES["github-actions"])}
    assert others == (default - of_some - BATCH_FILES) | using | receiving | large | shown


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
        if name == "local/adopt/writing.py":  # writes Python, with braces in f-strings
            continue
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
        allowed = re.sub("/Workspace/|/home/vscode/", "", text)  # the second one is in the dev container
        assert not re.search(r"/(?:home|Users|root|tmp|work)/\w+/(?!\$)", allowed), name


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
    assert not [pattern for pattern in PATTERNS if f"`{pattern}`" not in compared], "docs/deployment-pattern.md"


@every_combination
def test_pages_name_what_there_is(answers: dict[str, str], bake: Bake) -> None:
    """Commands with their options, targets, jobs and parameters; files; and jobs and tasks in the text."""
    project = bake(**answers)
    pages = {name: text for name, text in text_files(project).items() if name.endswith(".md")}
    assert len(pages) > 10
    assert not {name: false for name, text in pages.items() if (false := false_code(project, text))}


@pytest.mark.parametrize(
    "text",
    [
        *("docs/elsewhere.md", "elsewhere.py", "uv run models promote --target prod", "uv run models status --to prod"),
        *("databricks bundle run promotion --target prod", "databricks bundle run training --params speed=1"),
        *("uv run python -m local run prod elsewhere", "uv run python -m local adopt orders.csv --day Monday"),
        *("uv run python -m environments plan --target test", "uv run release.py code v1.0.0", "uv start"),
        "uvx --from git+https://git.example.com/ml ml-template update --later",
    ],
)
def test_what_a_page_makes_up_is_seen(text: str, bake: Bake) -> None:
    assert false_code(bake(), f"Type `{text}`, or `uv sync`.\n\n```shell\nuv run pytest  # all\n```\n") == [text]
    assert false_code(bake(), "The task `elsewhere` of the job `training`.") == ["elsewhere"]


# What a page calls things that only projects with other answers have.
FOREIGN = {
    "inference": {"batch": r"\bendpoint|\brealtime\b"},
    "ci_provider": {
        "github-actions": r"GitLab|Azure (DevOps|Pipelines)|merge request",
        "azure-devops": r"GitHub|GitLab|merge request",
        "gitlab-ci": r"GitHub|Azure (DevOps|Pipelines)|pull request",
        "none": r"GitHub|GitLab|Azure (DevOps|Pipelines)",
    },
}


@every_combination
def test_pages_speak_of_nothing_that_other_projects_have(answers: dict[str, str], bake: Bake) -> None:
    pages = {name: text for name, text in text_files(bake(**answers)).items() if name.endswith(".md")}
    for question, words in FOREIGN.items():
        foreign = words.get(answers.get(question, CHOICES[question][0]), "(?!)")
        assert not {name: found[0] for name, text in pages.items() if (found := re.search(foreign, text))}


@every_combination
def test_operations_say_what_to_do_about_every_task(answers: dict[str, str], bake: Bake) -> None:
    project = bake(**answers)
    tasks = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]["tasks"]
    page = rows((project / "docs" / "operations.md").read_text(encoding="utf-8"))
    assert not tasks.keys() - page.keys(), "docs/operations.md, When a job fails"


def test_a_promise_that_does_not_hold_ends_the_lifecycle(bake: Bake) -> None:
    """The lifecycle proves something only if it fails. Its module imports all packages of the project, so not here."""
    tree = ast.parse((bake() / "lifecycle" / "story.py").read_text(encoding="utf-8"))
    (promise,) = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "promise")
    found: dict[str, Any] = {"BrokenPromiseError": AssertionError, "say": lambda *_, **__: None}
    exec(compile(ast.Module([promise], []), "story.py", "exec"), found)
    found["promise"](None, True, "it holds")
    with pytest.raises(AssertionError, match="it does not hold"):
        found["promise"](None, False, "it does not hold")


# How the template is made


def contexts() -> list[dict[str, Any]]:
    """Return all variables for each combination of answers of the questions with choices, and for an organisation."""
    combinations = [dict(zip(CHOICES, answers, strict=True)) for answers in product(*CHOICES.values())]
    known = TOGETHER["organisation"]["known"] | TOGETHER["dashboard"]["with"]
    of_organisation = product(PATTERNS, CHOICES["ci_provider"])
    return [context_of(answers) for answers in combinations] + [
        context_of(known | {"deployment_pattern": pattern, "ci_provider": ci}) for pattern, ci in of_organisation
    ]


@pytest.fixture(scope="session")
def possible() -> list[dict[str, Any]]:
    return contexts()


Choice = tuple[tuple[str, str], ...]  # questions and answers; an overlay inside another one needs both


def overlays(options: Path = OPTIONS, outer: Choice = ()) -> dict[Choice, set[str]]:
    """Return the files of each overlay, by what chooses it."""
    found: dict[Choice, set[str]] = {}
    for folder in sorted(options.glob("*/*")):
        choice = (*outer, (folder.parent.name, folder.name))
        found[choice] = {name for name in files(folder) if not name.startswith("_options/")}
        found |= overlays(folder / "_options", choice)
    return found


def chosen(choice: Choice, possible: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [context for context in possible if all(context[question] == answer for question, answer in choice)]


def test_every_overlay_belongs_to_a_question_and_an_answer(possible: list[dict[str, Any]]) -> None:
    assert overlays()
    for choice in overlays():
        for question, _ in choice:
            assert question in COOKIECUTTER and question not in ("__prompts__", "_copy_without_render"), question
        assert chosen(choice, possible), f"{choice} is never chosen"


def test_every_file_below_options_belongs_to_an_overlay() -> None:
    """What stands elsewhere would be dropped without a word."""
    assert sum(map(len, overlays().values())) == len(files(OPTIONS))
    in_none = {name for names in overlays().values() for name in names if "_options" in name.split("/")}
    assert not in_none


def test_overlays_do_not_meet(possible: list[dict[str, Any]]) -> None:
    base = {name for name in files(TEMPLATE) if not name.startswith("_options/")}
    for choice, names in overlays().items():
        assert names, f"{choice} has no files"
        assert not names & base, f"{choice} hides files of every project"
    for (one, its_files), (other, other_files) in combinations(overlays().items(), 2):
        both = its_files & other_files
        assert not (both and chosen(one + other, possible)), f"{one} and {other} write {both}"


def rendered_through() -> dict[str, str]:
    """Return the template's files that Jinja renders, by their path in the template."""
    as_they_are = COOKIECUTTER["_copy_without_render"]
    return {
        name: text
        for name, text in text_files(TEMPLATE).items()
        if not any(fnmatch.fnmatch(name, pattern) for pattern in as_they_are)
    }


JINJA = jinja2.Environment(extensions=["template_extensions.References"])


def control_lines(text: str) -> set[int]:
    """Return the lines that decide: with a block, or with a conditional or a table of answers within an expression."""
    lines, within = set(), False
    for line, token, value in JINJA.lex(JINJA.preprocess(text)):
        within = token == "variable_begin" or (within and token != "variable_end")
        if token == "block_begin" or (within and value in ("if", "{")):
            lines.add(line)
    return lines


def test_at_most_one_line_in_ten_is_a_control_line() -> None:
    """One in a file is always allowed: a file may consist of what another one says."""
    found = {name: (len(control_lines(text)), len(text.splitlines())) for name, text in rendered_through().items()}
    shares = {name: count / lines for name, (count, lines) in found.items() if count > 1}
    assert not {name: round(share, 3) for name, share in shares.items() if share > 0.1}


def variables(node: jinja2.nodes.Node) -> set[str]:
    """Return the questions that an expression of Jinja reads, derived variables among them."""
    return {
        found.attr for found in [node, *node.find_all(jinja2.nodes.Getattr)] if isinstance(found, jinja2.nodes.Getattr)
    }


def test_no_answer_is_what_is_left_over() -> None:
    """A question may get one more answer: a table of answers refuses what it lacks, and `else` guesses."""
    for name, text in rendered_through().items():
        for node in JINJA.parse(text).find_all((jinja2.nodes.If, jinja2.nodes.CondExpr)):
            assert isinstance(node, jinja2.nodes.If | jinja2.nodes.CondExpr)
            left_over = node.else_ if isinstance(node, jinja2.nodes.If) else node.expr2
            asked = variables(node.test) & CHOICES.keys()
            assert not (left_over and asked), f"{name}:{node.lineno} asks for {asked}: look it up in a table of answers"


def test_files_compare_with_answers_that_exist(possible: list[dict[str, Any]]) -> None:
    for name, text in rendered_through().items():
        for node in JINJA.parse(text).find_all(jinja2.nodes.Compare):
            constants = [operand.expr for operand in node.ops if isinstance(operand.expr, jinja2.nodes.Const)]
            for variable in variables(node.expr) & possible[0].keys():
                for constant in constants:
                    answers = {context[variable] for context in possible}
                    assert constant.value in answers, f"{name}:{node.lineno}: {variable} is never {constant.value}"


def chosen_with(name: str, possible: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return those variables with which a file of the template reaches a project."""
    while overlay := re.match(r"_options/([^/]+)/([^/]+)/(.*)", name):
        possible, name = chosen(((overlay[1], overlay[2]),), possible), overlay[3]
    return possible


def test_tables_have_every_answer(possible: list[dict[str, Any]]) -> None:
    incomplete = []
    fragments = {f"../templates/{name}": text for name, text in text_files(ROOT / "templates").items()}
    for name, text in (rendered_through() | fragments).items():
        for node in JINJA.parse(text).find_all(jinja2.nodes.Getitem):
            if isinstance(node.node, jinja2.nodes.Dict):
                (variable,) = variables(node.arg)
                given = {pair.key.as_const() for pair in node.node.items}
                # Where there is no provider, there is often nothing to say.
                needed = {context[variable] for context in chosen_with(name, possible)} - {"none"}
                known = {context[variable] for context in possible}
                incomplete += [
                    f"{name}:{node.lineno} has no words for {variable} {answer}" for answer in needed - given
                ]
                incomplete += [f"{name}:{node.lineno}: {variable} is never {answer}" for answer in given - known]
    assert not incomplete


# What an answer needs besides its tables; a rendering refuses, or a page has a dead link, where one is missing.
NEEDED = {
    "ci_provider": ("_options/ci_provider/{}/environments/provider.py", "_options/ci_provider/{}/docs/releasing.md"),
    "compute": ("_options/compute/{}/resources/compute.yml", "_options/compute/{}/docs/compute.md"),
    "deployment_pattern": ("_options/deployment_pattern/{}/lifecycle/pattern.py",),
    "problem": tuple(f"_options/problem/{{}}/{name}" for name in files(OPTIONS / "problem" / CHOICES["problem"][0])),
}


@pytest.mark.parametrize("question", NEEDED)
def test_every_answer_has_its_files(question: str) -> None:
    needed = [TEMPLATE / file.replace("{}", answer) for file in NEEDED[question] for answer in CHOICES[question]]
    if question == "compute":
        needed += [ROOT / "templates" / "compute" / f"{answer}.jinja" for answer in CHOICES[question]]
    assert not [str(file.relative_to(ROOT)) for file in needed if not file.is_file()]


def test_the_form_in_the_browser_offers_every_answer() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "render.yml").read_text(encoding="utf-8"))
    inputs = workflow[True]["workflow_dispatch"]["inputs"]  # YAML reads `on` as true
    # The default comes first: that of an organisation, or of the template.
    offered = {name: field["options"] for name, field in inputs.items() if "options" in field}
    assert offered == {question: [FORM_DEFAULT, *answers] for question, answers in CHOICES.items()}
    assert inputs.keys() <= QUESTIONS.keys() and len(inputs) <= 25, "GitHub takes no more"


def rows(page: str) -> dict[str, str]:
    """Return the rest of each row of the tables in a Markdown text, by the names in backticks that begin the row."""
    found = {}
    for first, rest in re.findall(r"^\| (`[^|]*`) \|(.*)$", page, re.MULTILINE):
        found |= dict.fromkeys(re.findall(r"`([^`]+)`", first), rest)
    return found


def test_every_provider_is_known_to_the_tests() -> None:
    assert list(CI_FILES) == CHOICES["ci_provider"], "CI_FILES in tests/test_rendered.py"
    pages = [f"_options/ci_provider/{ci}/docs/cicd-setup.md" for ci in CI_FILES if ci != "none"]
    assert not [page for page in pages if not (TEMPLATE / page).is_file()]


def test_the_table_of_patterns_is_complete() -> None:
    table = COOKIECUTTER["__champion_is"]
    assert list(table) == PATTERNS, "__champion_is in cookiecutter.json"
    for pattern, champions in table.items():
        assert tuple(champions) == TARGETS, pattern
        assert set(champions.values()) <= {"trained", "received"}, pattern
        assert (champions["prod"] == "received") == (pattern in RECEIVES), "RECEIVES in tests/test_rendered.py"
        # Files ask what staging does, what prod does, and where the last training is: too little for another order.
        order = list(champions.values())
        assert order == sorted(order, reverse=True), f"{pattern}: an environment trains after one that received"


def test_only_one_fragment_says_where_a_task_runs() -> None:
    """Job files hold nothing that is true for one kind of compute alone, and leave no task without it."""
    where = (
        "environment",
        "performance_target",
        "job_cluster",
        "libraries",
        "disable_auto_optimization",
        "max_retries",
    )
    jobs = {name: text for name, text in rendered_through().items() if name.endswith(".job.yml")}
    assert len(jobs) >= 6
    for name, text in jobs.items():
        assert not re.findall(rf"^ *(?:{'|'.join(where)})\w*:(?! \$)", text, re.MULTILINE), name
        assert text.count("{{ settings(") == 1, name
        tasks = re.split(r"^ *(?:- )?task_key: \w+$(?=\n *\w)", text, flags=re.MULTILINE)[1:]
        for task in tasks:
            given = len(re.findall(r"\{\{ (?:once|retried) \| indent", task))
            assert given == task.count("python_wheel_task:"), f"{name}: {task}"


TRAINING = "{{cookiecutter.project_slug}}/resources/training.job.yml"
MISTAKES = {  # in a file: what stands there, and what instead; the answers, and what the refusal names
    "compute nobody described": (
        "cookiecutter.json",
        '"classic"\n  ]',
        '"classic", "lent"\n  ]',
        "compute:lent",
        "lent",
    ),
    "pattern without a table": (
        "cookiecutter.json",
        '"hybrid"\n  ]',
        '"hybrid", "edge"\n  ]',
        "deployment_pattern:edge",
        "edge",
    ),
    "macro misspelled": (TRAINING, "{{ once", "{{ onec", "compute:serverless", "onec"),
    "compute half described": ("templates/compute/classic.jinja", "set once", "set one", "compute:classic", "once"),
    "reference misspelled": (TRAINING, "{{job.start", "{{jobs.start", "compute:serverless", "jobs"),
}


@pytest.mark.parametrize("name, old, new, answer, named", MISTAKES.values(), ids=MISTAKES.keys())
def test_what_is_not_known_is_refused(name: str, old: str, new: str, answer: str, named: str, tmp_path: Path) -> None:
    copy = tmp_path / "template"
    copy.mkdir()
    for part in ("cookiecutter.json", "template_extensions.py", "template_answers.py", "templates", TEMPLATE.name):
        (shutil.copytree if (ROOT / part).is_dir() else shutil.copy)(ROOT / part, copy / part)
    text = (copy / name).read_text(encoding="utf-8")
    assert old in text
    (copy / name).write_text(text.replace(old, new), encoding="utf-8")
    answers = dict([answer.split(":")])
    with pytest.raises((UndefinedVariableInTemplate, jinja2.UndefinedError), match=rf"'{named}'"):
        cookiecutter(str(copy), no_input=True, extra_context=answers, output_dir=str(tmp_path), default_config=True)
    assert not (tmp_path / "fraud-detection").exists()


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
