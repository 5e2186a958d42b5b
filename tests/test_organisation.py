"""The file of an organisation, in every way to make a project, and its package index."""

import base64
import importlib
import importlib.metadata
import io
import json
import re
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import ZipFile

import click
import pytest
import yaml
from click.testing import CliRunner, Result
from conftest import Bake
from cookiecutter.main import cookiecutter
from helpers import QUESTIONS, RECORD, ROOT, clean_environment, commit
from product import context_of
from test_answers import refusal
from test_update import copied

import tasks
from ml_template.__main__ import main
from ml_template.organisation import Organisation

ANSWERS: dict[str, Any] = {
    "cloud": "aws",
    "ci_provider": ["gitlab-ci"],
    "deployment_pattern": ["hybrid", "deploy-code"],
    "prod_catalog": "ml_prod",
    "tags": "cost-center=ml,owner=fraud",
}
FILE = {"version": "1.2.0", "ask": ["project_name", "problem", "deployment_pattern"], "default_context": ANSWERS}


def written(folder: Path, content: Any) -> str:
    path = folder / "acme.yml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return str(path)


def answers_of(project: Path) -> dict[str, str]:
    return json.loads((project / RECORD).read_bytes())["context"]["cookiecutter"]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(tmp_path_factory.mktemp("template"))


def start(*arguments: str | Path, typed: str = "") -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=typed)


# Ways to make a project


def test_people_answer_what_is_left(template: Path, tmp_path: Path) -> None:
    file = written(tmp_path, FILE)
    typed = "Churn\nregression\ndeploy-code\n"
    result = start("new", "--organisation", file, "--template", template, "--into", tmp_path / "here", typed=typed)
    assert result.exit_code == 0, result.output
    assert "is ready with version 1.2.0 of" in result.output
    answers = answers_of(tmp_path / "here" / "churn")
    expected = {"project_name": "Churn", "problem": "regression", "deployment_pattern": "deploy-code"}
    expected |= {"cloud": "aws", "ci_provider": "gitlab-ci", "prod_catalog": "ml_prod", "tags": ANSWERS["tags"]}
    assert answers.items() >= expected.items()
    assert (answers["package_name"], answers["dev_catalog"]) == ("churn", "dev"), "the defaults of the template"
    assert answers["_template"] == str(template), "so that it can be updated"


def test_without_a_list_people_answer_all_that_is_not_decided() -> None:
    organisation = Organisation.parse("x", yaml.safe_dump(FILE | {"ask": None}).replace("ask: null\n", ""))
    assert set(organisation.left(QUESTIONS)) == QUESTIONS.keys() - {"cloud", "ci_provider", "prod_catalog", "tags"}
    assert Organisation().left(QUESTIONS) == [*QUESTIONS]


def test_an_answer_that_is_not_allowed_is_refused(template: Path, tmp_path: Path) -> None:
    given = ("--answer", "deployment_pattern=deploy-model", "--no-input")
    result = start("new", "--organisation", written(tmp_path, FILE), "--template", template, *given)
    assert result.exit_code == 1
    assert "does not allow deployment_pattern=deploy-model. Type one of: hybrid, deploy-code." in result.output


@pytest.mark.parametrize("command", ["new", "update"])
def test_half_an_answer_is_refused(command: str) -> None:
    result = start(command, "--answer", "cloud")
    assert result.exit_code == 2
    assert "cloud is no answer. Type --answer QUESTION=ANSWER." in result.output


def test_a_fork_brings_its_file_along(tmp_path: Path) -> None:
    fork = copied(tmp_path)
    (fork / "organisation.yml").write_text(yaml.safe_dump(FILE), encoding="utf-8")
    commit(fork)
    result = start("new", "--template", fork, "--into", tmp_path / "here", "--no-input")
    assert result.exit_code == 0, result.output
    assert "with version 1.2.0 of organisation.yml of the template" in result.output
    answers = answers_of(tmp_path / "here" / "fraud-detection")
    assert (answers["cloud"], answers["deployment_pattern"]) == ("aws", "hybrid")


