"""Brings into a project what changed in its template, or other answers: as one commit, on a branch of its own."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import click
from rich.console import Console
from rich.markdown import Markdown

from . import describe
from .place import WORKFLOWS, copies
from .render import RECORD, Record, clone, git, render, resolve

NEEDS = (2, 38)  # of git: `merge-tree --write-tree`
UNDECIDED = 3  # the exit code, beside those of click: 1 for an error, 2 for a wrong command


@dataclasses.dataclass
class Proposal:
    """An update that waits on a branch.

    Attributes:
        branch: its name, in the project's repository.
        title: one line.
        description: Markdown, without the title.
        conflicts: what a person must decide, by path within the project.
        tests: whether the project's own tests passed, None if they were not run.
    """

    branch: str
    title: str
    description: str
    conflicts: dict[str, str]
    tests: bool | None


@dataclasses.dataclass
class Merge:
    """What became of the project and two renderings.

    Attributes:
        tree: of the project.
        conflicts: what a person must decide, by path.
        left_out: what the template has, and the project had deleted, by path.
    """

    tree: str
    conflicts: dict[str, str]
    left_out: dict[str, str]


@dataclasses.dataclass
class Tests:
    """Whether the project's own tests passed, and what to tell about it."""

    passed: bool
    told: str


class Index:
    """A list of files that git can change and write, apart from the one of the user."""

    def __init__(self, top: Path, file: Path, environment: dict[str, str]) -> None:
        self.top = top
        self.environment = environment | {"GIT_INDEX_FILE": str(file)}

    def git(self, *arguments: str, input: str | None = None) -> str:
        return git(self.top, *arguments, env=self.environment, input=input, check=True).stdout.strip()

    def add(self, path: str, content: Path) -> None:
        blob = self.git("hash-object", "-w", "--no-filters", "--", str(content.resolve()))
        self.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}")

    def remove(self, paths: list[str]) -> None:
        self.git("update-index", "--force-remove", "-z", "--stdin", input="".join(f"{path}\0" for path in paths))

    def write(self) -> str:
        return self.git("write-tree")


@contextmanager
def index(top: Path, tree: str | None = None, environment: dict[str, str] | None = None) -> Iterator[Index]:
    with tempfile.TemporaryDirectory(prefix="ml-template-") as name:
        made = Index(top, Path(name) / "index", environment or {})
        if tree:
            made.git("read-tree", tree)
        yield made


def repository_of(project: Path) -> tuple[Path, str]:
    """Return the repository of a project, and the project's folder in it: empty, or with a slash at its end.

    Raises:
        click.ClickException: if there is none, git is too old, or something is not committed.
    """
    found = re.search(r"(\d+)\.(\d+)", git(Path(), "version", check=True).stdout)
    if not found or tuple(map(int, found.groups())) < NEEDS:
        raise click.ClickException("This git is too old. Install 2.38 or newer: https://git-scm.com")
    record = Record.of(project)
    if record.commit is None:
        raise click.ClickException(
            f"{RECORD} names no commit, so nothing tells your changes from the template's. "
            "Write the commit of the template that the project was made from into it, as `commit`."
        )
    inside = git(project, "rev-parse", "--show-toplevel", "--show-prefix")
    if inside.returncode:
        raise click.ClickException(
            f'{project.resolve()} is not under git. Type: git init, git add -A, git commit -m "The project"'
        )
    top, prefix = inside.stdout.splitlines()
    if git(project, "rev-parse", "--verify", "--quiet", f"HEAD:{prefix}{RECORD}").returncode:
        raise click.ClickException(f'{RECORD} is not committed. Type: git add -A, git commit -m "The project"')
    changed = git(project, "status", "--porcelain", "--", ".", check=True).stdout
    if changed:
        raise click.ClickException(
            f"The project has changes that are not committed:\n{changed.rstrip()}\nCommit them, or set them aside: "
            "git stash --include-untracked"
        )
    return Path(top), prefix


def tree_of(top: Path, folder: Path, environment: dict[str, str]) -> str:
    """Write the files of a folder into the repository, and return their tree."""
    with index(top, environment=environment) as files:
        settings = ("-c", "core.autocrlf=false", "-c", "core.safecrlf=false", f"--work-tree={folder.resolve()}")
        files.git(*settings, "-C", str(folder.resolve()), "add", "--all", "--force", "--", ".")
        return files.write()


