"""The file of an organisation: its answers to the questions of the template, for all its projects.

It is a user config of cookiecutter, so cookiecutter, cruft and this command take it alike.
"""

import dataclasses
import difflib
import json
import urllib.request
from pathlib import Path
from typing import Any

import click
import yaml
from jsonschema import Draft202012Validator, ValidationError

Questions = dict[str, Any]  # by name; the default of one, or the list of its answers
FILE = "organisation.yml"  # where it is taken from without being named: at the top of the template's repository
OF_COOKIECUTTER = ("abbreviations", "cookiecutters_dir", "replay_dir")


@dataclasses.dataclass
class Organisation:
    """What the file says.

    Attributes:
        source: the path or the address of the file, empty if there is none.
        version: of the file.
        decided: by question, the answer that projects get unless they are given another one.
        allowed: by question, the only answers that projects may have.
        ask: what `ml-template new` asks; None is all that is not decided.
        template: address of the template's repository, None for that of this command.
        checkout: which of its versions new projects get, None for the newest.
    """

    source: str = ""
    version: str | None = None
    decided: dict[str, str] = dataclasses.field(default_factory=dict)
    allowed: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    ask: list[str] | None = None
    template: str | None = None
    checkout: str | None = None

    @classmethod
    def read(cls, source: str) -> "Organisation":
        """Read the file, without looking at its answers: those need the questions of a template.

        Args:
            source: a path, or an address that begins with https://.

        Raises:
            click.ClickException: if there is no such file, or it is not the file of an organisation.
        """
        try:
            if source.startswith("https://"):
                with urllib.request.urlopen(source, timeout=30) as answer:
                    return cls.parse(source, answer.read().decode())
            return cls.parse(source, Path(source).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise click.ClickException(
                f"{source} cannot be read: {error}. Type the path of the file, or its address with https://."
            ) from None

    @classmethod
    def parse(cls, source: str, text: str) -> "Organisation":
        """Return what a text says that comes from `source`.

        Raises:
            click.ClickException: if it is not the file of an organisation.
        """
        try:
            content = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise click.ClickException(f"{source} is not YAML: {error}") from None
        refuse(source, content, SCHEMA)
        answers = content["default_context"]
        lists = {question: answer for question, answer in answers.items() if isinstance(answer, list)}
        return cls(
            source=source,
            version=content["version"],
            decided={question: answer for question, answer in answers.items() if question not in lists},
            allowed=lists,
            ask=content.get("ask"),
            template=content.get("template"),
            checkout=content.get("checkout"),
        )

    def check(self, questions: Questions) -> None:
        """Hold the file against the questions of a template.

        Raises:
            click.ClickException: if it answers what is not asked, or as nobody can answer.
        """
        properties: dict[str, Any] = {}
        for question, default in questions.items():
            if not isinstance(default, list):
                properties[question] = {"type": "string"}
                continue
            one = {"enum": default}
            several = {"items": one, "minItems": 1}
            properties[question] = {"if": {"type": "array"}, "then": several, "else": one}
        content = {"default_context": self.decided | self.allowed, "ask": self.ask or []}
        answers = {"properties": properties, "additionalProperties": False}
        refuse(
            self.source, content, {"properties": {"default_context": answers, "ask": {"items": {"enum": [*questions]}}}}
        )

    def answers(self, given: dict[str, str]) -> dict[str, str]:
        """Return the answers of a project: those that are given, and those that the organisation decides.

        Raises:
            click.ClickException: if the organisation does not allow one of them.
        """
        for question, answer in given.items():
            allowed = self.allowed.get(question, [answer])
            if answer not in allowed:
                raise click.ClickException(
                    f"Your organisation does not allow {question}={answer}. Type one of: {', '.join(allowed)}."
                )
        return {question: allowed[0] for question, allowed in self.allowed.items()} | self.decided | given

    def left(self, questions: Questions) -> list[str]:
        """Return the questions that people are asked."""
        if self.ask is not None:
            return self.ask
        fixed = self.decided.keys() | {question for question, allowed in self.allowed.items() if len(allowed) == 1}
        return [question for question in questions if question not in fixed]


SCHEMA = {
    "type": "object",
    "required": ["version", "default_context"],
    "additionalProperties": False,
    "properties": {
        "version": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
        "template": {"type": "string"},
        "checkout": {"type": "string"},
        "ask": {"type": "array", "items": {"type": "string"}},
        "default_context": {
            "type": "object",
            "additionalProperties": {
                "if": {"type": "array"},
                "then": {"items": {"type": "string"}, "minItems": 1},
                "else": {"type": "string"},
            },
        },
        **{name: {} for name in OF_COOKIECUTTER},
    },
}


def refuse(source: str, content: Any, schema: dict[str, Any]) -> None:
    """Raise click.ClickException with all that is wrong, one line each."""
    errors = sorted(Draft202012Validator(schema).iter_errors(content), key=lambda error: list(map(str, error.path)))
    if errors:
        lines = dict.fromkeys(line for error in errors for line in sentences(error))
        raise click.ClickException("\n  ".join([f"{source} cannot work:", *lines]))


def sentences(error: ValidationError) -> list[str]:
    """Return what is wrong and what to type, in a line for each name that is meant."""
    where, value = ".".join(map(str, error.absolute_path)) or "the file", error.instance
    match error.validator:
        case "additionalProperties":
            known = error.schema["properties"]
            unknown = [name for name in value if name not in known]
            return [f"{where}: nothing is called {name}. {instead(name, list(known))}" for name in unknown]
        case "required":
            missing = [name for name in error.validator_value if name not in value]
            return [f"{where}: {name} is missing. Type for example: {EXAMPLES[name]}" for name in missing]
        case "enum":
            return [f"{where}: {value} is not one of the answers. {instead(str(value), error.validator_value)}"]
        case "pattern":
            return [f"{where}: {value} is no version. Type three numbers, such as 1.0.0."]
        case "minItems":
            return [f"{where}: the list is empty. Name at least one answer, or leave the question out."]
        case _:
            return [
                f"{where}: {json.dumps(value, default=str)} is of the wrong kind. Type {KINDS[error.validator_value]}."
            ]


KINDS = {"string": "text in quotes", "object": "pairs of names and values", "array": "a list"}
EXAMPLES = {"version": "version: 1.0.0", "default_context": "default_context: {cloud: azure}"}


def instead(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"Type {close[0]}." if close else f"Type one of: {', '.join(known)}."
