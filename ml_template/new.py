"""`ml-template new`: makes a project with the defaults of an organisation, and asks for the rest."""

import importlib.metadata
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from .organisation import FILE, Organisation
from .place import put, top_of
from .render import clone, git, render, resolve
from .update import answers_in, questions_of, settings_of
from .update import check as check_answers

template_option = click.option(
    "--template",
    metavar="ADDRESS",
    help="Repository of the template. Default: the organisation's, or that of this command.",
)


def origin() -> str:
    """Return the repository that this command comes from, which is that of the template.

    Raises:
        click.ClickException: if it comes from elsewhere.
    """
    root = Path(__file__).resolve().parents[1]
    if (root / "cookiecutter.json").is_file():
        return str(root)
    installed = importlib.metadata.distribution("cookiecutter-databricks-ml").read_text("direct_url.json")
    address: str | None = json.loads(installed or "{}").get("url")
    if address is None:
        raise click.ClickException(
            "Nothing says where the template is. Type --template ADDRESS, or start the command from its repository: "
            "uvx --from git+https://<repository> ml-template new"
        )
    return address


@contextmanager
def template_of(organisation: Organisation, address: str | None) -> Iterator[tuple[Path, str]]:
    """Clone the template, and yield the clone and the commit that new projects are made from."""
    with tempfile.TemporaryDirectory(prefix="ml-template-", ignore_cleanup_errors=True) as name:
        repository = clone(address or organisation.template or origin(), Path(name) / "clone")
        yield repository, resolve(repository, organisation.checkout)


@click.command()
@click.option(
    "--answer", "pairs", multiple=True, metavar="QUESTION=ANSWER", help="An answer that need not be asked for."
)
@click.option(
    "--organisation",
    "source",
    envvar="ML_TEMPLATE_ORGANISATION",
    metavar="FILE_OR_URL",
    help="Answers of your organisation. Default: the file that ML_TEMPLATE_ORGANISATION names, or one in the template.",
)
@template_option
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the folder of the project is made. Default: here, or the projects_folder of this repository.",
)
@click.option("--no-input", is_flag=True, help="Ask nothing, and take the defaults.")
def new(pairs: tuple[str, ...], source: str | None, template: str | None, into: Path | None, no_input: bool) -> None:
    """Make a project. With the file of an organisation it asks only what that does not decide."""
    given = answers_in(pairs)
    organisation = Organisation.read(source) if source else Organisation()
    with template_of(organisation, template) as (repository, commit):
        of_template = git(repository, "show", f"{commit}:{FILE}")
        if not source and of_template.returncode == 0:
            organisation = Organisation.parse(f"{FILE} of the template", of_template.stdout)
        settings = settings_of(repository, commit)
        questions, labels = questions_of(settings), settings["__prompts__"]
        organisation.check(questions)
        check_answers(given, questions)
        answers = organisation.answers(given)
        for question in organisation.left(questions):
            if question not in given and not no_input:
                offered = organisation.allowed.get(question, questions[question])
                answers |= ask(question, offered, labels[question], organisation.decided.get(question))
        folder = answers.get("projects_folder", "")
        project = render(repository, commit, answers, into or (top_of(Path()) / folder if folder else Path()))
    for path in put(project) if folder else []:
        click.echo(path)
    by = f" with version {organisation.version} of {organisation.source}" if organisation.source else ""
    click.echo(f"\n{project} is ready{by}. Its docs/onboarding.md goes on from here.")


@click.command()
@click.argument("source", metavar="FILE_OR_URL")
@template_option
def check_organisation(source: str, template: str | None) -> None:
    """Check the file of an organisation, and render projects with it: each answer that it allows is in one."""
    organisation = Organisation.read(source)
    with template_of(organisation, template) as (repository, commit):
        questions = questions_of(settings_of(repository, commit))
        organisation.check(questions)
        for number in range(max(map(len, organisation.allowed.values()), default=1)):
            chosen = {question: answers[number % len(answers)] for question, answers in organisation.allowed.items()}
            render(repository, commit, organisation.answers(chosen), repository.parent / str(number))
    left = organisation.left(questions)
    click.echo(
        f"Version {organisation.version} works. `ml-template new` asks {len(left)} questions: {', '.join(left)}."
    )


def ask(question: str, default: Any, label: Any, decided: str | None) -> dict[str, str]:
    """Ask one question, and return its answer; nothing where the default of organisation or template is wanted."""
    if isinstance(default, list):
        click.echo("\n".join([label["__prompt__"], *(f"  {label[answer]}" for answer in default)]))
        return {
            question: click.prompt(
                question, type=click.Choice(default), default=decided or default[0], show_choices=False
            )
        }
    # What follows from other answers is known only when the template renders them.
    shown = decided or ("what follows from the other answers" if "{{" in default else default or "none")
    answer = click.prompt(f"{label} [{shown}]", default="", show_default=False)
    return {question: answer} if answer else {}
