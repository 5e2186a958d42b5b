"""The documentation of the template: its address, its pages, and what they repeat from elsewhere."""

import ast
import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest
import questions_page
import yaml
from conftest import Bake
from helpers import CHOICES, COOKIECUTTER, PATTERNS, QUESTIONS, ROOT, TEMPLATE, commit, run
from test_rendered import dead_links, rows

import tasks

PAGES = (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))
ADDRESS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]


# The address of the repository


def named_in(*pages: Path) -> set[str]:
    """Return what the commands on these pages are told to fetch, and where links to other branches lead."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    commands = re.findall(r"--from git\+(\S+)|cookiecutter ((?:https?:|gh:|git@|<)\S+)|(https://\S+?)/tree/", text)
    return {address.strip("`") for found in commands for address in found if address}


def test_each_page_names_the_address_of_pyproject() -> None:
    assert named_in(*PAGES) == {ADDRESS}
    rendered = ("docs/deployment-pattern.md", "_options/ci_provider/none/docs/releasing.md")
    assert named_in(*(TEMPLATE / page for page in rendered)) == {"{{"}, "not __repository of cookiecutter.json"
    assert COOKIECUTTER["__repository"] == ADDRESS
    assert f"\nrepo_url: {ADDRESS}\n" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that name the address, as they are now, and another repository with a longer name."""
    for page in (*PAGES, *(ROOT / name for name in ("pyproject.toml", "cookiecutter.json", "mkdocs.yml"))):
        copy = tmp_path / page.relative_to(ROOT)
        copy.parent.mkdir(exist_ok=True)
        shutil.copyfile(page, copy)
    (tmp_path / "other.md").write_text(f"{ADDRESS}-other\n", encoding="utf-8")
    commit(tmp_path)
    monkeypatch.setattr(tasks, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize("typed", ["https://github.com/acme/ml", "https://gitlab.example/a/b/c.git"])
def test_one_command_gives_a_fork_its_address(typed: str, repository: Path) -> None:
    tasks.fork(typed)
    after = typed.removesuffix(".git")
    assert tasks.repository() == after
    assert named_in(repository / "README.md", *repository.glob("docs/*.md")) == {after}
    assert json.loads((repository / "cookiecutter.json").read_bytes())["__repository"] == after
    assert f"\nrepo_url: {after}\n" in (repository / "mkdocs.yml").read_text(encoding="utf-8")
    assert run("git", "grep", "--fixed-strings", "--name-only", ADDRESS, cwd=repository).stdout == "other.md\n"
    tasks.fork(ADDRESS)  # and back
    assert run("git", "status", "--porcelain", cwd=repository).stdout == ""


def test_a_fork_keeps_its_address_when_it_is_brought_up_to_date(repository: Path) -> None:
    tasks.fork("https://github.com/acme/ml")
    shutil.copyfile(ROOT / "docs" / "updating.md", repository / "docs" / "updating.md")  # as a merge would
    tasks.fork("https://github.com/acme/ml", ADDRESS)
    assert named_in(*repository.glob("docs/*.md")) == {"https://github.com/acme/ml"}
    with pytest.raises(SystemExit, match=f"No file names {re.escape(ADDRESS)}/"):
        tasks.fork("https://github.com/acme/ml", f"{ADDRESS}/")


@pytest.mark.parametrize(
    "typed", ["", "acme/databricks-ml", "git@github.com:acme/ml.git", "https://t0ken@example.com/a/b"]
)
def test_what_nobody_could_clone_without_a_login_is_no_address(typed: str, repository: Path) -> None:
    with pytest.raises(SystemExit, match=r"is no address of a repository. Type the one that people clone: python"):
        tasks.fork(typed)
    assert tasks.repository() == ADDRESS


# The pages


class Loader(yaml.SafeLoader):
    """Reads mkdocs.yml, which names Python functions."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)


def test_every_page_is_in_the_navigation() -> None:
    navigation = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)["nav"]
    listed = [page for entry in navigation for value in entry.values() for page in in_order(value)]
    assert sorted(listed) == sorted(page.name for page in ROOT.glob("docs/*.md"))


def in_order(value: str | list[dict[str, str]]) -> list[str]:
    return [value] if isinstance(value, str) else [page for entry in value for page in entry.values()]


def test_the_page_of_questions_says_what_cookiecutter_asks() -> None:
    page = questions_page.PAGE.read_text(encoding="utf-8")
    assert page == questions_page.written(page), "run `python tasks.py golden`"
    assert questions_page.explained(page).keys() == QUESTIONS.keys(), "docs/questions.md, What it decides"


def test_the_readme_lists_the_important_questions_and_every_answer() -> None:
    before, after = (ROOT / "README.md").read_text(encoding="utf-8").split("## Questions")
    assert set(PATTERNS) <= rows(before).keys(), "README.md, Which pattern to choose"
    for question in CHOICES.keys() - {"deployment_pattern"}:
        listed = re.findall(r"`([^`]+)`", rows(before).get(question, ""))
        assert listed == CHOICES[question], f"README.md, {question}"
    assert rows(after).keys() - set(PATTERNS) <= QUESTIONS.keys(), "README.md, Questions"


def test_the_run_of_the_demo_tells_the_story_that_is_told_now(bake: Bake) -> None:
    page = (ROOT / "docs" / "demo.md").read_text(encoding="utf-8")
    story = ast.parse((bake() / "lifecycle" / "pattern.py").read_text(encoding="utf-8"))
    said: dict[str, list[str]] = {"step": [], "promise": []}
    for call in ast.walk(story):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in said:
            text = call.args[-1]
            said[call.func.attr] += (
                [text.value] if isinstance(text, ast.Constant) else []
            )  # others hold numbers of a run
    assert re.findall(r"^\d\. (.+)  \[\d+ s\]$", page, re.MULTILINE) == said["step"]
    assert len(said["promise"]) > 5
    assert set(said["promise"]) <= set(re.findall(r"^    -> (.+)$", page, re.MULTILINE))


def test_there_is_an_example_of_each_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command leads to where the README says that examples are."""
    monkeypatch.setattr(tasks, "BUILD", tmp_path)
    tasks.examples()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    linked = re.findall(rf"{re.escape(ADDRESS)}/tree/examples/(\S+)\)", readme)
    assert [Path(link).parts[0] for link in linked] == PATTERNS
    for link, pattern in zip(linked, PATTERNS, strict=True):
        assert f"**{pattern}**" in (tmp_path / "examples" / link / "README.md").read_text(encoding="utf-8")
    assert not dead_links(tmp_path / "examples", ["README.md"])
