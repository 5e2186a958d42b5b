"""Releases by hand, one command for each, with the gates of a CI/CD system: the first step that fails ends a release.

    uv run release.py code           checks the commit, tests it, and releases it to staging
    uv run release.py code v1.2.0    the same, then tags it and releases it to prod, after an approval
{%- if cookiecutter.__prod_champion == "received" %}
    uv run release.py model          releases a model version to prod, after acceptance and an approval; deploys no code
{%- endif %}

Every command is printed before it runs, so all of them can be typed as well: docs/releasing.md explains them.
"""

import getpass
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from argparse import ArgumentParser{{ ', Namespace' if cookiecutter.__prod_champion == 'received' }}
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

# What a code release passes through; the job integration_test runs in the first one.
ENVIRONMENTS = ({{ '"staging", "prod"' if cookiecutter.__staging_champion == "trained" else '"dev", "staging", "prod"' }})
# Settings of this terminal that would release something else than the commit says.
FOREIGN = ("BUNDLE_VAR_", "DATABRICKS_BUNDLE_ROOT", "VIRTUAL_ENV")
CHECKS = ("uv sync --locked", "uv run ruff check", "uv run ruff format --check", "uv run mypy", "uv run pytest")


class ReleaseError(RuntimeError):
    """The release ends here; the message says what to do."""


