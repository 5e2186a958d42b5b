"""The contract of a release, held against every CI provider, and against a release without one."""

import ast
from collections.abc import Callable
from pathlib import Path

import pytest
from by_hand import put_on_desk
from conftest import Bake
from helpers import CHOICES, COOKIECUTTER, PATTERNS, TARGETS, files, lock
from on_azure import put_in_azure
from on_github import put_on_github
from on_gitlab import put_on_gitlab
from real_cli import check_workspace, hosted_answers, needs_cli, real_programs
from release_contract import ADVICE, APPROVAL, CHECKS, CODE, FORBIDDEN, MODEL, OPERATIONS, Provider
from stand_in import INJECTION, normal

ADAPTERS: dict[str, Callable[..., Provider]] = {
    "github-actions": put_on_github,
    "gitlab-ci": put_on_gitlab,
    "azure-devops": put_in_azure,
    "none": put_on_desk,
}
# hybrid releases code with the same files as deploy-code, which a test below sees to.
CODE_OF = ("deploy-code", "deploy-model")
MODEL_OF = ("deploy-model", "hybrid")
RELEASES = [*((pattern, "code") for pattern in CODE_OF), *((pattern, "model") for pattern in MODEL_OF)]

every_adapter = pytest.mark.parametrize("ci", ADAPTERS, ids=lambda ci: f"ci:{ci}")
every_provider = pytest.mark.parametrize("ci", [ci for ci in ADAPTERS if ci != "none"], ids=lambda ci: f"ci:{ci}")
code_of = pytest.mark.parametrize("pattern", CODE_OF, ids=lambda pattern: f"pattern:{pattern}")
model_of = pytest.mark.parametrize("pattern", MODEL_OF, ids=lambda pattern: f"pattern:{pattern}")
every_release = pytest.mark.parametrize(("pattern", "kind"), RELEASES)


@pytest.fixture
def provider(ci: str, pattern: str, bake: Bake, tmp_path: Path) -> Provider:
    """A project with a provider, on main, where somebody else than its starter approves what reaches prod."""
    return ADAPTERS[ci](bake(deployment_pattern=pattern, ci_provider=ci), tmp_path)


def before(commands: list[str]) -> list[str]:
    return commands[: commands.index(APPROVAL)]


def whole(commands: list[str]) -> list[str]:
    return [command for command in commands if command != APPROVAL]


def what_releases_code(project: Path, ci: str) -> dict[str, str]:
    """Return the files that release code, by name; of `release.py` its functions, without what a model has besides."""
    if ci != "none":
        words = ("release-code", "release-prod", "approver", "verify", "/steps/", "actions/")
        return {name: text.decode() for name, text in files(project).items() if any(word in name for word in words)}
    tree = ast.parse((project / "release.py").read_text(encoding="utf-8"))
    functions = {node.name: ast.unparse(node) for node in tree.body if isinstance(node, ast.FunctionDef)}
    return {name: text for name, text in functions.items() if name not in ("main", "release_model")}


def test_the_contract_is_complete() -> None:
    assert ADAPTERS.keys() == set(CHOICES["ci_provider"]), "ADAPTERS in tests/test_releases.py"
    assert CODE.keys() == set(PATTERNS), "CODE in tests/release_contract.py"
    receiving = {
        pattern for pattern, champion in COOKIECUTTER["__champion_is"].items() if champion["prod"] == "received"
    }
    assert MODEL.keys() == receiving, "MODEL in tests/release_contract.py"


@every_adapter
def test_where_staging_trains_code_is_released_alike(ci: str, bake: Bake) -> None:
    one, other = (
        what_releases_code(bake(deployment_pattern=pattern, ci_provider=ci), ci)
        for pattern in ("deploy-code", "hybrid")
    )
    assert len(one) > 1
    assert one == other


# Requests


