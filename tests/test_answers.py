"""Whatever is answered is refused by the name of its question, or reaches the files unchanged.

With ANSWERS_EXAMPLES set, that many random examples are tried instead of a few hundred.
"""

import ast
import errno
import itertools
import json
import os
import re
import shutil
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import cookiecutter.generate
import jinja2
import pytest
import yaml
from conftest import Bake
from cookiecutter.exceptions import FailedHookException, OutputDirExistsException
from cookiecutter.main import cookiecutter as render_project
from cookiecutter.utils import create_env_with_context
from helpers import CHOICES, COOKIECUTTER, QUESTIONS, RECORD, ROOT, TARGETS, TEMPLATE, files, run
from hypothesis import HealthCheck, example, given, note, settings
from hypothesis import strategies as st
from jinja2 import FileSystemLoader
from product import compile_once, context_of, run_hook
from pytest_cookies.plugin import Cookies
from test_rendered import rendered_through

TEXT_QUESTIONS = [question for question in QUESTIONS if question not in CHOICES]
CATALOGS = [f"{target}_catalog" for target in TARGETS]
NAMES = [*CATALOGS, "schema_name", "model_name"]
HOSTS = [f"{target}_workspace_host" for target in TARGETS]
GROUPS = ["data_scientists_group", "model_approvers_group"]


