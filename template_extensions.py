"""What Jinja can do in this template, and what it may not.

Cookiecutter and cruft load the module from here before they render anything, as `_extensions` in cookiecutter.json
tells them.
"""

import json
import keyword
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jinja2 import Environment
from jinja2.ext import Extension
from slugify import slugify  # comes with cookiecutter

ROOT = Path(__file__).resolve().parent
FOLDER = "{{cookiecutter.project_slug}}"

# What a package must not be called: what the project has or Git ignores, what it imports, and what it depends on.
TAKEN_PACKAGES = {
    *("dist", "environments", "hatch_build", "hatchling", "lifecycle", "local", "models", "release", "tests"),
    *("azure_storage_file_datalake", "boto3", "cloudpickle", "databricks", "databricks_sdk", "google_cloud_storage"),
    *("matplotlib", "mlflow", "mypy", "numpy", "pandas", "pandas_stubs", "pre_commit", "pydantic", "pysail", "pyspark"),
    *("pyspark_client", "pytest", "pyyaml", "ruff", "scikit_learn", "sklearn", "types_pyyaml", "yaml"),
    *sys.stdlib_module_names,
    *keyword.kwlist,
}
# What no file or folder is called on Windows.
DEVICES = {"aux", "con", "nul", "prn", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}


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
        sys.modules.pop(__name__, None)


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
        environment.globals["origin"] = origin


def as_slug(text: str) -> str:
    """Return a name for a folder: lower-case letters, digits and dashes. Empty if there is nothing to make it from."""
    slug = slugify(text, max_length=63, word_boundary=True)
    return as_slug(f"ml-{slug}") if slug[:1].isdigit() or slug in DEVICES else slug


def as_package(text: str) -> str:
    """Return a name for a Python package that nothing else has."""
    package = as_slug(text).replace("-", "_")
    return f"ml_{package}" if package in TAKEN_PACKAGES else package


def as_folder(slug: str) -> str:
    """Return the slug, or a folder's name in its place where the slug may be none."""
    return slug if re.fullmatch(r"[a-z0-9-]{1,63}", slug) and slug not in DEVICES else "refused-answers"


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
