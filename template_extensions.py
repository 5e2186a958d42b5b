"""Lets Jinja run the code of this template alone: cookiecutter renders every answer that it is given as a template.

Cookiecutter and cruft load the module from here before they render anything, as `_extensions` in cookiecutter.json
tells them. What is typed at a prompt is not rendered, and `hooks/pre_gen_project.py` refuses it.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jinja2 import Environment
from jinja2.ext import Extension

ROOT = Path(__file__).resolve().parent


def strings(value: Any) -> Iterator[str]:
    """Yield every string in nested dictionaries and lists, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for element in value:
            yield from strings(element)
        if isinstance(value, dict):
            yield from strings(list(value.values()))


class OwnCode(Extension):
    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        # `cruft update` renders two versions of the template in one process: the other one has code of its own.
        sys.modules.pop(__name__, None)

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """Return the text as it is.

        Raises:
            SystemExit: if it holds Jinja code that is not this template's own.
        """
        # Only what the template consists of is rendered with a loader, the paths of its files among it.
        if self.environment.loader is None and re.search(r"\{[#%{]", source) and source not in OWN:
            sys.exit(
                f"This answer holds Jinja code, which would run on your machine, so nothing was written: {source!r}. "
                "Type it without {{, {% and {#."
            )
        return source


# What is rendered besides the files of a project: questions, hooks, and the name of the folder.
OWN = {
    *strings(json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))),
    *(path.read_text(encoding="utf-8") for path in (ROOT / "hooks").glob("*.py")),
    *(path.name for path in ROOT.glob("*cookiecutter*")),
}
