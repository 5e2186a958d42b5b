"""Releases without a CI/CD system: `release.py` and the commands of the documents.

What a release calls is the same with every provider: see test_releases.py.
"""

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from by_hand import Desk, put_on_desk, with_host
from conftest import Bake
from helpers import commit, every_pattern, run
from stand_in import EVIDENCE, put_program

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not on the PATH")

RECEIVING = ("deploy-model", "hybrid")
CODE = ("code", "v1.2.0")


@pytest.fixture
def desk(bake: Bake, tmp_path: Path, pattern: str) -> Desk:
    """A project of the pattern, on the branch main, without a git host."""
    return put_on_desk(bake(deployment_pattern=pattern, ci_provider="none"), tmp_path)


def code_release(pattern: str) -> list[str]:
    """Return the calls of a whole code release, in their order."""
    path = ["dev", "staging", "prod"] if pattern == "deploy-model" else ["staging", "prod"]
    deploy = [f"databricks bundle deploy --target {target}" for target in path]
    return [
        *("uv sync --locked", "uv run ruff check", "uv run ruff format --check", "uv run mypy", "uv run pytest"),
        *(f"databricks bundle validate --strict --target {target}" for target in path),
        "uv build --wheel",
        *(deploy[0], f"databricks bundle run integration_test --target {path[0]}"),
        *deploy[1:-1],
        "databricks bundle plan --target prod",
        *(deploy[-1], "databricks bundle summary --target prod"),
    ]


def model_release(pattern: str, version: str, number: str) -> list[str]:
    """Return the calls of a whole model release, in their order."""
    accept = [f"uv run models promote --target staging --source dev --version {version}"]
    received = pattern == "deploy-model"
    show = "uv run models show --target staging --version"
    return [
        *(accept if received else []),
        f"{show} {'champion' if received else version} --field version",
        f"{show} {number} --field evidence",
        f"{show} {number}",
        f"uv run models promote --target prod --source staging --version {number} --evidence {EVIDENCE} "
        "--approve --by Ada Example --reason better",
    ]


@every_pattern
def test_code_goes_through_staging_to_prod(desk: Desk, pattern: str) -> None:
    result = desk.type(*CODE, answer="Ada Example\n")
    assert result.returncode == 0, result.stdout
    assert desk.lines() == code_release(pattern)
    (prod,) = [call for call in desk.calls if "deploy --target prod" in call.line]
    assert prod.environment["BUNDLE_VAR_code_approved_by"] == "Ada Example (v1.2.0)"
    assert desk.tags() == "v1.2.0"
    # Again: a repeated release ends like one that went through.
    assert desk.type(*CODE, "--approved-by", "Ada Example").returncode == 0
    assert desk.lines() == code_release(pattern)


@pytest.mark.parametrize("pattern", ["deploy-model"])
def test_without_a_version_code_ends_in_staging(desk: Desk, pattern: str) -> None:
    result = desk.type("code")
    assert result.returncode == 0, result.stdout
    whole = code_release(pattern)
    assert desk.lines() == whole[: whole.index("databricks bundle plan --target prod")]
    assert desk.tags() == ""


@pytest.mark.parametrize("pattern", ["deploy-model"])
def test_without_an_approval_prod_stays_as_it_is(desk: Desk, pattern: str) -> None:
    for answer in ("", "\n", "   \n"):
        result = desk.type(*CODE, answer=answer)
        assert result.returncode == 1
        assert "release: The release of v1.2.0, commit " in result.stdout
        assert " to prod was not approved, and prod was not changed." in result.stdout
        assert not [line for line in desk.lines() if "deploy --target prod" in line]
        assert desk.tags() == ""
    assert run("git", "status", "--porcelain", cwd=desk.project).stdout == ""


@pytest.mark.parametrize("pattern", ["deploy-model"])
def test_the_first_failure_ends_a_code_release(desk: Desk, pattern: str) -> None:
    whole = code_release(pattern)
    for number, line in enumerate(whole):
        desk.fail(line)
        result = desk.type(*CODE, answer="Ada Example\n")
        assert result.returncode == 1
        assert desk.lines() == whole[: number + 1]
        # A failure in prod says what to do next.
        in_prod = number >= len(whole) - 2
        assert ("v1.2.0 was not fully released to prod" in result.stdout) == in_prod
        assert (desk.tags() == "v1.2.0") == in_prod


