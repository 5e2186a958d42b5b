"""Renders a project again, from the record that it carries: any commit of its template, with any answers."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import click
from cookiecutter.config import BUILTIN_ABBREVIATIONS

RECORD = ".cruft.json"


@dataclasses.dataclass
class Record:
    """What a project says about its origin, in cruft's format.

    Attributes:
        template: address or folder of the template's repository.
        commit: what it was rendered from, None if nobody knew.
        answers: by question.
        directory: where the template is in its repository, None for the root.
        checkout: branch, tag or commit that was asked for, None for the default branch.
        version: of the template, None if it had none.
    """

    template: str
    commit: str | None
    answers: dict[str, str]
    directory: str | None = None
    checkout: str | None = None
    version: str | None = None

    @classmethod
    def of(cls, project: Path) -> "Record":
        """Read the record of a project.

        Raises:
            click.ClickException: if it has none, or one that says too little.
        """
        path = project / RECORD
        try:
            content = json.loads(path.read_bytes())
            context = content["context"]["cookiecutter"]
            return cls(
                template=content["template"],
                commit=content["commit"],
                answers={question: answer for question, answer in context.items() if not question.startswith("_")},
                directory=content.get("directory"),
                checkout=content.get("checkout"),
                version=context.get("_version"),
            )
        except FileNotFoundError:
            raise click.ClickException(
                f"{project.resolve()} has no {RECORD}, so nothing says which template made it. "
                "Go to the folder of a project that this template made."
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise click.ClickException(
                f"{path.resolve()} is not a record of a rendering. Take the file from the project's history: "
                f"git log --oneline -- {RECORD}"
            ) from None

    def write(self, project: Path) -> None:
        """Write the record where cruft finds it, in the order of the one that is there."""
        origin = {"_template": self.template, "_commit": self.commit, "_version": self.version}
        path = project / RECORD
        # What else is there is cruft's, such as the files that it skips.
        content = json.loads(path.read_bytes()) if path.exists() else {}
        before = content.get("context", {}).get("cookiecutter", {})
        ordered = {question: self.answers[question] for question in before if question in self.answers}
        content |= {
            "template": self.template,
            "commit": self.commit,
            "checkout": self.checkout,
            "context": {"cookiecutter": {**ordered, **self.answers, **origin}},
            "directory": self.directory,
        }
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8", newline="\n")


def git(
    folder: Path, *arguments: str, check: bool = False, env: dict[str, str] | None = None, input: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run git in a folder.

    Raises:
        click.ClickException: if there is no git, or, with `check`, if git fails.
    """
    command = ["git", "-C", str(folder), *arguments]
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", **(env or {})}  # nothing waits for a password
    try:
        # Bytes, because Windows would write other line endings into a message.
        done = subprocess.run(command, capture_output=True, env=environment, input=(input or "").encode())
    except FileNotFoundError:
        raise click.ClickException("There is no git. Install it: https://git-scm.com") from None
    said, complained = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
    result = subprocess.CompletedProcess(command, done.returncode, said, complained)
    if check and result.returncode:
        raise click.ClickException(f"git {arguments[0]} failed: {result.stderr.strip() or result.stdout.strip()}")
    return result


def clone(template: str, into: Path) -> Path:
    """Clone the repository of a template, with all commits and tags and without a work tree.

    Args:
        template: address or folder; cookiecutter's abbreviations, such as `gh:owner/name`, are known.
        into: a folder that does not exist.

    Raises:
        click.ClickException: if it cannot be cloned.
    """
    prefix, _, rest = template.partition(":")
    address = BUILTIN_ABBREVIATIONS[prefix].format(rest) if prefix in BUILTIN_ABBREVIATIONS else template
    into.parent.mkdir(parents=True, exist_ok=True)
    # The line endings of the template, whatever the user's settings are.
    options = ("--quiet", "--no-checkout", "--config=core.autocrlf=false")
    result = git(into.parent, "clone", *options, "--", address, str(into.resolve()))
    if result.returncode:
        raise click.ClickException(
            f"The template {template} cannot be cloned: {result.stderr.strip()}\nIf it has moved, or was a download, "
            f"write the address of its repository as `template` into {RECORD}."
        )
    return into


