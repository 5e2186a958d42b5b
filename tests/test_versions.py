"""Versions of the template: what is written about each, and how one is made."""

import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest
from helpers import ROOT

import tasks

FILES = ("pyproject.toml", "cookiecutter.json", "CHANGELOG.md", "docs/upgrading.md")


def headings(text: str) -> list[str]:
    return re.findall(r"^## (\S+)", text, re.MULTILINE)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that say the version, as they are now."""
    (tmp_path / "docs").mkdir()
    for name in FILES:
        shutil.copyfile(ROOT / name, tmp_path / name)
    monkeypatch.setattr(tasks, "ROOT", tmp_path)
    return tmp_path


def check_notes(folder: Path) -> None:
    """Each version but a patch says in docs/upgrading.md what a person has to do, or that there is nothing to do."""
    listed = headings((folder / "CHANGELOG.md").read_text(encoding="utf-8"))
    noted = headings((folder / "docs" / "upgrading.md").read_text(encoding="utf-8"))
    assert listed[0] == noted[0] == "Unreleased"
    assert {version for version in listed if version.endswith(".0")} <= set(noted) <= set(listed)


def test_each_version_has_a_note_for_who_upgrades() -> None:
    check_notes(ROOT)


def test_a_release_gives_what_is_unreleased_a_number(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {name: (repository / name).read_text(encoding="utf-8") for name in FILES}
    tasks.release("99.0.0")
    after = {name: (repository / name).read_text(encoding="utf-8") for name in FILES}
    assert tomllib.loads(after["pyproject.toml"])["project"]["version"] == "99.0.0"
    assert json.loads(after["cookiecutter.json"]) == json.loads(before["cookiecutter.json"]) | {"_version": "99.0.0"}
    for name in ("CHANGELOG.md", "docs/upgrading.md"):
        assert headings(after[name])[:2] == ["Unreleased", "99.0.0"]
        assert re.sub(r"## 99\.0\.0 - \d{4}-\d\d-\d\d\n\n?", "", after[name]).split() == before[name].split()
    check_notes(repository)
    assert "git tag --annotate v99.0.0" in capsys.readouterr().out

    with pytest.raises(SystemExit, match=r"99.0.0 is no version after 99.0.0. Type three numbers, such as 0.2.0"):
        tasks.release("99.0.0")
    with pytest.raises(SystemExit, match=r'CHANGELOG.md has nothing under "Unreleased". Write there what changed.'):
        tasks.release("99.1.0")
    changed = after["CHANGELOG.md"].replace("## Unreleased\n", "## Unreleased\n\n- A repair.\n")
    (repository / "CHANGELOG.md").write_text(changed, encoding="utf-8")
    with pytest.raises(SystemExit, match=r"upgrading.md has nothing"):
        tasks.release("99.1.0")
    tasks.release("99.0.1")  # a patch asks for nothing
    check_notes(repository)


@pytest.mark.parametrize("version", ["v1.0.0", "1.0", "0.0.9", "1.0.0-rc1"])
def test_what_is_no_later_version_is_refused(version: str, repository: Path) -> None:
    with pytest.raises(SystemExit, match="is no version after"):
        tasks.release(version)
