"""Looks at many projects at once, and brings the template's changes into all of them."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import click
import yaml
from rich.console import Console
from rich.padding import Padding
from rich.progress import Progress
from rich.text import Text

from . import render
from .policies import BUNDLE, FAILS, Policy, folding_table, judge, load_policies, policies_option, projects_in
from .render import RECORD, Record, git
from .update import UNDECIDED, followed, propose, pull_request, started


@dataclass
class Project:
    """A project, and what there is to know about it.

    Attributes:
        repository: as it stands in the list.
        folder: of the project in its repository, `.` for the whole of it.
        template, commit, version, answers: what its record says.
        newest: the commit that an update would bring.
        behind: how many commits of the template it lacks.
        versions_behind: how many tagged versions of the template it lacks.
        changed, deleted, added: paths, against what the template rendered. Added are those that are under git.
        breaks: what breaks a policy, by policy.
        updates: branches with an update that nobody has merged yet, by the commit of the template that they bring.
        error: why nothing more is known.
    """

    repository: str
    folder: str = "."
    template: str | None = None
    commit: str | None = None
    version: str | None = None
    answers: dict[str, str] = field(default_factory=dict)
    newest: str | None = None
    behind: int | None = None
    versions_behind: int | None = None
    changed: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    breaks: dict[str, list[str]] = field(default_factory=dict)
    updates: dict[str, str] = field(default_factory=dict)
    error: str | None = None

    @property
    def name(self) -> str:
        """Return the shortest name that people know it by."""
        repository = re.split(r"[/\\:]", self.repository.rstrip("/\\"))[-1].removesuffix(".git")
        return repository if self.folder == "." else f"{repository}/{self.folder}"

    @property
    def drift(self) -> list[tuple[str, list[str]]]:
        """Return the paths by the sign of what happened to them."""
        return [("~", self.changed), ("-", self.deleted), ("+", self.added)]


@dataclass
class Update:
    """What became of the update of a project: `outcome` in a word or two, and more about it."""

    repository: str
    folder: str
    outcome: str
    branch: str | None = None
    conflicts: dict[str, str] = field(default_factory=dict)
    tests: bool | None = None
    told: str = ""

    name = Project.name


class Work:
    """A folder for clones of repositories and templates, and for renderings. Each is made once, whoever asks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.guard = Lock()
        self.locks: dict[Path, Lock] = defaultdict(Lock)
        self.fresh: set[Path] = set()

    @contextmanager
    def only(self, path: Path) -> Iterator[None]:
        with self.guard:
            lock = self.locks[path]
        with lock:
            yield

    def place(self, kind: str, *parts: Any) -> Path:
        return self.folder / kind / hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def template(self, address: str) -> Path:
        """Return a clone of a template, as new as this run."""
        return self.clone("templates", address, lambda into: render.clone(address, into))

    def repository(self, address: str) -> Path:
        """Return a clone of a repository, as new as this run, with its main branch checked out."""

        def made(into: Path) -> Path:
            git(into.parent, "clone", "--quiet", "--no-checkout", "--", address, str(into), check=True)
            return into

        clone = self.clone("repositories", address, made)
        if git(clone, "rev-parse", "--verify", "--quiet", "origin/HEAD").returncode:
            raise click.ClickException(
                "It has no commit, or no branch is checked out there. Switch to its main branch."
            )
        with self.only(clone):
            git(clone, "checkout", "--quiet", "--force", "--detach", "origin/HEAD", check=True)
        return clone

    def clone(self, kind: str, address: str, make: Callable[[Path], Path]) -> Path:
        clone = self.place(kind, address)
        with self.only(clone):
            if not clone.exists():
                self.whole(clone, make)
            elif clone not in self.fresh:
                git(clone, "fetch", "--quiet", "--prune", "--tags", "--force", "origin", check=True)
                git(clone, "remote", "set-head", "origin", "--auto", check=True)
            self.fresh.add(clone)
        return clone

    def whole(self, place: Path, make: Callable[[Path], Path]) -> None:
        """Make a folder, which is whole or not there at all, also if somebody ends this run."""
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, ignore_cleanup_errors=True) as name:
            make(Path(name) / "made").rename(place)

    def render(
        self, clone: Path, commit: str, answers: dict[str, str], into: Path, directory: str | None = None
    ) -> Path:
        """Do what `render.render` does, with a copy of the shared rendering."""
        project = self.rendering(clone, commit, answers, directory)
        return shutil.copytree(project, into / project.name)

    def rendering(self, clone: Path, commit: str, answers: dict[str, str], directory: str | None = None) -> Path:
        """Return the rendering of a commit with these answers. It is shared, so nobody changes it."""
        commit = render.resolve(clone, commit)
        place = self.place("renderings", clone.name, commit, answers, directory)
        with self.only(place):
            if not place.exists():
                self.whole(place, lambda into: render.render(clone, commit, answers, into, directory).parent)
        (project,) = place.iterdir()
        return project