def resolve(clone: Path, version: str | None = None) -> str:
    """Return the whole hash of a commit.

    Args:
        clone: of the template.
        version: a number such as 1.2.0, a tag, a branch or a commit; None is the newest of the default branch.

    Raises:
        click.ClickException: if the template has no such commit.
    """
    places = ["refs/tags/v", "refs/tags/", "refs/remotes/origin/", ""]
    for name in [place + version for place in places] if version else ["refs/remotes/origin/HEAD", "HEAD"]:
        found = git(clone, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        if found.returncode == 0:
            return found.stdout.strip()
    # It may be on no branch, such as the commit of a pull request.
    if version and re.fullmatch("[0-9a-f]{40,64}", version):
        fetched = git(clone, "fetch", "--quiet", "origin", version)
        if fetched.returncode == 0:
            return version
    raise click.ClickException(
        f"The template has no version, branch or commit {version or 'yet'}. Its versions are: "
        + (", ".join(git(clone, "tag", "--sort=-version:refname").stdout.split()[:10]) or "none, give a commit")
    )


def render(clone: Path, commit: str, answers: dict[str, str], into: Path, directory: str | None = None) -> Path:
    """Render a commit of the template, by its own hooks and extensions, and return the folder of the project.

    The project has a record, also of a commit that did not write one yet.

    Args:
        clone: of the template.
        commit: what `resolve` knows.
        answers: by question. Those that the commit does not know are left out, those that are missing are the defaults.
        into: a folder for the project's own, made if it does not exist.
        directory: where the template is in its repository, None for the root.

    Raises:
        click.ClickException: if the commit is none, or refuses the answers.
    """
    commit = resolve(clone, commit)
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ml-template-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        # An archive, because many renderings may go on at once in one clone. `.git_archival.txt` tells it its commit.
        archive = folder / "template.tar"
        git(clone, "archive", "--format=tar", f"--output={archive}", commit, check=True)
        with tarfile.open(archive) as files:
            files.extractall(folder / "template", filter="data")
        template = folder / "template" / (directory or "")
        if not (template / "cookiecutter.json").is_file():
            raise click.ClickException(f"{commit[:12]} is not the commit of a template: it has no cookiecutter.json.")
        questions = json.loads((template / "cookiecutter.json").read_bytes())
        known = [f"{question}={answer}" for question, answer in answers.items() if question in questions]
        # The user's own defaults are no part of the record, so they would be taken for changes of the project.
        config = folder / "config.json"
        config.write_text(json.dumps({"replay_dir": str(folder / "replay")}), encoding="utf-8")
        result = subprocess.run(
            [
                *(sys.executable, "-m", "cookiecutter", "--no-input", "--config-file", str(config)),
                *("--output-dir", str(into.resolve()), str(template), *known),
            ],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8", "PYTHONUTF8": "1"},
        )
        if result.returncode:
            # What the hooks say comes before the traceback; without it, the last line says what happened.
            said, _, trace = result.stdout.decode(errors="replace").partition("Traceback (most recent call last)")
            said = said.partition("ERROR: ")[0].strip() or trace.strip().splitlines()[-1]
            raise click.ClickException(f"{commit[:12]} of the template cannot be rendered with these answers:\n{said}")
        (replay,) = (folder / "replay").glob("*.json")
        context = json.loads(replay.read_bytes())["cookiecutter"]
    project: Path = into / context["project_slug"]
    Record(
        template=git(clone, "remote", "get-url", "origin", check=True).stdout.strip(),
        commit=commit,
        answers={question: answer for question, answer in context.items() if not question.startswith("_")},
        directory=directory,
        version=context.get("_version"),
    ).write(project)
    return project