def merge(top: Path, ours: str, before: Path, after: Path) -> Merge:
    """Merge what changed between two renderings into a project.

    Git writes its objects into the repository, but nothing there names them, so that git removes them in time.

    Args:
        top: the repository.
        ours: the tree of the project.
        before: what the template gave the project.
        after: what it gives it now.
    """
    with tempfile.TemporaryDirectory(prefix="ml-template-") as name:
        # A repository of its own for the branches, whose names stand in the conflict markers.
        kind = git(top, "rev-parse", "--show-object-format", check=True).stdout.strip()
        git(top, "init", "--quiet", "--bare", f"--object-format={kind}", name, check=True)
        objects = git(top, "rev-parse", "--path-format=absolute", "--git-path", "objects", check=True).stdout.strip()
        scratch = {"GIT_DIR": name, "GIT_OBJECT_DIRECTORY": objects}
        for role in ("AUTHOR", "COMMITTER"):
            scratch |= {f"GIT_{role}_NAME": "ml-template", f"GIT_{role}_EMAIL": "ml-template@localhost"}

        def branch(name: str, tree: str, *parent: str) -> str:
            made = git(top, "commit-tree", "-m", name, *parent, tree, env=scratch, check=True).stdout.strip()
            git(top, "update-ref", f"refs/heads/{name}", made, env=scratch, check=True)
            return made

        old, new = tree_of(top, before, scratch), tree_of(top, after, scratch)
        base = branch("before", old)
        branch("project", ours, "-p", base)
        branch("template", new, "-p", base)
        # What the project has added to a folder moves with the folder.
        arguments = ("-c", "merge.directoryRenames=true", "merge-tree", "--write-tree", "-z", "project", "template")
        result = git(top, *arguments, env=scratch)
    if result.returncode not in (0, 1):
        raise click.ClickException(f"git merge-tree failed: {result.stderr.strip()}")
    tree, conflicts, left_out = read(result.stdout)
    had, has = files_of(top, old), files_of(top, ours)
    gone = folders(had) - folders(has)
    for path in files_of(top, tree) - had - has:
        if any(parent in gone for parent in PurePosixPath(path).parents):
            left_out[path] = "new in the template, in a folder that you deleted"
    if left_out:
        with index(top, tree) as files:
            files.remove(list(left_out))
            tree = files.write()
    return Merge(tree, conflicts, left_out)


def files_of(top: Path, tree: str) -> set[str]:
    return set(git(top, "ls-tree", "-r", "-z", "--name-only", tree, check=True).stdout.split("\0")) - {""}


def files_changed(top: Path, before: str, after: str) -> set[str]:
    return set(git(top, "diff-tree", "-r", "-z", "--name-only", before, after, check=True).stdout.split("\0")) - {""}


def folders(paths: set[str]) -> set[PurePosixPath]:
    return {parent for path in paths for parent in PurePosixPath(path).parents}


def read(output: str) -> tuple[str, dict[str, str], dict[str, str]]:
    """Read what `git merge-tree -z` says: a tree, the versions of each file with a conflict, and messages.

    Returns:
        The tree, what a person must decide by path, and by path what the project had deleted.
    """
    tree, *fields = output.split("\0")
    end = fields.index("")
    versions: dict[str, set[str]] = {}  # 1 is that of the last rendering, 2 the project's, 3 the template's
    for field in fields[:end]:
        about, path = field.split("\t", 1)
        versions.setdefault(path, set()).add(about.split()[2])
    messages: dict[str, str] = {}
    fields = fields[end + 1 :]
    while len(fields) > 1:
        last = 1 + int(fields[0])
        for path in fields[1:last]:
            messages.setdefault(path, fields[last + 1].strip())
        fields = fields[last + 2 :]
    conflicts, left_out = {}, {}
    for path, found in sorted(versions.items()):
        if found == {"1", "3"}:
            left_out[path] = "you deleted it, and the template has changed it"
        elif found == {"1", "2"}:
            conflicts[path] = "you changed it, and the template no longer has it. It is still there as you left it"
        elif found >= {"2", "3"}:
            conflicts[path] = "both changed it, see the lines between `<<<<<<<` and `>>>>>>>`"
        else:
            conflicts[path] = messages.get(path, "git cannot merge it")
    return tree, conflicts, left_out