def listed(source: Any) -> list[str]:
    """Return the repositories of a list: a YAML list, or one in each line. `#` begins a comment.

    Raises:
        click.ClickException: if it is none.
    """
    text = source.read()
    try:
        entries = yaml.safe_load(text) if re.search(r"^\s*- ", text, re.MULTILINE) else None
    except yaml.YAMLError:
        entries = None
    if entries is None:
        entries = [re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines()]
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise click.ClickException("The list is none. Write one folder or address of a repository in each line.")
    found = list(dict.fromkeys(entry for entry in entries if entry))
    if not found:
        raise click.ClickException("The list is empty. Write one folder or address of a repository in each line.")
    return found


def projects_of(entry: str, work: Work) -> list[tuple[Path, Project]]:
    """Return the projects of a repository: where each is checked out, and what its place is.

    Raises:
        click.ClickException: if it cannot be read, or holds no project.
    """
    folder, address = Path(entry), entry
    inside = Path()
    if folder.is_dir():
        top = git(folder, "rev-parse", "--show-toplevel")
        bare = git(folder, "rev-parse", "--is-bare-repository").stdout.strip() == "true"
        if top.returncode and not bare:
            raise click.ClickException(f"{folder.resolve()} is not under git.")
        address = str(folder.resolve()) if bare else top.stdout.strip()
        inside = Path() if bare else folder.resolve().relative_to(Path(address).resolve())
    elif not re.search(r":|^\\\\", entry):
        raise click.ClickException(f"There is no folder {folder.resolve()}.")
    clone = work.repository(address)
    found = projects_in(clone / inside)
    if not found:
        raise click.ClickException(f"It holds no project: no folder has a {RECORD} or a {BUNDLE}.")
    return [(path, Project(entry, path.relative_to(clone).as_posix())) for path in found]


def fill(path: Path, project: Project, work: Work, policies: list[Policy], to: str | None) -> None:
    """Find out everything about a project. What is checked out at `path` is that of its main branch.

    Raises:
        click.ClickException: if its template cannot be read.
    """
    project.breaks = broken(path, policies)
    record = record_of(path)
    project.template, project.commit, project.version = record.template, record.commit, record.version
    project.answers = record.answers
    project.updates = updates_of(path, record)
    trust(project.breaks)
    template = work.template(record.template)
    project.newest = render.resolve(template, to or followed(template, record))
    if record.commit is None:
        raise click.ClickException(f"{RECORD} names no commit of the template. Write in the one that it was made from.")
    old = render.resolve(template, record.commit)
    lacks = f"{old}..{project.newest}"
    project.behind = int(git(template, "rev-list", "--count", lacks, check=True).stdout)
    tags = git(template, "tag", "--list", "v*", "--merged", project.newest, "--no-merged", old, check=True)
    project.versions_behind = len(tags.stdout.split())
    rendered = files(work.rendering(template, old, record.answers, record.directory))
    tracked = git(path, "ls-files", "-z", "--", ".", check=True).stdout.split("\0")[:-1]
    has = {name: content(path / name) for name in tracked if (path / name).is_file() and name != RECORD}
    project.deleted = sorted(rendered.keys() - has.keys())
    project.added = sorted(has.keys() - rendered.keys())
    project.changed = sorted(name for name in has.keys() & rendered.keys() if has[name] != rendered[name])


