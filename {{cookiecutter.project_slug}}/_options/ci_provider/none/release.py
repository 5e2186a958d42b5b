"""Releases by hand, one command for each, with the gates of a CI/CD system: the first step that fails ends a release.

    uv run release.py code           checks the commit, tests it, and releases it to staging
    uv run release.py code v1.2.0    the same, then tags it and releases it to prod, after an approval
{%- if cookiecutter.__prod_champion == "received" %}
    uv run release.py model          releases a model version to prod, after acceptance and an approval; deploys no code
{%- endif %}

Every command is printed before it runs, so all of them can be typed as well: docs/releasing.md explains them.
"""

import getpass
import os
import shlex
import shutil
import subprocess
from argparse import ArgumentParser{{ ', Namespace' if cookiecutter.__prod_champion == 'received' }}

# What a code release passes through; the job integration_test runs in the first one.
ENVIRONMENTS = ({{ '"staging", "prod"' if cookiecutter.__staging_champion == "trained" else '"dev", "staging", "prod"' }})
CHECKS = ("uv sync --locked", "uv run ruff check", "uv run ruff format --check", "uv run mypy", "uv run pytest")


class ReleaseError(RuntimeError):
    """The release ends here; the message says what to do."""


def call(*command: str, capture: bool = False, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command with further environment variables; its output goes to the terminal unless it is captured."""
    program = shutil.which(command[0])
    if program is None:
        raise ReleaseError(f"{command[0]} is not on the PATH. Install it and start again.")
    output = subprocess.PIPE if capture else None
    return subprocess.run([program, *command[1:]], stdout=output, text=True, env=os.environ | variables)


def step(*command: str, capture: bool = False, **variables: str) -> str:
    """Run one step of a release, and return what it printed if that is captured.

    Raises:
        ReleaseError: if it fails.
    """
    print(f"\n$ {shlex.join(command)}", flush=True)
    result = call(*command, capture=capture, **variables)
    if result.returncode:
        raise ReleaseError(f"`{shlex.join(command)}` failed, and nothing after it was started.")
    return (result.stdout or "").strip()


def git(*arguments: str) -> str | None:
    """Return what git prints, None if it fails."""
    result = call("git", *arguments, capture=True)
    return None if result.returncode else result.stdout.strip()


def check_commit(version: str) -> bool:
    """Refuse what no CI/CD system would release, and return whether the repository has a git host.

    Raises:
        ReleaseError: if the folder is no clean commit of main, or `version` names another commit.
    """
    commit = git("rev-parse", "HEAD")
    if commit is None:
        raise ReleaseError("There is no commit to release. Run git init --initial-branch main, and commit the project.")
    if git("status", "--porcelain"):
        raise ReleaseError("The folder differs from its commit, see git status. Commit the changes, or put them away.")
    shared = git("remote", "get-url", "origin") is not None
    if shared and git("fetch", "--quiet", "--tags", "origin", "main") is None:
        raise ReleaseError("git cannot fetch main from origin. Repair that first: only a commit of main is released.")
    main = "FETCH_HEAD" if shared else "main"
    if git("merge-base", "--is-ancestor", commit, main) is None:
        where = "the main of origin" if shared else "the branch main"
        raise ReleaseError(f"This commit is not on {where}, so nobody reviewed it. Merge it first.")
    if version and git("rev-parse", "--verify", "--quiet", f"refs/tags/{version}" + "^{commit}") not in (None, commit):
        raise ReleaseError(f"{version} names another commit. Choose the next version, or switch to that commit.")
    return shared


def approval(what: str, given: str) -> str:
    """Return who approves, asking whoever sits here unless it was `given` with the command.

    Raises:
        ReleaseError: if nobody does.
    """
    if given:
        return given
    print(f"\n{what} waits for an approval. Whoever owns prod reads what stands above, and decides.")
    try:
        name = input("Approved by (a name; only Enter refuses): ").strip()
    except EOFError:
        name = ""
    if not name:
        raise ReleaseError(f"{what} was not approved, and prod was not changed.")
    return name


def deploy(target: str, approved_by: str) -> None:
    # The name is recorded on every model version that this code trains there.
    step("databricks", "bundle", "deploy", "--target", target, BUNDLE_VAR_code_approved_by=approved_by)


def release_code(version: str, approved_by: str) -> str:
    """Release the commit to staging and, as `version`, to prod. No champion changes by it."""
    shared = check_commit(version)
    for check in CHECKS:
        step(*check.split())
    for target in ENVIRONMENTS:
        step("databricks", "bundle", "validate", "--strict", "--target", target)
    for target in ENVIRONMENTS[:-1]:
        deploy(target, approved_by or getpass.getuser())
        if target == ENVIRONMENTS[0]:
            step("databricks", "bundle", "run", "integration_test", "--target", target)
    if not version:
        return "Released to staging. Give a version, such as v1.2.0, to release to prod as well."

    step("databricks", "bundle", "plan", "--target", "prod")
    approver = approval(f"The release of {version} to prod", approved_by)
    if git("rev-parse", "--verify", "--quiet", f"refs/tags/{version}") is None:
        step("git", "tag", "--annotate", version, "--message", f"Approved by {approver}")
    if shared:
        step("git", "push", "origin", version)
    try:
        deploy("prod", f"{approver} ({version})")
        step("databricks", "bundle", "summary", "--target", "prod")
    except ReleaseError as error:
        raise ReleaseError(
            f"{error} {version} was not fully released to prod; the champion and its predictions are untouched. "
            "Repair the cause and give the same command again: a deployment that is repeated ends like one that went "
            "through. To go back, switch to the last good tag and give the command with it."
        ) from None
    return f"Released {version} to staging and prod."
{%- if cookiecutter.__prod_champion == "received" %}


def release_model(given: Namespace) -> str:
    """Release the version that `given` names where the model is trained. No code is deployed."""
    models, local, version = ("uv", "run", "models"), ["--local"] * given.local, given.version
{%- if cookiecutter.__trained_in == "dev" %}
    source = ("--source-model", given.source_model) if given.source_model else ("--source", "dev")
    step(*models, "promote", "--target", "staging", *source, "--version", version, *local)
    version = "champion"  # of staging, which has just accepted it
{%- endif %}
    step(*models, "status", "--target", "staging", *local)
    # What the approver saw is what prod gets, also if staging has another champion by then.
    number = step(*models, "number", "--target", "staging", "--version", version, *local, capture=True)
    approver = approval(f"The release of version {number} of staging to prod", given.approved_by)
    decision = ("--approve", "--by", approver, "--reason", given.reason)
    try:
        step(*models, "promote", "--target", "prod", "--source", "staging", "--version", number, *decision, *local)
    except ReleaseError as error:
        raise ReleaseError(
            f"{error} Unless the log says that the new version serves, the champion is untouched. "
            "docs/promotion.md says what to do at each step. Then give the same command again: a promotion that is "
            "repeated ends like one that went through."
        ) from None
    return f"Released version {number} of staging to prod."
{%- endif %}


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    code = commands.add_parser("code", help="to staging and, with a version, to prod")
    code.add_argument("version", nargs="?", default="", help="tag for the commit, such as v1.2.0; none: staging only")
    kinds = [code]
{%- if cookiecutter.__prod_champion == "received" %}
    model = commands.add_parser("model", help="a model version to prod; deploys no code")
    model.add_argument("--version", default="champion", help="number or alias in {{ cookiecutter.__trained_in }} (default: champion)")
{%- if cookiecutter.__trained_in == "dev" %}
    model.add_argument("--source-model", default="", help="its full name there (default: the one that you deployed)")
{%- endif %}
    model.add_argument("--reason", default="not given", help="why, recorded on the version")
    model.add_argument("--local", action="store_true", help="on the laptop, not in a workspace")
    kinds.append(model)
{%- endif %}
    for kind in kinds:
        kind.add_argument("--approved-by", default="", metavar="NAME", help="who has approved prod already")
    given = parser.parse_args()
    try:
{%- if cookiecutter.__prod_champion == "received" %}
        print(release_model(given) if given.command == "model" else release_code(given.version, given.approved_by))
{%- else %}
        print(release_code(given.version, given.approved_by))
{%- endif %}
    except ReleaseError as error:
        raise SystemExit(f"release: {error}") from None


if __name__ == "__main__":
    main()