def propose(
    project: Path,
    to: str | None = None,
    answers: dict[str, str] | None = None,
    test: bool = False,
    ask: Callable[[str, Any, str], str] | None = None,
    template: Path | None = None,
    renderer: Callable[..., Path] = render,
) -> Proposal | None:
    """Make the update of a project, on a branch of its repository. What is checked out stays as it is.

    Args:
        project: its folder, with everything committed.
        to: version, tag, branch or commit of the template. None for the newest of the branch that the project was made
            from, or, where answers change, for the version that it has.
        answers: those that change, or are new, by question.
        test: run the project's own tests on the result.
        ask: is given each new question, its choices or default as in cookiecutter.json, and the default answer,
            and returns the answer; None takes the defaults.
        template: a clone of the template's repository, if there is one already.
        renderer: does what `render` does. It may know the rendering already.

    Returns:
        None if the project is up to date, or nothing of what changed in the template reaches it.

    Raises:
        click.ClickException: if the update cannot be made. Nothing is left behind then.
    """
    answers = answers or {}
    top, prefix = repository_of(project)
    record = Record.of(project)
    with tempfile.TemporaryDirectory(prefix="ml-template-", ignore_cleanup_errors=True) as name:
        work = Path(name)
        template = template or clone(record.template, work / "clone")
        # Another answer alone is no new version: one thing at a time.
        switched = record.commit if answers and answers.keys() <= record.answers.keys() else None
        old, new = resolve(template, record.commit), resolve(template, to or switched or followed(template, record))
        questions = questions_of(settings_of(template, new, record.directory))
        check(answers, questions)
        if old == new and all(record.answers.get(question) == answer for question, answer in answers.items()):
            return None
        before = renderer(template, old, record.answers, work / "before", record.directory)
        after = renderer(template, new, record.answers | answers, work / "after", record.directory)
        now = Record.of(after)
        unasked = [question for question in now.answers if question not in record.answers | answers]
        if ask and unasked:
            given = {question: ask(question, questions[question], now.answers[question]) for question in unasked}
            after = renderer(template, new, record.answers | answers | given, work / "asked", record.directory)
            now = Record.of(after)
        branch = branch_name(template, record, now, prefix)
        if git(top, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}").returncode == 0:
            raise click.ClickException(
                f"The branch {branch} exists already, from an earlier update. Merge it, or delete it: "
                f"git branch -D {branch}"
            )
        # The record is no part of the merge: cruft may have written it differently.
        shutil.copyfile(project / RECORD, before / RECORD)
        shutil.copyfile(project / RECORD, after / RECORD)
        dataclasses.replace(now, template=record.template, checkout=record.checkout).write(after)

        ours = git(top, "rev-parse", f"HEAD:{prefix}", check=True).stdout.strip()
        merged = merge(top, ours, before, after)
        if files_changed(top, ours, merged.tree) <= {RECORD} and not describe.changed(record, now):
            return None  # what changed in the template does not reach this project
        lock = tests = None
        if not merged.conflicts:
            merged.tree, lock = locked(top, ours, merged.tree)
            tests = tested(top, merged.tree) if test else None
        title = describe.title(record, now)
        description = describe.update(template, record, now, merged, stat(top, ours, merged.tree), lock, tests)
        message = f"{title}\n\n{description}"
        shared = now.answers.get("projects_folder") and not merged.conflicts
        tree = placed(top, prefix, ours, merged.tree, now.answers["project_slug"] if shared else None)
        commit = git(top, "commit-tree", tree, "-p", "HEAD", "-F", "-", input=message, check=True).stdout.strip()
        git(top, "update-ref", f"refs/heads/{branch}", commit, "0" * len(commit), check=True)
    return Proposal(branch, title, description, merged.conflicts, tests.passed if tests else None)


def followed(template: Path, record: Record) -> str | None:
    """Return the branch that a project was made from. None for the default branch: tags and commits do not move."""
    branch = f"refs/remotes/origin/{record.checkout}"
    return record.checkout if git(template, "show-ref", "--verify", "--quiet", branch).returncode == 0 else None


def settings_of(template: Path, commit: str, directory: str | None = None) -> dict[str, Any]:
    """Return cookiecutter.json of a commit of the template."""
    path = PurePosixPath(directory or "", "cookiecutter.json")
    content: dict[str, Any] = json.loads(git(template, "show", f"{commit}:{path}", check=True).stdout)
    return content


