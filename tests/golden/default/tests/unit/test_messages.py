"""docs/operations.md explains each message of a command or a task, and no other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = ("src/*/models.py", "src/*/platform/*.py", "src/*/tasks/*.py", "local/*.py")
EXPLAIN_THEMSELVES = {"ArgumentTypeError", "SystemExit", "ApiError"}  # about a word of the command line, or an address
# Caught in the code, or said with another sentence around them.
CAUGHT = {
    "' is neither true nor false",
    "waits raises before it ends",
    "a name that stands there twice is read in two ways",
    " as it is now: promote it again.",  # where approvals are asked for
}


def parts(node: ast.AST) -> list[str]:
    """Return the constant texts in a part of the code."""
    return [found.value for found in ast.walk(node) if isinstance(found, ast.Constant) and isinstance(found.value, str)]


def messages() -> Iterator[tuple[str, list[str]]]:
    """Yield where an error is raised, and the constant parts of its text."""
    for path in sorted(path for pattern in CODE for path in ROOT.glob(pattern)):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args):
                continue
            kind = ast.unparse(node.exc.func).rpartition(".")[2]
            said = [part for part in parts(node.exc.args[0]) if re.search("[a-z]{3}", part)]
            if said and kind not in EXPLAIN_THEMSELVES and not CAUGHT & set(said):
                yield f"{path.name}, line {node.lineno}", said


def page() -> list[str]:
    """Return the messages that the page explains, as the parts between names and numbers."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    _, _, section = text.partition("## What a message means")
    rows = "".join(re.findall(r"^\| \*.*$", section, re.MULTILINE))
    found = [part.strip(" ',") for message in re.findall(r"\*(.+?)\*", rows) for part in re.split("…|30", message)]
    return [part for part in found if len(part) > 6]


def test_every_message_is_on_the_page() -> None:
    explained = page()
    missing = [
        f"{where}: {' … '.join(said)}"
        for where, said in messages()
        if not any(known in part for known in explained for part in said)
    ]
    assert not missing, "docs/operations.md, What a message means"


def test_no_other_message_is_on_the_page() -> None:
    """Also not one that only another deployment pattern has."""
    files = (path for pattern in CODE for path in ROOT.glob(pattern))
    said = "\n".join(part for path in files for part in parts(ast.parse(path.read_text(encoding="utf-8"))))
    assert [known for known in page() if known.lower() not in said.lower()] == []