def test_cookiecutter_takes_the_same_file(tmp_path: Path) -> None:
    """So do cruft, and whoever has COOKIECUTTER_CONFIG name it."""
    options: dict[str, Any] = {"no_input": True, "config_file": written(tmp_path, FILE), "output_dir": str(tmp_path)}
    with pytest.raises(ValueError, match=r"the choices are \['hybrid', 'deploy-code'\]"):
        cookiecutter(str(ROOT), extra_context={"deployment_pattern": "deploy-model"}, **options)
    answers = answers_of(Path(cookiecutter(str(ROOT), **options)))
    assert (answers["cloud"], answers["ci_provider"], answers["deployment_pattern"]) == ("aws", "gitlab-ci", "hybrid")


def test_the_form_in_the_browser_takes_the_file_of_a_fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = []
    (tmp_path / "build").mkdir()
    monkeypatch.setattr(tasks, "BUILD", tmp_path / "build")
    monkeypatch.setattr(tasks, "ORGANISATION", Path(written(tmp_path, FILE)))

    def run(*command: str | Path) -> None:
        commands.append(command)
        (tmp_path / "build" / "fraud-detection").mkdir(parents=True)

    monkeypatch.setattr(tasks, "run", run)
    monkeypatch.setenv("ANSWERS", json.dumps({"cloud": tasks.FORM_DEFAULT, "problem": "regression", "tags": ""}))
    tasks.render()
    (command,) = commands
    assert ("--config-file", tmp_path / "acme.yml") == command[3:5]
    assert [part for part in map(str, command) if "=" in part] == ["problem=regression"]