def call(*command: str, capture: bool = False, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command with further environment variables; its output goes to the terminal unless it is captured."""
    program = shutil.which(command[0])
    if program is None:
        raise ReleaseError(f"{command[0]} is not on the PATH. Install it and start again.")
    output = subprocess.PIPE if capture else None
    environment = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)} | variables
    return subprocess.run([program, *command[1:]], stdout=output, text=True, env=environment)


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


def tagged(version: str) -> str | None:
    """Return the commit that a tag names, None if there is no such tag."""
    return git("rev-parse", "--verify", "--quiet", f"refs/tags/{version}" + "^{commit}")


def check_commit(version: str) -> tuple[str, bool]:
    """Refuse what no CI/CD system would release, and return the commit, and whether the repository has a git host.

    Raises:
        ReleaseError: if the folder is not a clean commit of main, or `version` names another commit.
    """
    commit = git("rev-parse", "HEAD")
    if commit is None:
        raise ReleaseError("There is no commit to release. Run git init --initial-branch main, and commit the project.")
    if git("status", "--porcelain"):
        raise ReleaseError("The folder differs from its commit, see git status. Commit the changes, or stash them.")
    shared = git("remote", "get-url", "origin") is not None
    if shared and git("fetch", "--quiet", "--tags", "origin", "main") is None:
        raise ReleaseError("git cannot fetch main from origin. Fix that first: only a commit of main is released.")
    main = "FETCH_HEAD" if shared else "refs/heads/main"
    if git("merge-base", "--is-ancestor", commit, main) is None:
        where = "the main of origin" if shared else "the branch main"
        raise ReleaseError(f"This commit is not on {where}, so nobody reviewed it. Merge it first.")
    if version and tagged(version) not in (None, commit):
        raise ReleaseError(f"{version} names another commit. Choose the next version, or switch to that commit.")
    return commit, shared


@contextmanager
def checkout(commit: str) -> Iterator[None]:
    """Work in a checkout of `commit` of its own: what changes in the folder of the project meanwhile is not released.

    Raises:
        ReleaseError: if there is none to be had.
    """
    with TemporaryDirectory(prefix="release-", ignore_cleanup_errors=True) as place:
        folder = str(Path(place, "checkout"))
        step("git", "worktree", "add", "--quiet", "--detach", folder, commit)
        try:
            with chdir({{ "folder" if cookiecutter.__shared == "no" else 'Path(folder, "%s")' % cookiecutter.__path }}):
                yield
        finally:
            git("worktree", "remove", "--force", folder)


def build() -> str:
    """Build the package, and return the command that deployments run instead: it checks that it is still the same.

    Its quotes and characters mean the same to a shell and to the command prompt of Windows.
    """
    step("uv", "build", "--wheel")
    found = [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in Path("dist").glob("*.whl")]
    check = (
        "import hashlib, pathlib; wheels = pathlib.Path('dist').glob('*.whl'); "
        "found = [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in wheels]; "
        f"assert found == {found}, 'not the package that was tested'"
    )
    return f'"{sys.executable}" -c "{check}"'


def approval(what: str, given: str) -> str:
    """Return who approves, asking whoever sits here unless it was `given` with the command.

    Raises:
        ReleaseError: if nobody does.
    """
    if given:
        return given
    print(f"\n{what} waits for an approval. Whoever owns prod reads the text above, and decides.")
    try:
        name = input("Approved by (a name; only Enter refuses): ").strip()
    except EOFError:
        name = ""
    if not name:
        raise ReleaseError(f"{what} was not approved, and prod was not changed.")
    return name


def deploy(target: str, approved_by: str, package: str) -> None:
    # The name is recorded on every model version that this code trains there.
    command = ("databricks", "bundle", "deploy", "--target", target)
    step(*command, BUNDLE_VAR_code_approved_by=approved_by, BUNDLE_VAR_build=package)


def release_code(version: str, approved_by: str) -> str:
    """Release the commit to staging and, as `version`, to prod. No champion changes by it."""
    commit, shared = check_commit(version)
    with checkout(commit):
        return release_checkout(commit, shared, version, approved_by)


def release_checkout(commit: str, shared: bool, version: str, approved_by: str) -> str:
    for check in CHECKS:
        step(*check.split())
    for target in ENVIRONMENTS:
        step("databricks", "bundle", "validate", "--strict", "--target", target)
    package = build()
    for target in ENVIRONMENTS[:-1]:
        deploy(target, approved_by or getpass.getuser(), package)
        if target == ENVIRONMENTS[0]:
            step("databricks", "bundle", "run", "integration_test", "--target", target)
    if not version:
        return "Released to staging. Give a version, such as v1.2.0, to release to prod as well."

    step("databricks", "bundle", "plan", "--target", "prod", BUNDLE_VAR_build=package)
    approver = approval(f"The release of {version}, commit {commit[:12]}, to prod", approved_by)
    if tagged(version) is None:
        step("git", "tag", "--annotate", version, "--message", f"Approved by {approver}", commit)
    if tagged(version) != commit:
        raise ReleaseError(f"Somebody gave {version} to another commit meanwhile. Choose the next version.")
    if shared:
        step("git", "push", "origin", f"refs/tags/{version}")
    try:
        deploy("prod", f"{approver} ({version})", package)
        step("databricks", "bundle", "summary", "--target", "prod")
    except ReleaseError as error:
        raise ReleaseError(
            f"{error} {version} was not fully released to prod; the champion and its predictions are untouched. "
            "Fix the cause and run the same command again: a deployment that is repeated ends like one that went "
            "through. To go back, switch to the last good tag and run the command with it."
        ) from None
    return f"Released {version} to staging and prod."
{%- if cookiecutter.__prod_champion == "received" %}


def release_model(given: Namespace) -> str:
    """Release the version that `given` names where the model is trained. No code is deployed."""
    models = ("uv", "run", *(("python", "-m", "local") if given.local else ()), "models")
    version = given.version
{%- if cookiecutter.__trained_in == "dev" %}
    source = ("--source-model", given.source_model) if given.source_model else ("--source", "dev")
    step(*models, "promote", "--target", "staging", *source, "--version", version)
    version = "champion"  # of staging, which has just accepted it
{%- endif %}
    show = (*models, "show", "--target", "staging", "--version")
    # What the approver sees is what prod gets, also if staging has another champion by then.
    number = step(*show, version, "--field", "version", capture=True)
    evidence = step(*show, number, "--field", "evidence", capture=True)
    step(*show, number)
    approver = approval(f"The release of version {number} of staging to prod", given.approved_by)
    decision = ("--evidence", evidence, "--approve", "--by", approver, "--reason", given.reason)
    try:
        step(*models, "promote", "--target", "prod", "--source", "staging", "--version", number, *decision)
    except ReleaseError as error:
        raise ReleaseError(
            f"{error} Unless the log says that the new version serves, the champion is untouched. "
            "docs/promotion.md says what to do at each step. Then run the same command again: a promotion that is "
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