@every_provider
@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: f"pattern:{pattern}")
def test_a_request_is_checked_and_deploys_nothing(provider: Provider) -> None:
    ran = provider.request()
    assert ran.succeeded, ran.said
    assert provider.lines("uv sync", "uv run") == CHECKS
    assert sorted(ran.commands) == sorted(
        normal(f"databricks bundle {command} --target {target}")
        for command in ("validate --strict", "plan")
        for target in TARGETS
    )
    provider.check_identities(request=True)


@every_provider
@pytest.mark.parametrize("pattern", ["hybrid"])
def test_a_fork_gets_no_identity(provider: Provider) -> None:
    ran = provider.request(fork=True)
    assert ran.succeeded and provider.lines("uv "), ran.said
    assert ran.commands == []
    assert not [call for call in provider.calls if "DATABRICKS_AUTH_TYPE" in call.environment]


# Releases of code


@every_adapter
@code_of
def test_main_goes_to_staging_only(provider: Provider, pattern: str) -> None:
    ran = provider.push()
    assert ran.succeeded, ran.said
    assert ran.commands == before(provider.code(pattern))
    provider.check_identities()


@every_adapter
@code_of
def test_a_tag_goes_through_staging_to_prod(provider: Provider, pattern: str) -> None:
    ran = provider.release("code")
    assert ran.succeeded, ran.said
    assert ran.commands == whole(provider.code(pattern))
    # The wheel is built once, after the tests and before any call that changes a workspace.
    lines = [call.line for call in provider.calls]
    assert lines.count("uv build --wheel") == 1
    deployed = next(number for number, line in enumerate(lines) if line.startswith("databricks bundle deploy"))
    assert lines.index("uv run pytest") < lines.index("uv build --wheel") < deployed
    provider.check_identities()
    assert ADVICE["code"] not in ran.said

    approved = {
        call.line: call.environment.get("BUNDLE_VAR_code_approved_by")
        for call in provider.calls
        if "bundle deploy" in call.line
    }
    nobody = pattern == "deploy-model" and provider.names_nobody_where_nothing_trains
    assert approved["databricks bundle deploy --target prod"] == (None if nobody else provider.approver_of_code)
    if pattern == "deploy-code" and provider.staged_by:
        assert approved["databricks bundle deploy --target staging"] == provider.staged_by


@every_adapter
@code_of
def test_a_failure_stops_what_follows(provider: Provider, pattern: str) -> None:
    stops_at_each(whole(provider.code(pattern)), provider, "code")


def stops_at_each(commands: list[str], provider: Provider, kind: str) -> None:
    """Let each command of a release fail in turn. A failure in prod says what to do next."""
    for at, command in enumerate(commands):
        provider.fail_at(command)
        ran = provider.release(kind)
        assert not ran.succeeded
        assert ran.commands == commands[: at + 1]
        assert (ADVICE[kind] in ran.said) == ("--target prod" in command), command


@every_adapter
@pytest.mark.parametrize("pattern", ["deploy-model"])
def test_nothing_is_deployed_after_a_failed_test(provider: Provider) -> None:
    for broken in ("uv run pytest", "uv sync"):
        provider.fail(broken)
        ran = provider.push()
        assert not ran.succeeded and ran.commands == [], broken


@every_adapter
@pytest.mark.parametrize("pattern", ["deploy-model"])
def test_a_tag_beside_main_is_refused(provider: Provider) -> None:
    provider.leave_main()
    ran = provider.release("code")
    assert not ran.succeeded and provider.lines("uv ", "databricks bundle") == []


# Releases of models


@every_adapter
@model_of
def test_a_model_release_deploys_no_code(provider: Provider, pattern: str) -> None:
    ran = provider.release("model")
    assert ran.succeeded, ran.said
    # The commands are all there are: no bundle is deployed, and no job trains.
    assert ran.commands == whole(provider.model(pattern))
    provider.check_identities()