@pytest.fixture(scope="module", autouse=True)
def compiled_once() -> Iterator[None]:
    """Most of the time of these tests would go into compiling the same questions again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jinja2.Environment, "compile", jinja2.Environment.compile)  # what stands here afterwards
        compile_once()
        yield


# Project name, and what is made of it: the folder, and the package where that is more than other characters.
DERIVED = [
    ("Fraud Detection", "fraud-detection", "fraud_detection"),
    ("Churn Of_Customers", "churn-of-customers", "churn_of_customers"),
    ('Fraud "v2": #1', "fraud-v2-1", "fraud_v2_1"),
    ("Prévision d'énergie", "prevision-d-energie", "prevision_d_energie"),
    ("it's {a: b}", "it-s-a-b", "it_s_a_b"),
    ("ИИ модель", "ii-model", "ii_model"),
    ("🚀 Rockets", "rockets", "rockets"),
    ("2027 Forecast", "ml-2027-forecast", "ml_2027_forecast"),
    ("JSON", "json", "ml_json"),
    ("Class", "class", "ml_class"),
    ("Models", "models", "ml_models"),
    ("Con", "ml-con", "ml_con"),
    ("word " * 30, "word-word-word-word-word-word-word-word-word-word-word-word", "_".join(["word"] * 12)),
]


@pytest.mark.parametrize(("name", "slug", "package"), DERIVED, ids=[row[1] for row in DERIVED])
def test_names_are_derived_readably(name: str, slug: str, package: str) -> None:
    context = context_of({"project_name": name})
    assert (context["project_slug"], context["package_name"]) == (slug, package)
    assert refusal(context) == {}


def test_a_name_in_another_script_makes_a_project(cookies: Cookies) -> None:
    answers = {"project_name": "日本語 モデル", "description": '売上を予測する 🚀, it\'s "new".'}
    result = cookies.bake(extra_context=answers)
    assert result.exception is None
    assert re.fullmatch(r"[a-z]+(-[a-z]+)+", result.project_path.name)
    assert (result.project_path / "README.md").read_text(encoding="utf-8").startswith("# 日本語 モデル\n")
    record = json.loads((result.project_path / RECORD).read_bytes())
    assert record["context"]["cookiecutter"].items() >= answers.items()


@pytest.mark.parametrize("pattern", CHOICES["deployment_pattern"])
def test_long_names_make_a_clean_project(pattern: str, bake: Bake) -> None:
    names = {question: f"{question}_{'x' * 200}" for question in (*NAMES, *GROUPS)}
    project = bake(project_slug="x" * 63, deployment_pattern=pattern, inference="batch-and-realtime", **names)
    for command in (("check",), ("format", "--check")):
        result = run("ruff", *command, "--no-cache", cwd=project)
        assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("name", ["🚀", "—", "?!"])
def test_a_name_of_which_nothing_is_left_is_asked_for(name: str) -> None:
    """By the name of the question that was answered, and not of those that follow from it."""
    context = context_of({"project_name": name})
    assert refusal(context) == {
        "project_name": f"nothing of {name!r} can name a folder. Type letters or digits, or a project_slug as well."
    }
    assert refusal(context_of({"project_name": name, "project_slug": "rockets"})) == {}


def test_what_follows_from_a_bad_answer_is_not_refused_as_well() -> None:
    assert refusal(context_of({"project_slug": "Fraud Detection"})).keys() == {"project_slug"}
    assert refusal(context_of({"package_name": "Fraud.Detection"})).keys() == {"package_name"}
    assert refusal(context_of({"package_name": "a.b", "model_name": "c.d"})).keys() == {"package_name", "model_name"}


@pytest.mark.parametrize("name", ["json", "class", "dist", "ruff", "databricks_sdk", "aux"])
def test_a_package_that_was_typed_is_never_changed(name: str) -> None:
    advice = f"such as ml_{name}."
    assert refusal(context_of({"package_name": name}))["package_name"].endswith(advice)


def test_no_package_is_called_like_a_dependency(bake: Bake) -> None:
    project = tomllib.loads((bake() / "pyproject.toml").read_text(encoding="utf-8"))
    groups = project["dependency-groups"].values()
    for requirement in itertools.chain(
        project["project"]["dependencies"], *groups, project["build-system"]["requires"]
    ):
        name = re.match(r"[\w-]+", requirement)
        assert name is not None
        assert "package_name" in refusal(context_of({"package_name": name[0].replace("-", "_")})), requirement


@pytest.mark.parametrize(
    "slug", ["a/b", "a/../b", "../fraud", "/fraud", "a\\b", "", ".", "..", "x" * 300, "a\0b", "nul"]
)
def test_a_bad_folder_leaves_nothing_behind(
    slug: str, cookies: Cookies, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = cookies.bake(extra_context={"project_slug": slug})
    assert isinstance(result.exception, FailedHookException)
    assert "\n  project_slug: " in "".join(capfd.readouterr())
    assert [path.name for path in tmp_path.rglob("*")] == ["cookies", "bake00"]


# Renderings that end early


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to render into, with something of the user's own in it."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "notes.txt").write_text("mine\n", encoding="utf-8")
    return tmp_path / "work"


def render_default(folder: Path, **options: Any) -> Path:
    return Path(render_project(str(ROOT), no_input=True, output_dir=str(folder), default_config=True, **options))


def test_a_folder_that_is_there_is_left_alone(folder: Path) -> None:
    project = folder / "fraud-detection"
    project.mkdir()
    (project / "databricks.yml").write_text("mine\n", encoding="utf-8")
    before = files(folder)
    with pytest.raises(OutputDirExistsException):
        render_default(folder)
    assert files(folder) == before


def test_refused_answers_leave_a_project_as_it_is(folder: Path) -> None:
    render_default(folder)
    before = files(folder)
    with pytest.raises(FailedHookException):
        render_default(folder, extra_context={"description": ""}, overwrite_if_exists=True)
    assert files(folder) == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the system lets this user write anywhere")
def test_a_folder_that_is_read_only_stays_as_it_is(folder: Path) -> None:
    before = files(folder)
    folder.chmod(0o555)
    try:
        with pytest.raises(OSError, match="Unable to create directory"):
            render_default(folder)
    finally:
        folder.chmod(0o755)
    assert files(folder) == before


@pytest.mark.parametrize("written", [0, 1, 40], ids="after {} files".format)
@pytest.mark.parametrize("end", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_half_a_rendering_is_not_taken_for_a_project(
    end: BaseException, written: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cookiecutter leaves what it wrote. The record is written last, so that it says whether a project is whole."""
    left = iter(range(written))
    generate_file = cookiecutter.generate.generate_file

    def generate_some(*arguments: Any, **named: Any) -> None:
        if next(left, None) is None:
            raise end
        generate_file(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(cookiecutter.generate, "generate_file", generate_some)
        with pytest.raises(type(end)):
            render_default(folder)
    half = files(folder)
    assert not (folder / "fraud-detection" / RECORD).exists()
    with pytest.raises(OutputDirExistsException):
        render_default(folder)
    assert files(folder) == half

    shutil.rmtree(folder / "fraud-detection")
    assert (render_default(folder) / RECORD).exists()
    assert (folder / "notes.txt").read_text(encoding="utf-8") == "mine\n"


# Random answers

ODD = [
    *("null", "true", "on", "~", "123", "1e3", "0x1F", "2027-01-01", "=", "-", "---", "...", "a: b", "#", " #x", "["),
    *("${bundle.target}", "${var.x}", "$", "%s", "{target}", "{}", "{a: b}", "{{ 7 }}", "{% x", "{#", "&amp;", "<b>"),
    *('"', "'", '"""', "'''", "`", "\\", "\\n", "|", "]", "*", "&x", "!x", "@", "/", "../", ".", ",", "_", "__"),
    *("\n", "\r", "\t", "\0", "\x7f", "\x85", "\u2028", "\u200b", "\u200d", "\u202e", "\u2066", "\ufeff", "\ufffe"),
    *("\udc80", "\U000e0041", "\ufe0f", "\u3164", "\u00a0", "\u3000", "é", "e\u0301", "\u017f", "İ", "日本", "א", "ب"),
    *("🚀", "👩‍💻", "con", "class", "json"),
]
PIECES = st.sampled_from(ODD) | st.text(max_size=8) | st.sampled_from(["fraud", "a", " "])
TEXTS = st.lists(PIECES, max_size=4).map("".join)
LETTERS = st.characters(categories=["Ll", "Lo", "Nd", "Mn"])
PROSE = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1, max_size=80)
LIKELY: dict[str, st.SearchStrategy[str]] = {
    "project_name": PROSE,
    "project_slug": st.from_regex(r"[a-z0-9-]{1,64}", fullmatch=True) | st.sampled_from(ODD),
    "package_name": st.from_regex(r"[a-z0-9_]{1,64}", fullmatch=True) | st.sampled_from(ODD),
    "description": PROSE,
    **dict.fromkeys(NAMES, st.text(LETTERS | st.sampled_from("-_"), min_size=1, max_size=20)),
    "schema_name": st.text(LETTERS | st.just("_"), max_size=20).map("{target}".__add__),
    **dict.fromkeys(GROUPS, st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), max_size=20)),
    **dict.fromkeys(HOSTS, st.from_regex(r"https://[a-z0-9.-]+\.[a-z]+(:[0-9]+)?/?", fullmatch=True)),
    "notification_email": st.emails() | TEXTS.map("ml@{}.example.com".format),
    "retraining_schedule": st.from_regex(r"[0-9*?/,#LW-]+( +[0-9*?/,#LW-]+){5}", fullmatch=True),
    "sql_warehouse": st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), max_size=20),
    "tags": st.from_regex(r"[A-Za-z0-9 .:/@+-]+=[0-9nulloff~:.]+(,[A-Z0-9]+=[a-z]+)?", fullmatch=True),
    "runner": st.from_regex(r"[A-Za-z0-9 _.:/@+-]+(,[a-z]+)?", fullmatch=True),
    "package_index": st.from_regex(r"https://[A-Za-z0-9.-]+(:[0-9]+)?/[A-Za-z0-9._~/-]*", fullmatch=True),
    "proxy": st.from_regex(r"https?://[A-Za-z0-9.-]+(:[0-9]+)?/?", fullmatch=True),
    "projects_folder": st.from_regex(r"[a-z0-9_.-]+(/[a-z0-9]+)?", fullmatch=True),
}