def questions_of(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the questions of cookiecutter.json, with their choices or defaults."""
    return {question: default for question, default in settings.items() if not question.startswith("_")}


def check(answers: dict[str, str], questions: dict[str, Any]) -> None:
    """Refuse an answer to no question, and one that is no choice. The template itself judges the rest."""
    for question, answer in answers.items():
        if question not in questions:
            raise click.ClickException(f"There is no question {question}. The questions are: {', '.join(questions)}.")
        choices = questions[question]
        if isinstance(choices, list) and answer not in choices:
            raise click.ClickException(f"{answer} is no answer to {question}. Type one of: {', '.join(choices)}.")


def branch_name(template: Path, before: Record, now: Record, prefix: str) -> str:
    """Return a name that says what the update brings: a version, a commit between versions, or other answers.

    It begins with the folder of the project, where that is not the whole repository.
    """
    commit = now.commit or ""
    folder = re.sub(r"[^A-Za-z0-9]+", "-", prefix)
    if before.commit == commit:
        changed = "-".join(f"{question}-{answer}" for question, answer in describe.changed(before, now).items())
        return f"template-switch-{folder}" + re.sub(r"[^A-Za-z0-9]+", "-", changed).strip("-")[:80]
    tagged = git(template, "tag", "--points-at", commit).stdout.split()
    return f"template-update-{folder}{now.version or 'to'}" + ("" if f"v{now.version}" in tagged else f"-{commit[:8]}")


def placed(top: Path, prefix: str, ours: str, tree: str, slug: str | None) -> str:
    """Return the tree of the whole repository with that of the project in its folder.

    Args:
        ours: the tree that the project had.
        slug: of a project whose pipelines have copies at the top, None if it has none.
    """
    if not prefix:
        return tree
    with index(top, "HEAD") as files:
        files.git("rm", "-r", "--quiet", "--cached", "--", prefix)
        files.git("read-tree", f"--prefix={prefix}", tree)
        if slug:
            with checked_out(top, ours) as before, checked_out(top, tree) as after:
                old, new = copies(before, slug), copies(after, slug)
                # Files that all projects of the repository share stay.
                files.remove([path for path in old.keys() - new.keys() if path.startswith(WORKFLOWS.as_posix())])
                for path, content in new.items():
                    files.add(path, content)
        return files.write()


def stat(top: Path, ours: str, tree: str) -> dict[str, list[str]]:
    """Return the paths by what happened to them: A for added, D for deleted, M for modified, R for moved."""
    fields = git(top, "diff-tree", "-r", "-M", "--name-status", "-z", ours, tree, check=True).stdout.split("\0")
    found: dict[str, list[str]] = {}
    while len(fields) > 1:
        kind, number = fields[0][0], 2 if fields[0][0] in "RC" else 1
        found.setdefault(kind, []).append(" → ".join(fields[1 : number + 1]))
        fields = fields[number + 1 :]
    return found


def run_uv(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run uv in a folder, apart from the environment that this process has.

    Raises:
        click.ClickException: if there is no uv.
    """
    uv = os.environ.get("UV") or shutil.which("uv")  # uvx says where it is
    if not uv:
        raise click.ClickException("There is no uv. Install it: https://docs.astral.sh/uv")
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    return subprocess.run(
        [uv, *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )


@contextmanager
def checked_out(top: Path, tree: str) -> Iterator[Path]:
    """Write the files of a tree into a folder, and remove it in the end."""
    with (
        tempfile.TemporaryDirectory(prefix="ml-template-", ignore_cleanup_errors=True) as name,
        index(top, tree) as files,
    ):
        folder = Path(name).resolve()
        files.git("checkout-index", "--all", f"--prefix={folder.as_posix()}/")
        yield folder


def locked(top: Path, ours: str, tree: str) -> tuple[str, str | None]:
    """Return the tree with a `uv.lock` that is as new as its `pyproject.toml`, and what to tell about it."""
    if "uv.lock" not in files_of(top, tree) or "pyproject.toml" not in files_changed(top, ours, tree):
        return tree, None
    with checked_out(top, tree) as folder:
        result = run_uv(folder, "lock")
        if result.returncode:
            return tree, f"`uv lock` failed, so `uv.lock` is as it was. Type it yourself.\n\n{quoted(result.stdout)}"
        with index(top, tree) as files:
            files.add("uv.lock", folder / "uv.lock")
            return files.write(), "`uv lock` has brought `uv.lock` up to `pyproject.toml`."


def tested(top: Path, tree: str) -> Tests:
    """Run the project's own tests on a tree."""
    with checked_out(top, tree) as folder:
        result = run_uv(folder, "run", "pytest", "-q")
    lines = result.stdout.rstrip().splitlines() or ["it printed nothing"]
    if result.returncode == 0:
        return Tests(True, f"`uv run pytest` passes: {lines[-1]}.")
    return Tests(False, f"`uv run pytest` fails:\n\n{quoted(chr(10).join(lines[-30:]))}")


def quoted(text: str) -> str:
    """Return text as a block of Markdown that shows it as it is."""
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines())


def pull_request(provider: str, proposal: Proposal) -> list[list[str]]:
    """Return what a person types to open a pull request, by `ci_provider`."""
    push = ["git", "push", "--set-upstream", "origin", proposal.branch]
    match provider:
        case "github-actions":
            return [push, ["gh", "pr", "create", "--head", proposal.branch, "--fill"]]
        case "gitlab-ci":
            return [[*push, "--push-option", "merge_request.create"]]
        case "azure-devops":
            # The title and the branch come first: a person types no description.
            create = ["az", "repos", "pr", "create", "--title", proposal.title, "--source-branch", proposal.branch]
            return [push, [*create, "--description", *described(proposal, 4000)]]
        case _:
            return [push]


def described(proposal: Proposal, limit: int) -> list[str]:
    """Return the lines of a description that a provider takes, in characters."""
    text = proposal.description
    if len(text) > limit:
        rest = f"\n\nMore is in the message of the commit on {proposal.branch}."
        text = text[: limit - len(rest)].rpartition("\n")[0] + rest
    return text.splitlines()


def ask(question: str, choices: Any, default: str) -> str:
    """Ask on the terminal what an older version of the template did not ask."""
    kind = click.Choice(choices) if isinstance(choices, list) else None
    answer: str = click.prompt(f"New question: {question}", default=default, type=kind)
    return answer


def answers_in(pairs: tuple[str, ...]) -> dict[str, str]:
    """Return the answers that somebody has typed as QUESTION=ANSWER.

    Raises:
        click.UsageError: if one is typed differently.
    """
    for pair in pairs:
        if "=" not in pair:
            raise click.UsageError(f"{pair} is no answer. Type --answer QUESTION=ANSWER.")
    return dict(pair.split("=", 1) for pair in pairs)


@click.command()
@click.argument("project", default=".", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--to", metavar="VERSION", help="Version, tag, branch or commit of the template. By default the newest.")
@click.option("--answer", "pairs", multiple=True, metavar="QUESTION=ANSWER", help="An answer that changes, or is new.")
@click.option("--test", is_flag=True, help="Run the project's own tests on the result.")
@click.option("--no-input", is_flag=True, help="Answer new questions with their defaults.")
@click.option("--description", type=click.Path(dir_okay=False, path_type=Path), help="File that gets the description.")
@click.option("--pull-request", "opens", is_flag=True, help="Push the branch and open a pull request.")
def update(
    project: Path,
    to: str | None,
    pairs: tuple[str, ...],
    test: bool,
    no_input: bool,
    description: Path | None,
    opens: bool,
) -> None:
    """Bring what changed in the template into PROJECT, the current folder by default.

    It becomes one commit on a branch of its own. What is checked out stays as it is. With --answer the project stays at
    its version, and gets what that version makes of the other answer.

    The exit code is 3 if something is left to decide: a conflict, or a test that fails.
    """
    asks = ask if sys.stdin.isatty() and not no_input else None
    proposal = propose(project, to, answers_in(pairs), test, asks)
    if proposal is None:
        click.echo("The project is up to date.")
        return
    if description:
        description.write_text(proposal.description, encoding="utf-8", newline="\n")
    Console().print(Markdown(f"# {proposal.title}\n\n{proposal.description}"))
    commands = pull_request(Record.of(project).answers.get("ci_provider", "none"), proposal)
    if opens:
        for command in commands:
            run(command, project)
    else:
        # Nobody types a description, which is behind everything else.
        typed = [["git", "switch", proposal.branch], *(command[:8] for command in commands)]
        click.echo(f"\nIt is on the branch {proposal.branch}. To look at it, and to open a pull request:\n")
        click.echo("".join(f"  {subprocess.list2cmdline(command)}\n" for command in typed), nl=False)
    if proposal.conflicts or proposal.tests is False:
        sys.exit(UNDECIDED)


def started(command: list[str], project: Path, **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run git or the command line of a provider, with more settings of `subprocess.run`.

    Raises:
        click.ClickException: if there is none.
    """
    program = shutil.which(command[0])
    if not program:
        raise click.ClickException(f"There is no {command[0]}. Install it, or type the same in your browser.")
    return subprocess.run([program, *command[1:]], cwd=project, **settings)


def run(command: list[str], project: Path) -> None:
    """Run a command that prints for itself.

    Raises:
        click.ClickException: if there is none, or it fails.
    """
    if started(command, project).returncode:
        raise click.ClickException(f"{' '.join(command[:3])} failed. Its branch is there: type the command again.")