@every_adapter
@pytest.mark.parametrize(
    ("pattern", "asked", "number"),
    [
        # In deploy-model the version is that of dev: prod gets the number that staging gave it.
        ("deploy-model", {"version": "7", "source_model": "dev.dev_ada.model"}, "12"),
        ("hybrid", {"version": "7"}, "7"),
        ("hybrid", {"version": "challenger"}, "13"),
    ],
)
def test_prod_gets_the_version_that_was_shown(
    provider: Provider, pattern: str, asked: dict[str, str], number: str
) -> None:
    ran = provider.release("model", **asked)
    source = asked.get("source_model", "")
    assert ran.commands == whole(provider.model(pattern, asked["version"], number, source)), ran.said


@every_adapter
@model_of
def test_a_failed_model_release_stops(provider: Provider, pattern: str) -> None:
    stops_at_each(whole(provider.model(pattern)), provider, "model")


@every_provider
@model_of
def test_a_version_that_changes_while_it_is_shown_is_not_released(provider: Provider, pattern: str) -> None:
    provider.answer("--field evidence", "cd" * 32 + "\n")
    ran = provider.release("model")
    assert not ran.succeeded
    assert ran.commands == before(provider.model(pattern))


@every_adapter
@pytest.mark.parametrize("pattern", ["hybrid"])
def test_a_version_that_is_not_there_is_refused_before_the_approval(provider: Provider) -> None:
    for version in ("previous", *(["", "7\nversion=8", INJECTION] if provider.inputs else [])):
        ran = provider.release("model", version=version)
        assert not ran.succeeded
        # `models` gets exactly what was typed, so it can refuse it.
        assert ran.commands == provider.model("hybrid", provider.received(version))[:1]
    assert not list(provider.here.rglob("hacked"))


# The approval


@every_adapter
@every_release
def test_without_an_approval_nothing_reaches_prod(provider: Provider, pattern: str, kind: str) -> None:
    assert provider.release(kind).succeeded
    tried = 0
    for way in provider.unapproved(kind):
        ran = provider.again(kind)
        assert not ran.succeeded, way
        assert not [command for command in ran.commands if "--target prod" in command], way
        tried += 1
    assert tried >= 3


# Operations


@every_provider
@pytest.mark.parametrize("pattern", ["hybrid"])
def test_an_operation_is_one_command(provider: Provider) -> None:
    reason = INJECTION if provider.inputs else "too many (x)"
    for target in ("staging", "prod"):
        for action, command in OPERATIONS.items():
            given = {"parameters": "run_date=2026-03-09,days=7"} if action.startswith("run") else {"reason": reason}
            ran = provider.operate(target, action, **given)
            expected = command.format(target=target, starter=provider.starter, reason=provider.received(reason))
            assert ran.commands == [normal(expected)], ran.said
            provider.check_identities()
    assert not list(provider.here.rglob("hacked"))


@every_provider
@pytest.mark.parametrize("pattern", ["deploy-code"])
def test_operators_choose_no_table_and_no_model(provider: Provider) -> None:
    hostile = ['"days=7,source_table=dev.ada.bought"', "days=7\nmodel=dev.ada.model", "run_date=${x}", INJECTION]
    for parameters in (*FORBIDDEN, *(hostile if provider.inputs else [])):
        ran = provider.operate("prod", "run training", parameters)
        assert not ran.succeeded and ran.commands == [], parameters
        assert not list(provider.here.rglob("hacked"))


# With the CLI itself


@pytest.mark.slow
@needs_cli
@every_adapter
@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: f"pattern:{pattern}")
def test_a_release_with_the_cli(ci: str, pattern: str, bake_anew: Bake, tmp_path: Path, tokens: str) -> None:
    """The CLI logs in, with what a provider gives to the job, plans, deploys, and starts the integration test."""
    project = bake_anew(deployment_pattern=pattern, ci_provider=ci, **hosted_answers())
    lock(project)
    provider = ADAPTERS[ci](project, tmp_path, real_programs())
    token = provider.log_in(tokens)
    if ci != "none":
        requested = provider.request()
        assert requested.succeeded, requested.said
        assert "create jobs.inference" in requested.said
    released = provider.release("code")
    assert released.succeeded, released.said
    assert released.commands == whole(provider.code(pattern))
    provider.check_identities()
    check_workspace(project.name, pattern, provider.lines(), provider.approver_of_code, token)