@st.composite
def some_answers(draw: st.DrawFn) -> dict[str, str]:
    """Return answers to a few questions: words that people type, and text that means something in one of the files."""
    given = {question: draw(st.sampled_from(choices)) for question, choices in CHOICES.items()}
    for question in draw(st.lists(st.sampled_from(TEXT_QUESTIONS), max_size=3, unique=True)):
        given[question] = draw(st.one_of(LIKELY[question], LIKELY[question], TEXTS))
    return given


def all_at_once(text: str) -> dict[str, str]:
    return dict.fromkeys(("project_name", "description", *GROUPS), text)


@given(given_answers=some_answers())
@example(given_answers=all_at_once("🚀 it is new: #1"))
@example(given_answers={"project_slug": "null", "package_name": "true"})
@example(given_answers={"notification_email": "${var.x}@example.com"})
@example(given_answers={"retraining_schedule": "0 0 1 ?\x1f* MON"})
@settings(
    max_examples=int(os.environ.get("ANSWERS_EXAMPLES", "300")),
    deadline=None,
    database=None,  # tests write nothing into this repository
    suppress_health_check=[HealthCheck.too_slow],
)
def test_every_answer_is_refused_or_kept(given_answers: dict[str, str]) -> None:
    code = [text for text in given_answers.values() if re.search(r"\{[#%{]", text)]
    if code:
        with pytest.raises(SystemExit, match="holds Jinja code"):
            context_of(given_answers)
        return
    context = context_of(given_answers)
    folder = environment().from_string(TEMPLATE.name).render(cookiecutter=context)
    assert re.fullmatch("[a-z0-9-]{1,63}", folder), "a folder of its own, below the output folder"
    refused = refusal(context)
    note(f"refused: {refused}")
    if refused:
        # Environments that share a catalog need another schema, which nobody may have named.
        assert refused.keys() <= given_answers.keys() | (
            {"schema_name"} if given_answers.keys() & {*CATALOGS} else set()
        )
        return
    assert folder == context["project_slug"]
    rendered = {name: environment().get_template(name).render(cookiecutter=context) for name in reached()}
    for name, text in rendered.items():
        parse(name, text)
    check_bundle(yaml.safe_load(rendered["databricks.yml"]), context)
    if context["tags"]:
        tags = yaml.safe_load(rendered["_options/__tagged/yes/resources/tags.yml"])["presets"]["tags"]
        assert ",".join(f"{key}={value}" for key, value in tags.items()) == context["tags"]
    if context["sql_warehouse"]:
        warehouse = yaml.safe_load(rendered["_options/__dashboard/yes/resources/warehouse.yml"])["variables"]
        assert warehouse["warehouse_id"]["lookup"]["warehouse"] == context["sql_warehouse"]
    settings_of_project = tomllib.loads(rendered["pyproject.toml"])
    project = settings_of_project["project"]
    assert [index["url"] for index in settings_of_project["tool"]["uv"].get("index", [])] == [
        *filter(None, [context["package_index"]])
    ]
    assert (project["name"], project["description"]) == (context["package_name"], context["description"])
    readme = rendered["README.md"]
    assert readme.startswith(f"# {context['project_name']}\n\n{context['description']} It trains")