@pytest.mark.parametrize("pattern", ["deploy-model"])
def test_only_a_clean_commit_of_main_is_released(desk: Desk) -> None:
    def refused(*arguments: str) -> str:
        result = desk.type(*arguments, answer="Ada Example\n")
        assert result.returncode == 1 and desk.lines() == []
        return result.stdout

    host = with_host(desk)
    (desk.project / "more.txt").write_text("not committed\n", encoding="utf-8")
    assert "differs from its commit" in refused(*CODE)
    commit(desk.project)
    assert "is not on the main of origin, so nobody reviewed it" in refused(*CODE)
    assert run("git", "push", "--quiet", "origin", "main", cwd=desk.project).returncode == 0
    assert run("git", "tag", "v1.1.0", "HEAD~1", cwd=desk.project).returncode == 0
    assert "v1.1.0 names another commit" in refused("code", "v1.1.0")
    assert desk.type(*CODE, answer="Ada Example\n").returncode == 0
    assert desk.tags(f"--git-dir={host}") == "v1.2.0"
    # An older release is the way back.
    assert run("git", "switch", "--quiet", "--detach", "v1.1.0", cwd=desk.project).returncode == 0
    assert desk.type("code", "v1.1.0", answer="Ada Example\n").returncode == 0

    assert run("git", "remote", "remove", "origin", cwd=desk.project).returncode == 0
    assert run("git", "switch", "--quiet", "--create", "feature", cwd=desk.project).returncode == 0
    (desk.project / "more.txt").write_text("not reviewed\n", encoding="utf-8")
    commit(desk.project)
    assert "is not on the branch main, so nobody reviewed it" in refused(*CODE)
    shutil.rmtree(desk.project / ".git", ignore_errors=os.name == "nt")
    assert os.name == "nt" or "There is no commit to release" in refused(*CODE)


# While a release waits for its approval


@pytest.fixture
def deployments(desk: Desk) -> Callable[[], list[dict[str, Any]]]:
    """Return a function that returns what was deployed, as a program notes it that stands for the Databricks CLI."""
    noted, folder = desk.here / "deployed.jsonl", desk.here / "real"
    folder.mkdir()
    put_program(folder, "databricks", "deployer.py", str(noted))
    (program,) = folder.iterdir()
    (desk.here / "real.json").write_text(json.dumps({"databricks": str(program)}), encoding="utf-8")
    return lambda: [json.loads(line) for line in noted.read_text(encoding="utf-8").splitlines()]


def head(desk: Desk, revision: str = "HEAD") -> str:
    return run("git", "rev-parse", revision, cwd=desk.project).stdout.strip()


@every_pattern
def test_what_was_checked_is_what_is_deployed(
    desk: Desk, deployments: Callable[[], list[dict[str, Any]]], pattern: str
) -> None:
    """Files change, main moves, and the terminal names other settings: none of it gets into prod."""
    checked, bundle = head(desk), desk.project / "databricks.yml"
    before = bundle.read_text(encoding="utf-8")

    def attack() -> None:
        bundle.write_text(before + "# not reviewed\n", encoding="utf-8")
        commit(desk.project)
        bundle.write_text(before + "# not even committed\n", encoding="utf-8")

    settings = {"BUNDLE_VAR_source_table": "dev.evil.source", "DATABRICKS_BUNDLE_ROOT": str(desk.here)}
    code, said = desk.release_while(attack, *CODE, **settings)
    assert code == 0, said
    assert head(desk) != checked
    assert head(desk, "v1.2.0^{commit}") == checked
    found = deployments()
    assert [deployed["target"] for deployed in found] == (
        ["dev", "staging", "prod"] if pattern == "deploy-model" else ["staging", "prod"]
    )
    for deployed in found:
        assert (deployed["commit"], deployed["sources"]) == (checked, before)
        assert deployed["wheel"] == found[0]["wheel"]
        assert deployed["told"] == ["bundle_var_build", "bundle_var_code_approved_by"]


@pytest.mark.parametrize("pattern", ["hybrid"])
@pytest.mark.parametrize("name", ["fraud-0.1.0-py3-none-any.whl", "fraud-9.9.9-py3-none-any.whl"])
def test_the_package_that_was_tested_is_the_one_that_is_deployed(
    desk: Desk, deployments: Callable[[], list[dict[str, Any]]], name: str
) -> None:
    def attack() -> None:
        (dist,) = desk.place.glob("*/*/dist")
        (dist / name).write_text("another package", encoding="utf-8")

    code, said = desk.release_while(attack, *CODE)
    assert code == 1 and "not the package that was tested" in said, said
    assert [deployed["target"] for deployed in deployments()] == ["staging"]


@pytest.mark.parametrize("pattern", ["hybrid"])
def test_a_tag_that_somebody_else_gave_meanwhile_ends_the_release(
    desk: Desk, deployments: Callable[[], list[dict[str, Any]]]
) -> None:
    def attack() -> None:
        (desk.project / "more.txt").write_text("not reviewed\n", encoding="utf-8")
        commit(desk.project)
        assert run("git", "tag", "v1.2.0", cwd=desk.project).returncode == 0

    code, said = desk.release_while(attack, *CODE)
    assert code == 1 and "Somebody gave v1.2.0 to another commit meanwhile" in said, said
    assert [deployed["target"] for deployed in deployments()] == ["staging"]