def test_an_installed_command_knows_its_template(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By what `uvx --from git+https://…` was given, which every installer writes down."""
    module = importlib.import_module("ml_template.new")
    assert module.origin() == str(ROOT)
    monkeypatch.setattr(module, "__file__", str(tmp_path / "ml_template" / "new.py"))
    written = {"direct_url.json": json.dumps({"url": "https://example.com/us/template", "vcs_info": {"vcs": "git"}})}
    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: SimpleNamespace(read_text=written.get))
    assert module.origin() == "https://example.com/us/template"
    written.clear()  # it comes from a package registry
    with pytest.raises(click.ClickException, match="Type --template ADDRESS"):
        module.origin()


# Files that cannot work

WRONG = {
    "no YAML": ("{", "is not YAML"),
    "no version": ({"default_context": {}}, "the file: version is missing. Type for example: version: 1.0.0"),
    "nothing": ({}, "the file: default_context is missing. Type for example: default_context: {cloud: azure}"),
    "a number": (FILE | {"version": 1.0}, "version: 1.0 is of the wrong kind. Type text in quotes."),
    "no number": (FILE | {"version": "new"}, "version: new is no version. Type three numbers, such as 1.0.0."),
    "no answers": ({"version": "1.0.0"}, "default_context is missing. Type for example: default_context: {"),
    "another key": (FILE | {"zzz": []}, "the file: nothing is called zzz. Type one of: version, template"),
    "a misspelled key": (FILE | {"asks": []}, "the file: nothing is called asks. Type ask."),
    "not a list": (FILE | {"ask": "problem"}, 'ask: "problem" is of the wrong kind. Type a list.'),
    "no question": (
        FILE | {"default_context": {"dev_host": "https://x.y"}},
        "default_context: nothing is called dev_host. Type dev_workspace_host.",
    ),
    "asked, but no question": (
        FILE | {"ask": ["problems"]},
        "ask.0: problems is not one of the answers. Type problem.",
    ),
    "no answer": (
        FILE | {"default_context": {"cloud": "azur"}},
        "default_context.cloud: azur is not one of the answers. Type azure.",
    ),
    "no answer in a list": (
        FILE | {"default_context": {"compute": ["classic", "own"]}},
        "default_context.compute.1: own is not one of the answers. Type one of: serverless, classic.",
    ),
    "nothing allowed": (FILE | {"default_context": {"cloud": []}}, "default_context.cloud: the list is empty. Name"),
    "a list of texts": (
        FILE | {"default_context": {"prod_catalog": ["a", "b"]}},
        'default_context.prod_catalog: ["a", "b"] is of the wrong kind. Type text in quotes.',
    ),
}


@pytest.mark.parametrize(("content", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_file_that_cannot_work_is_refused(content: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(click.ClickException) as refused:
        Organisation.read(written(tmp_path, content)).check(QUESTIONS)
    assert said in refused.value.message


def test_the_file_of_the_documentation_works() -> None:
    page = (ROOT / "docs" / "organisation.md").read_text(encoding="utf-8")
    organisation = Organisation.parse("docs", page.partition("```yaml\n")[2].partition("```")[0])
    organisation.check(QUESTIONS)
    assert organisation.left(QUESTIONS) == ["project_name", "problem", "deployment_pattern"]
    assert refusal(context_of(organisation.answers({}))) == {}


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(click.ClickException, match=r"cannot be read: .*Type the path of the file, or its address"):
        Organisation.read(str(tmp_path / "acme.yml"))


def test_the_check_renders_what_is_allowed(template: Path, tmp_path: Path) -> None:
    file = written(tmp_path, FILE | {"ask": ["project_name"]})
    result = start("check-organisation", file, "--template", template)
    assert "Version 1.2.0 works. `ml-template new` asks 1 questions: project_name." in result.output, result.output
    bad = {"version": "1.0.0", "default_context": {"prod_workspace_host": "prod", "tags": "ml"}}
    result = start("check-organisation", written(tmp_path, bad), "--template", template)
    assert result.exit_code == 1
    assert "prod_workspace_host: 'prod' is not a workspace address. Type https://" in result.output
    assert "tags: 'ml' is not a list of tags. Type key=value" in result.output


# A package index of its own


class Index(BaseHTTPRequestHandler):
    """Offers empty packages as PEP 503 says, to who has a password. As a proxy it does so under any name."""

    packages: dict[str, str]  # version by name
    password = base64.b64encode(b"ada:secret").decode()

    def do_GET(self) -> None:
        path = re.sub(r"^http://[^/]*", "", self.path)
        status, content = 404, b""
        if self.headers.get("Authorization") != f"Basic {self.password}":
            status = 401
        elif (page := re.fullmatch(r"/simple/([\w-]+)/", path)) and page[1] in self.packages:
            file = f"{page[1].replace('-', '_')}-{self.packages[page[1]]}-py3-none-any.whl"
            status, content = 200, f'<a href="/files/{file}">{file}</a>'.encode()
        elif path.startswith("/files/"):
            name, version = path.removeprefix("/files/").split("-")[:2]
            status, content = 200, wheel(name, version)
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(content)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        pass


def wheel(name: str, version: str) -> bytes:
    content, about = io.BytesIO(), f"{name}-{version}.dist-info"
    with ZipFile(content, "w") as archive:
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return content.getvalue()


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Index) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made.server_port
        made.shutdown()


@pytest.mark.parametrize("way", ["direct", "proxy"])
def test_packages_come_from_the_index_alone(way: str, server: int, bake_anew: Bake, tmp_path: Path) -> None:
    """With a password that no file of the project holds, and without any date of a package."""
    address = f"http://localhost:{server if way == 'direct' else 1}/simple"
    project = bake_anew(package_index=address)
    settings = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    needed = settings["project"]["dependencies"] + settings["dependency-groups"]["dev"]
    found = [re.match(r"([\w-]+)(?:[>=]=([\w.]+))?", requirement) for requirement in needed]
    pinned = dict(line.split("==") for line in settings["tool"]["uv"]["constraint-dependencies"])
    Index.packages = {name[1]: name[2] or "1.0" for name in found if name} | pinned
    ours = {name: text for name, text in clean_environment().items() if not re.match(r"(?i)uv_|.*_proxy$", name)}
    ours |= {"UV_CACHE_DIR": str(tmp_path), "UV_PYTHON_DOWNLOADS": "never", "UV_HTTP_RETRIES": "0"}
    if way == "proxy":
        ours |= {"HTTP_PROXY": f"http://127.0.0.1:{server}", "NO_PROXY": ""}

    def lock(**variables: str) -> str:
        result = subprocess.run(["uv", "lock"], cwd=project, env=ours | variables, capture_output=True, text=True)
        return "" if result.returncode == 0 else result.stderr

    assert "401 Unauthorized" in lock()
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login ada password secret\n", encoding="utf-8")
    login = {"UV_INDEX_ORGANISATION_USERNAME": "ada", "UV_INDEX_ORGANISATION_PASSWORD": "secret"}
    assert lock(**(login if way == "direct" else {"NETRC": str(netrc)})) == ""
    locked = tomllib.loads((project / "uv.lock").read_text(encoding="utf-8"))
    registries = {package["source"].get("registry") for package in locked["package"]}
    assert registries == {address, None}, "None is the project itself"
    assert "secret" not in (project / "uv.lock").read_text(encoding="utf-8")