def test_answers_are_quoted_for_the_files_that_they_reach() -> None:
    assert not [name for name, text in rendered_through().items() if "tojson" in text], "the filter is `quoted`"


def refusal(context: dict[str, Any]) -> dict[str, str]:
    """Return what the hook says to these answers: the questions that it refuses, and why."""
    try:
        run_hook("pre_gen_project.py", context)
    except SystemExit as refused:
        first, *lines = str(refused).split("\n")
        assert first == "These answers cannot work, so nothing was written:"
        assert all(re.fullmatch(r"  \w+: .+\. Type .+\.", line) for line in lines), lines
        pairs = [line.strip().split(": ", 1) for line in lines]
        assert len({question for question, _ in pairs}) == len(pairs)
        return dict(pairs)
    return {}


@cache
def environment() -> Any:
    """Return the environment that cookiecutter renders files with."""
    made = create_env_with_context({"cookiecutter": COOKIECUTTER})
    made.loader = FileSystemLoader([TEMPLATE, ROOT / "templates"])
    return made


@cache
def reached() -> list[str]:
    """Return the files of the template that hold an answer or a path that does."""
    return [name for name, text in rendered_through().items() if "cookiecutter." in text]


@cache
def parse(name: str, text: str) -> None:
    """Read a file as whatever reads it would.

    Raises:
        Exception: if it cannot be read.
    """
    match Path(name).suffix:
        case ".yml" | ".yaml":
            list(yaml.safe_load_all(text))
        case ".toml":
            tomllib.loads(text)
        case ".json":
            json.loads(text)
        case ".py":
            ast.parse(text)


def check_bundle(bundle: dict[str, Any], context: dict[str, Any]) -> None:
    def default(variable: str) -> Any:
        return bundle["variables"][variable]["default"]

    assert bundle["bundle"]["name"] == context["project_slug"]
    for question in ("package_name", "model_name", *GROUPS, "notification_email", "retraining_schedule"):
        assert default(question) == context[question]
    assert default("schema_name") == context["schema_name"].replace("{target}", "${bundle.target}")
    for target in TARGETS:
        settings_of = bundle["targets"][target]
        assert settings_of["workspace"]["host"] == context[f"{target}_workspace_host"]
        assert settings_of["variables"]["catalog"] == context[f"{target}_catalog"]
    in_bundle = {*TEXT_QUESTIONS} - {"project_name", "description"}
    assert not [question for question in in_bundle if "${" in context[question]]