@pytest.mark.parametrize("pattern", ["hybrid"])
def test_nothing_is_left_of_the_checkout(desk: Desk) -> None:
    for line in ("bundle summary", "uv run pytest", "no call"):
        desk.fail(line)
        desk.type(*CODE, "--approved-by", "Ada Example")
        assert not list(desk.place.glob("release-*"))
        assert len(run("git", "worktree", "list", cwd=desk.project).stdout.splitlines()) == 1


@pytest.mark.parametrize("pattern", ["deploy-code"])
def test_what_logs_in_stays_out_of_git(desk: Desk) -> None:
    for name in (".env", ".env.prod", ".databrickscfg", "service-principal.pem", "client.key"):
        (desk.project / name).write_text("secret\n", encoding="utf-8")
        assert run("git", "status", "--porcelain", cwd=desk.project).stdout == "", name


@pytest.mark.parametrize("pattern", RECEIVING)
def test_a_model_goes_to_prod_and_no_code_with_it(desk: Desk, pattern: str) -> None:
    result = desk.type("model", "--reason", "better", answer="Ada Example\n")
    assert result.returncode == 0, result.stdout
    assert desk.lines() == model_release(pattern, "champion", "12")
    assert desk.type("model", "--version", "5", "--reason", "better", "--approved-by", "Ada Example").returncode == 0
    assert desk.lines() == model_release(pattern, "5", "12" if pattern == "deploy-model" else "5")


@pytest.mark.parametrize("pattern", RECEIVING)
def test_a_model_stops_at_the_first_failure_and_without_an_approval(desk: Desk, pattern: str) -> None:
    whole = model_release(pattern, "champion", "12")
    result = desk.type("model")
    assert result.returncode == 1 and desk.lines() == whole[:-1]
    assert "was not approved, and prod was not changed" in result.stdout
    for number, line in enumerate(whole):
        if sum(line in other for other in whole) > 1:
            continue  # the one that is longer fails as well, and earlier
        desk.fail(line)
        result = desk.type("model", "--reason", "better", answer="Ada Example\n")
        assert result.returncode == 1 and desk.lines() == whole[: number + 1]
        assert ("docs/promotion.md says what to do" in result.stdout) == (number == len(whole) - 1)


@pytest.mark.parametrize("pattern", ["deploy-code"])
def test_there_is_no_model_release_where_prod_trains(desk: Desk) -> None:
    result = desk.type("model")
    assert result.returncode == 2 and "invalid choice: 'model'" in result.stdout


@every_pattern
def test_the_command_is_clean_and_explains_itself(desk: Desk, pattern: str) -> None:
    for check in (("check", "--no-cache"), ("format", "--check", "--no-cache")):
        result = run(sys.executable, "-m", "ruff", *check, "release.py", cwd=desk.project)
        assert result.returncode == 0, result.stdout
    for command in ("code", "model") if pattern in RECEIVING else ("code",):
        assert "--approved-by NAME" in desk.type(command, "--help").stdout


def commands(project: Path, document: str, heading: str) -> list[list[str]]:
    """Return the commands below a heading of a document, in their order."""
    text = (project / document).read_text(encoding="utf-8")
    section = re.split(r"^## ", text.split(f"## {heading}\n")[1], flags=re.MULTILINE)[0]
    blocks = re.findall(r"^```shell\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


@every_pattern
def test_the_documents_list_the_steps_of_the_command(desk: Desk, pattern: str) -> None:
    """The commands of docs/releasing.md, typed in their order, do what `release.py` does."""
    with_host(desk)
    chapters = {"Release code": [line for line in code_release(pattern) if line != "uv build --wheel"]}
    if pattern in RECEIVING:
        reason = "better on the holdout, reviewed with its users"
        *accepted, _, _, _, promotion = model_release(pattern, "champion", "7")
        show = "uv run models show --target staging --version champion"
        promotion = promotion.replace("better", reason).replace(EVIDENCE, "e5e5…")
        chapters["Release a model"] = [*accepted, show, promotion]
    for heading, expected in chapters.items():
        desk.forget()
        one, *steps = commands(desk.project, "docs/releasing.md", heading)
        assert one[:3] == ["uv", "run", "release.py"]
        for step in steps:
            if step[0] == "cd":
                desk.project = desk.project / step[1]
                continue
            result = desk.start(*step)
            assert result.returncode == 0, result.stdout
        assert [re.sub(r" --var code_approved_by=.*", "", line) for line in desk.lines()] == expected
    assert desk.tags() == "v1.2.0"


@every_pattern
def test_the_readme_lists_the_steps_as_well(desk: Desk, pattern: str) -> None:
    one, *steps = commands(desk.project, "README.md", "Releases")
    assert one == ["uv", "run", "release.py", "code", "v1.2.0"]
    listed = [" ".join(step) for step in steps if step[0] != "git"]
    earlier = [line for line in code_release(pattern) if "validate" in line and "prod" not in line]
    assert listed == [line for line in code_release(pattern) if line not in (*earlier, "uv build --wheel")]