def record_of(path: Path) -> Record:
    """Return the record of a project.

    Raises:
        click.ClickException: if it has none. That of `Record.of` would name our clone.
    """
    if not (path / RECORD).is_file():
        raise click.ClickException(f"It has no {RECORD}, so nothing says which template made it. Is it in the history?")
    return Record.of(path)


def broken(path: Path, policies: list[Policy]) -> dict[str, list[str]]:
    """Return what breaks each policy."""
    results = judge(path, policies)
    return {result.policy: list(map(str, result.findings)) for result in results if result.result == FAILS}


def trust(breaks: dict[str, list[str]]) -> None:
    """Stop before the code of a template runs that the organisation does not allow: the project names it.

    Raises:
        click.ClickException: if the record breaks its policy.
    """
    if "record" in breaks:
        raise click.ClickException(f"It breaks the policy record, so nothing is rendered. {breaks['record'][0]}")


def files(folder: Path) -> dict[str, bytes]:
    """Return what is in every file of a rendering but its record, by path."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path != folder / RECORD)
    return {path.relative_to(folder).as_posix(): content(path) for path in paths}


def content(path: Path) -> bytes:
    """Return what is in a file, whatever the system ends lines with."""
    return path.read_bytes().replace(b"\r\n", b"\n")


def updates_of(path: Path, record: Record) -> dict[str, str]:
    """Return the branches of an update that nobody has merged yet, by the commit of the template that they bring."""
    refs = "refs/remotes/origin/template-*"
    names = git(path, "for-each-ref", "--format=%(refname)", "--no-merged=HEAD", refs, check=True).stdout.split()
    found = {}
    for name in names:
        shown = git(path, "show", f"{name}:./{RECORD}")
        try:
            commit = json.loads(shown.stdout)["commit"]
        except (ValueError, KeyError, TypeError):
            continue
        ours = git(path, "diff", "--quiet", f"HEAD...{name}", "--", f"./{RECORD}").returncode
        if ours and commit != record.commit:
            found[commit] = name.removeprefix("refs/remotes/origin/")
    return found


def bring(
    path: Path,
    project: Project,
    work: Work,
    policies: list[Policy],
    to: str | None,
    test: bool,
    opens: bool,
    dry_run: bool,
) -> Update:
    """Make the update of a project, and push its branch.

    Raises:
        click.ClickException: if the update cannot be made, or not be pushed.
    """
    told = Update(project.repository, project.folder, "up to date")
    record = record_of(path)
    trust(broken(path, [policy for policy in policies if policy.name == "record"]))
    template = work.template(record.template)
    newest = render.resolve(template, to or followed(template, record))
    waits = updates_of(path, record).get(newest)
    if waits:
        told.outcome, told.branch = "made before", waits
        return told
    # A branch that an earlier run left in the clone, and did not push.
    for name in git(path, "for-each-ref", "--format=%(refname)", "refs/heads/template-*").stdout.split():
        git(path, "update-ref", "-d", name, check=True)
    proposal = propose(path, to, test=test and not dry_run, template=template, renderer=work.render)
    if proposal is None:
        if newest != render.resolve(template, record.commit):
            told.outcome = "nothing to bring"  # of all that changed in the template, nothing is in this project
        return told
    told.branch, told.conflicts, told.tests = proposal.branch, proposal.conflicts, proposal.tests
    told.outcome = "would be made" if dry_run else "made"
    if proposal.conflicts:
        told.outcome += ", with conflicts"
    elif proposal.tests is False:
        told.outcome += ", and its tests fail"
    if not dry_run:
        push, *more = pull_request(record.answers.get("ci_provider", "none") if opens else "none", proposal)
        for command in (push, *more):
            quiet = {"stdin": subprocess.DEVNULL, "capture_output": True, "encoding": "utf-8"}
            result = started(command, path, env=os.environ | {"GIT_TERMINAL_PROMPT": "0"}, **quiet)
            if result.returncode:
                said = result.stderr.strip() or result.stdout.strip()
                raise click.ClickException(f"{' '.join(command[:3])} failed: {said}")
    return told


def each(
    entries: list[str], work: Work, jobs: int, do: Callable[[Path, Project], Any], failed: Callable[[Project], Any]
) -> list[Any]:
    """Do something for every project of every repository, several at once, and return what it gave, in their order.

    Projects of one repository follow each other. What fails for one stops no other.
    """

    def attempt(project: Project, action: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return action(*arguments)
        except click.ClickException as error:
            project.error = error.message
        except Exception as error:  # whatever it is, the others are not to blame
            project.error = f"{type(error).__name__}: {error}"
        return failed(project)

    def of(entry: str) -> list[Any]:
        found = attempt(Project(entry), projects_of, entry, work)
        return [attempt(one[1], do, *one) for one in found] if isinstance(found, list) else [found]

    with ThreadPoolExecutor(jobs) as pool, Progress(console=Console(stderr=True), transient=True) as progress:
        shown = progress.add_task("repositories", total=len(entries))
        futures = [pool.submit(of, entry) for entry in entries]
        try:
            for _ in as_completed(futures):
                progress.advance(shown)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise
    return [one for future in futures for one in future.result()]


@contextmanager
def working(folder: Path | None) -> Iterator[Work]:
    if folder:
        yield Work(folder)
    else:
        with tempfile.TemporaryDirectory(prefix="ml-template-", ignore_cleanup_errors=True) as name:
            yield Work(Path(name))


def options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.argument("source", metavar="LIST", type=click.File(encoding="utf-8")),
        click.option("--to", metavar="VERSION", help="Version, tag, branch or commit. Default: the newest."),
        click.option("--json", "written", type=click.File("w", encoding="utf-8", lazy=True), help="Write it as JSON."),
        click.option("--jobs", type=click.IntRange(1), default=min(8, 2 * (os.cpu_count() or 1)), show_default=True),
        click.option(
            "--work",
            type=click.Path(file_okay=False, path_type=Path),
            help="Keep clones and renderings in this folder. The next run is faster.",
        ),
        policies_option,
    ):
        command = option(command)
    return command


@click.group()
def fleet() -> None:
    """Look at many projects, and update them.

    LIST is a file with one folder or address of a repository in each line; - is the standard input. A repository may
    hold several projects. Those that are checked out somewhere are read as they are committed there.
    """


@fleet.command()
@options
@click.option("--verbose", is_flag=True, help="Name the files that drifted, and what breaks each policy.")
def status(
    source: Any,
    to: str | None,
    written: Any,
    jobs: int,
    work: Path | None,
    paths: tuple[Path, ...],
    verbose: bool,
) -> None:
    """Show where each project of LIST stands.

    The exit code is 1 if one cannot be read.
    """
    policies = load_policies(paths)

    def look(path: Path, project: Project) -> Project:
        fill(path, project, place, policies, to)
        return project

    with working(work) as place:
        found: list[Project] = each(listed(source), place, jobs, look, lambda project: project)
    if written:
        json.dump([asdict(project) for project in found], written, indent=2)
    if not written or written.name != "-":
        show_status(found, verbose)
    if any(project.error for project in found):
        sys.exit(1)


def show_status(found: list[Project], verbose: bool) -> None:
    console = Console(highlight=False)
    table = folding_table("project", "version", "pattern", "provider", "drift", "behind", "breaks", "update")
    for project in found:
        table.add_row(
            project.name,
            project.version or "?",
            project.answers.get("deployment_pattern", "?"),
            project.answers.get("ci_provider", "?").split("-")[0],
            " ".join(f"{sign}{len(paths)}" for sign, paths in project.drift if paths),
            counted(project.versions_behind, "version") or counted(project.behind, "commit"),
            "\n".join(project.breaks),
            f"{len(project.updates)} wait" if len(project.updates) > 1 else "waits" if project.updates else "",
            style="red" if project.error or project.breaks else None,
        )
    console.print(table)
    console.print(Text("\ndrift: files changed (~), deleted (-) and added (+) since they were rendered", style="dim"))
    for project in found if verbose else []:
        paths = [f"{sign} {path}" for sign, paths in project.drift for path in paths]
        show_more(console, project.name, [*paths, *(line for lines in project.breaks.values() for line in lines)])
    for project in found:
        show_more(console, project.name, [project.error] if project.error else [])
    counts = {
        "up to date": sum(project.behind == 0 for project in found),
        "behind": sum(bool(project.behind) for project in found),
        "with an update to merge": sum(bool(project.updates) for project in found),
        "breaking a policy": sum(bool(project.breaks) for project in found),
        "not read": sum(bool(project.error) for project in found),
    }
    console.print(f"\n{counted(len(found), 'project')}: {summary(counts)}")


def summary(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {what}" for what, number in counts.items() if number)


def counted(number: int | None, of: str) -> str:
    return f"{number} {of}{'s' * (number > 1)}" if number else ""


def show_more(console: Console, name: str, lines: list[str]) -> None:
    if lines:
        console.print(f"\n{name}", style="bold", markup=False)
        console.print(Padding(Text("\n".join(lines)), (0, 2)))


@fleet.command()
@options
@click.option("--dry-run", is_flag=True, help="Make every update, and push none.")
@click.option("--test", is_flag=True, help="Run each project's own tests on its update.")
@click.option(
    "--pull-request", "opens", is_flag=True, help="Open a pull request for each, with the provider's command."
)
def update(
    source: Any,
    to: str | None,
    written: Any,
    jobs: int,
    work: Path | None,
    paths: tuple[Path, ...],
    dry_run: bool,
    test: bool,
    opens: bool,
) -> None:
    """Update each project of LIST, on a branch of its repository.

    What was done before is not done again, so the same command goes on where it was ended. The exit code is 1 if one
    update fails, and else 3 if something is left to decide: a conflict, or a test that fails.
    """
    policies = load_policies(paths)

    def make(path: Path, project: Project) -> Update:
        return bring(path, project, place, policies, to, test, opens, dry_run)

    def failed(project: Project) -> Update:
        return Update(project.repository, project.folder, "failed", told=project.error or "")

    with working(work) as place:
        made: list[Update] = each(listed(source), place, jobs, make, failed)
    if written:
        json.dump([asdict(one) for one in made], written, indent=2)
    if not written or written.name != "-":
        show_updates(made)
    if any(one.outcome == "failed" for one in made):
        sys.exit(1)
    if any(one.conflicts or one.tests is False for one in made):
        sys.exit(UNDECIDED)


def show_updates(made: list[Update]) -> None:
    console = Console(highlight=False)
    table = folding_table("project", "update", "branch")
    for one in made:
        style = "red" if one.outcome == "failed" else "yellow" if one.conflicts or one.tests is False else None
        table.add_row(one.name, one.outcome, one.branch or "", style=style)
    console.print(table)
    for one in made:
        told = [one.told] if one.told else []
        show_more(console, one.name, [*told, *(f"{path}: {why}" for path, why in one.conflicts.items())])
    counts = Counter(one.outcome for one in made)
    console.print(f"\n{counted(len(made), 'project')}: {summary(counts)}")
