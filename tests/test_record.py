"""Every project says which template made it, from which commit and with which answers: in cruft's own format."""

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from helpers import COOKIECUTTER, QUESTIONS, RECORD, ROOT, commit, run
from test_update import change, copied, create, rendered, update

import template_extensions


@pytest.fixture
def template(tmp_path: Path) -> Path:
    return copied(tmp_path)


def render(template: Path | str, folder: Path, *answers: str, **variables: str) -> Path:
    """Make a project with plain cookiecutter."""
    folder.mkdir()
    result = run("cookiecutter", "--no-input", template, *answers, cwd=folder, **variables)
    assert result.returncode == 0, result.stdout
    (project,) = folder.iterdir()
    return project


def record_of(project: Path) -> dict[str, Any]:
    return json.loads((project / RECORD).read_bytes())


def head(repository: Path) -> str:
    return run("git", "rev-parse", "HEAD", cwd=repository).stdout.strip()


def test_a_project_of_plain_cookiecutter_is_updated(template: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    assert run("git", "clone", "--quiet", template, clone, cwd=tmp_path).returncode == 0
    project = render(clone, tmp_path / "first", "compute=classic", "project_name=日本語 モデル")
    record = record_of(project)
    assert (record["template"], record["commit"], record["checkout"]) == (str(template), head(template), None)
    answers = record["context"]["cookiecutter"]
    assert answers.keys() == {*QUESTIONS, "_template", "_commit", "_version"}
    assert (answers["compute"], answers["project_name"]) == ("classic", "日本語 モデル")
    assert answers["_version"] == COOKIECUTTER["_version"]
    assert str(tmp_path / "first") not in (project / RECORD).read_text(encoding="utf-8")

    own = project / "README.md"
    own.write_text(own.read_text(encoding="utf-8") + "\n## Contact\n\nAda.\n", encoding="utf-8")
    commit(project)
    change(template)
    update(project)

    assert own.read_text(encoding="utf-8").endswith("\n## Contact\n\nAda.\n")
    anew = create(template, tmp_path / "anew", compute="classic", project_name="日本語 モデル")
    before, after = rendered(anew), rendered(project)
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} == {"README.md"}
    assert record_of(project) == record_of(anew), "cruft writes its own record, and the version is in it as well"
    assert (
        record_of(project)["context"]["cookiecutter"].items()
        >= {
            "_commit": head(template),
            "_version": COOKIECUTTER["_version"],
        }.items()
    )


def test_the_record_does_not_name_a_repository_that_lacks_the_commit(template: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    assert run("git", "clone", "--quiet", template, clone, cwd=tmp_path).returncode == 0
    (clone / "LICENSE").write_text("ours\n", encoding="utf-8")
    commit(clone)
    record = record_of(render(clone, tmp_path / "project"))
    assert (record["template"], record["commit"]) == (str(clone), head(clone))


def test_a_download_knows_its_commit(template: Path, tmp_path: Path) -> None:
    """GitHub, GitLab and `git archive` write the commit into .git_archival.txt."""
    archive = tmp_path / "template.zip"
    made = run("git", "archive", "--prefix=template/", "--output", archive, "HEAD", cwd=template)
    assert made.returncode == 0, made.stdout
    record = record_of(render(archive, tmp_path / "project"))
    assert (record["template"], record["commit"]) == (str(archive), head(template))


def test_a_copy_without_git_has_no_commit(template: Path, tmp_path: Path) -> None:
    shutil.rmtree(template / ".git")
    record = record_of(render(template, tmp_path / "project"))
    assert (record["template"], record["commit"]) == (str(template), None)


def test_the_version_is_that_of_the_template() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert COOKIECUTTER["_version"] == version


def test_a_token_in_the_address_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"rev-parse": "a" * 40, "for-each-ref": "a ref", "remote": "https://ci:secret@example.com/us/template.git"}
    monkeypatch.setattr(template_extensions, "git", lambda command, *rest: said[command])
    assert template_extensions.origin("gh:us/template") == {
        "template": "https://example.com/us/template.git",
        "commit": "a" * 40,
    }
