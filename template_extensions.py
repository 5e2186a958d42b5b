"""What Jinja can do in this template, and what it may not.

Cookiecutter and cruft load the module from here before they render anything, as `_extensions` in cookiecutter.json
tells them.
"""

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

from cookiecutter import prompt
from jinja2 import Environment
from jinja2.ext import Extension
from rich.console import Console  # comes with cookiecutter
from rich.prompt import Confirm

from template_answers import as_folder, as_package, as_slug, problem, problems

ROOT = Path(__file__).resolve().parent
FOLDER = "{{cookiecutter.project_slug}}"
# Whoever only wants to look answers the questions up to this one.
LAST_OF_A_LOOK = "problem"
OTHERS = "  The other questions have defaults that work on a laptop. Answer them too?"


def strings(value: Any) -> Iterator[str]:
    """Yield every string in nested dictionaries and lists, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for element in value:
            yield from strings(element)
        if isinstance(value, dict):
            yield from strings(list(value.values()))


class Reference:
    """A dynamic value reference of Databricks, such as `{{job.parameters.days}}`: rendered, it stays as it is."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __getattr__(self, name: str) -> "Reference":
        return Reference(f"{self.path}.{name}")

    def __str__(self) -> str:
        return "{{" + self.path + "}}"


class OfThisVersion(Extension):
    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        # `cruft update` renders two versions of the template in one process: the other one has code of its own.
        for name in (__name__, problems.__module__):
            sys.modules.pop(name, None)


class References(OfThisVersion):
    """Leaves as they are the references of Databricks, and the expressions of GitHub and Azure DevOps: `${{ … }}`."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.globals.update({name: Reference(name) for name in ("job", "tasks")})

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        return source.replace("${{", "${{ '{{' }}")


class OwnCode(OfThisVersion):
    """Lets Jinja run the code of this template alone: cookiecutter renders every answer that it is given as a template.

    What is typed at a prompt is not rendered, and `hooks/pre_gen_project.py` refuses it.
    """

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """Return the text as it is, and the name of the project's folder so that it stays below the output folder.

        Raises:
            SystemExit: if it holds Jinja code that is not this template's own.
        """
        # Only what the template consists of is rendered with a loader, the paths of its files among it.
        if self.environment.loader is None and re.search(r"\{[#%{]", source) and source not in OWN:
            sys.exit(
                f"This answer holds Jinja code, which would run on your machine, so nothing was written: {source!r}. "
                "Type it without {{, {% and {#."
            )
        # The folder is made before `hooks/pre_gen_project.py` looks at the answers.
        return source.replace("project_slug", "project_slug | as_folder") if source == FOLDER else source


class Prompts(OfThisVersion):
    """Tells at once what is wrong with an answer, and lets whoever only wants to look take the rest as it is.

    Cookiecutter has neither, so its functions that ask are replaced. They ask nothing with `--no-input`, and in cruft's
    updates.
    """

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.given: dict[str, str] = {}
        self.rest_as_it_is = False
        prompt.read_user_variable = self.patient(prompt.read_user_variable, lambda default: default)
        prompt.read_user_choice = self.patient(prompt.read_user_choice, lambda answers: answers[0])

    def patient(self, ask: Callable[..., str], default_of: Callable[[Any], str]) -> Callable[..., str]:
        """Return a function that asks until the answer can work, or takes the default without asking."""
        ask = inspect.unwrap(ask)

        @wraps(ask)
        def asked(question: str, default: Any, *rest: Any, **named: Any) -> str:
            answer = default_of(default) if self.rest_as_it_is else ask(question, default, *rest, **named)
            while wrong := problem(question, self.given | {question: answer}):
                Console().print(f"    {wrong[0]}. Type {wrong[1]}.", style="red", markup=False, highlight=False)
                answer = ask(question, default, *rest, **named)
            self.given[question] = answer
            if question == LAST_OF_A_LOOK:
                self.rest_as_it_is = not Confirm.ask(OTHERS, default=True)
            return answer

        return asked


class Answers(OfThisVersion):
    """Filters and functions that make text from answers."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.filters |= {
            "as_folder": as_folder,
            "as_package": as_package,
            "as_slug": as_slug,
            "quoted": quoted,
        }
        environment.globals |= {"origin": origin, "problems": problems}


def quoted(text: str) -> str:
    """Return text in the double quotes of YAML, TOML and JSON alike.

    `tojson` makes two escapes of one emoji, which only JSON puts together again.
    """
    return json.dumps(text, ensure_ascii=False)


def origin(template: str) -> dict[str, str | None]:
    """Return where this template comes from, for `.cruft.json`: the repository and the commit, None if unknown.

    Args:
        template: what cookiecutter was given.
    """
    commit = git("rev-parse", "HEAD") or (ROOT / ".git_archival.txt").read_text(encoding="utf-8").strip()
    published = git("for-each-ref", "--contains", "HEAD", "refs/remotes", "refs/tags")
    address = (git("remote", "get-url", "origin") if published else "") or (
        template if template.lower().endswith(".zip") else str(ROOT)
    )
    return {
        "template": re.sub(r"(?<=^https://)[^/@]*@", "", address),  # a clone may hold a token
        "commit": commit if re.fullmatch("[0-9a-f]{40,64}", commit) else None,
    }


def git(*arguments: str) -> str:
    """Return what git says about the clone that this template is in; nothing if it is not in one."""
    try:
        command = ["git", "--git-dir", str(ROOT / ".git"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, encoding="utf-8").stdout.strip()
    except FileNotFoundError:
        return ""


# What is rendered besides the files of a project: questions, hooks, and the name of the folder.
OWN = {
    *strings(json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))),
    *(path.read_text(encoding="utf-8") for path in (ROOT / "hooks").glob("*.py")),
    *(path.name for path in ROOT.glob("*cookiecutter*")),
}
