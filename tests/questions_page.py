"""Writes docs/questions.md anew from cookiecutter.json: all of its tables but the last column, which people write.

    python tasks.py golden

does so as well. A question that nobody has explained has an empty column, which a test refuses.
"""

import re
from collections.abc import Iterator

from golden_tree import AGAINST, GOLDEN
from helpers import CHOICES, COOKIECUTTER, QUESTIONS, ROOT
from product import context_of

PAGE = ROOT / "docs" / "questions.md"
TABLES = re.compile(r"(?<=<!-- From cookiecutter.json: python tasks.py golden -->\n).*\Z", re.DOTALL)


def explained(page: str) -> dict[str, str]:
    """Return the last column of the first table, by question."""
    table = page.partition("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", table, re.MULTILINE))


def written(page: str) -> str:
    """Return the page as it should be, with the explanations that it has."""
    tables = "\n".join([*of_questions(explained(page)), *of_answers()])
    return TABLES.sub(lambda _: f"\n{tables}\n", page)


def of_questions(explanations: dict[str, str]) -> Iterator[str]:
    defaults = context_of({})
    yield "| Question | Default | What it decides |\n|---|---|---|"
    for question in QUESTIONS:
        default = f"`{defaults[question]}`" if defaults[question] else "none"
        yield f"| `{question}` | {default} | {explanations.get(question, '')} |"


def of_answers() -> Iterator[str]:
    yield "\n## What an answer changes\n\nThe last column leads to the difference between two rendered projects."
    for question, answers in CHOICES.items():
        labels = COOKIECUTTER["__prompts__"][question]
        yield f"\n### `{question}`\n\n{labels['__prompt__']}\n\n| Answer | | Changes |\n|---|---|---|"
        for answer in answers:
            meaning = labels[answer].removeprefix(answer).strip()
            other = AGAINST.get(answer, answers[0])
            # The name that golden_tree.py gives it.
            name = f"{question}-{answer}{f'-against-{other}' if answer in AGAINST else ''}.diff"
            link = f"[against `{other}`](../{(GOLDEN / name).relative_to(ROOT).as_posix()})"
            yield f"| `{answer}` | {meaning} | {link if answer != answers[0] else ''} |"


def main() -> None:
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
