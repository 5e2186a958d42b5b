"""What answers have to look like, and the names that follow from them."""

import keyword
import re
import sys
import unicodedata
from collections.abc import Mapping

from slugify import slugify  # comes with cookiecutter

# What a package must not be called: what the project has or Git ignores, what it imports, and what it depends on.
TAKEN_PACKAGES = {
    *("dist", "environments", "hatch_build", "hatchling", "lifecycle", "local", "models", "release", "tests"),
    *("azure_storage_file_datalake", "boto3", "cloudpickle", "databricks", "databricks_sdk", "google_cloud_storage"),
    *("matplotlib", "mlflow", "mypy", "numpy", "pandas", "pandas_stubs", "pre_commit", "pydantic", "pysail", "pyspark"),
    *("pyspark_client", "pytest", "pyyaml", "rich", "ruff", "scikit_learn", "sklearn", "types_pyyaml", "yaml"),
    *sys.stdlib_module_names,
    *keyword.kwlist,
}
# What no file or folder is called on Windows.
DEVICES = {"aux", "con", "nul", "prn", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}

ENVIRONMENTS = ("dev", "staging", "prod")
HOST = re.compile(r"https://[a-z0-9.-]+\.[a-z]+(:[0-9]+)?/?|http://(localhost|127\.0\.0\.1)(:[0-9]+)?/?")
# Quotes, backslashes and `$` have a meaning in bundle files, `|` and backticks in the documentation.
NAME = re.compile(r"(?! )[^\"'`\\$|]+(?<! )")
EMAIL = re.compile(r"[^@\s\"'\\]+@[^@\s\"'\\]+\.[^@\s\"'\\]+")
WORDS = r"[A-Za-z0-9_.:/@+-]+( [A-Za-z0-9_.:/@+-]+)*"
TAGS = re.compile(f"{WORDS}={WORDS}(,{WORDS}={WORDS})*")
TAKEN_TAGS = {"project", "environment", "dev"}  # which jobs have already
RUNNER = re.compile(f"{WORDS}(,{WORDS})*")
ADDRESS = re.compile(r"(https://[A-Za-z0-9.-]+|http://(localhost|127\.0\.0\.1))(:[0-9]+)?(/[A-Za-z0-9._~/-]*)?")
PROXY = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]+)?/?")
FOLDER = re.compile(r"(?=.{1,40}$)(\.|[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*)")
# What an answer that may be empty looks like, what it is, and what to type instead of something else.
OPTIONAL = {
    "sql_warehouse": (
        NAME,
        "the name of a SQL warehouse",
        "it as the page of SQL warehouses shows it, such as Serverless Starter Warehouse",
    ),
    "tags": (TAGS, "a list of tags", "key=value, several with commas between, such as cost-center=ml,owner=fraud"),
    "runner": (
        RUNNER,
        "the labels or the pool of runners",
        "them as your CI/CD system lists them, with commas between",
    ),
    "package_index": (
        ADDRESS,
        "the address of a package index",
        "https:// and so on, without a user, a password or a token, such as https://packages.example.com/simple",
    ),
    "proxy": (
        PROXY,
        "the address of a proxy",
        "it without a user or a password, such as http://proxy.example.com:3128",
    ),
    "projects_folder": (
        FOLDER,
        "a folder of a repository",
        "it as seen from the top, such as projects, or a dot",
    ),
}
QUARTZ_FIELD = re.compile(r"[A-Z0-9*?/,#LW-]+")
# Characters that show nothing, besides those of the categories that Python takes for not printable.
INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


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


def is_line(text: str) -> bool:
    """Tell whether a text is one line that reads in the order it is written. Emoji and Persian use both joiners."""
    hidden = [letter for letter in text if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    return bool(text.strip()) and set(hidden) <= {"\u200c", "\u200d"}


def is_visible(text: str) -> bool:
    return text.isprintable() and not INVISIBLE.search(text)


def is_unity_catalog_name(text: str) -> bool:
    """Tell whether a text names an object of Unity Catalog, which stores names in lower case.

    Letters of any script that is written from left to right: from right to left, `a.b.c` looks like another name.
    """
    return (
        0 < len(text) <= 255
        and text == text.lower()
        and is_visible(text)
        and all(letter in "-_" or unicodedata.category(letter)[0] in "LMN" for letter in text)
        and not any(unicodedata.bidirectional(letter) in ("R", "AL", "AN") for letter in text)
    )


def problem(question: str, answers: Mapping[str, str]) -> tuple[str, str] | None:
    """Return what is wrong with an answer, and what to type instead; None if it can work.

    Args:
        answers: to this question, and to those before it.
    """
    answer = answers[question]
    if re.search(r"\{[#%{]", answer):
        return f"{answer!r} holds Jinja code", "it without two braces, or a brace with % or #, in a row"
    match question:
        case "project_name" | "description":
            if not is_line(answer):
                return "it is empty, or has a line break or an invisible character", "one line of text"
            if question == "project_name" and not as_slug(answer) and not answers.get("project_slug", answer):
                return f"nothing of {answer!r} can name a folder", "letters or digits, or a project_slug as well"
        case "project_slug":
            if not re.fullmatch("[a-z0-9-]+", answer) or re.sub("-+", "-", answer) != as_slug(answer):
                advice = "lower-case letters, digits and dashes, such as " + (as_slug(answer) or "fraud-detection")
                return f"{answer!r} is not a folder and bundle name", advice
        case "package_name":
            if not answer or re.sub("_+", "_", answer) != as_package(answer):
                advice = "lower-case letters, digits and underscores, such as " + (
                    as_package(answer) or "fraud_detection"
                )
                return f"{answer!r} is not a Python package name, or another package has it", advice
        case "dev_catalog" | "staging_catalog" | "prod_catalog" | "schema_name" | "model_name":
            if not is_unity_catalog_name(answer.replace("{target}", "target") if question == "schema_name" else answer):
                return (
                    f"{answer!r} is not a name for Unity Catalog",
                    "lower-case text without dots, spaces and signs other than - and _, for example fraud_detection",
                )
            catalogs = [answers[f"{name}_catalog"] for name in ENVIRONMENTS if f"{name}_catalog" in answers]
            if question == "schema_name" and len(set(catalogs)) < len(catalogs) and "{target}" not in answer:
                advice = f"a catalog of its own for each, or one schema each: schema_name={answer}_{{target}}"
                return "two environments share a catalog", advice
        case "dev_workspace_host" | "staging_workspace_host" | "prod_workspace_host":
            if not HOST.fullmatch(answer):
                return f"{answer!r} is not a workspace address", "https:// and the host, without a path"
        case "data_scientists_group" | "model_approvers_group":
            if not is_visible(answer) or not NAME.fullmatch(answer):
                advice = (
                    "the name of a group of your account, without quotes, backslashes, $, | and invisible characters"
                )
                return f"{answer!r} is not a group name", advice
        case "notification_email":
            if not is_visible(answer) or not EMAIL.fullmatch(answer) or "${" in answer:
                return f"{answer!r} is not an address", "one like ml@example.com"
        case "retraining_schedule":
            fields = re.split(" +", answer)
            if (
                not 6 <= len(fields) <= 7
                or not all(map(QUARTZ_FIELD.fullmatch, fields))
                or fields[3:6:2].count("?") != 1
            ):
                return (
                    f"{answer!r} is not a Quartz cron expression",
                    'seconds, minutes, hours, day of month, month, day of week, for example "0 0 1 ? * MON"',
                )
        case _ if question in OPTIONAL and answer:
            return optional_problem(question, answers)
    return None


def optional_problem(question: str, answers: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the problem of an answer that could have been empty."""
    answer = answers[question]
    pattern, what, advice = OPTIONAL[question]
    if not is_visible(answer) or not pattern.fullmatch(answer):
        return f"{answer!r} is not {what}", advice
    keys = [tag.partition("=")[0] for tag in answer.split(",")]
    if question == "tags" and (len(set(keys)) < len(keys) or TAKEN_TAGS & set(keys)):
        return "two tags have the same key, or one is called project, environment or dev", "each key once"
    if question == "runner" and answers["ci_provider"] == "azure-devops" and "," in answer:
        return f"{answer!r} names several pools", "the name of one"
    return None


def problems(answers: Mapping[str, str]) -> dict[str, str]:
    """Return a sentence on each answer that cannot work, by question.

    An answer that follows from a bad one is nobody's mistake, and has none.

    Args:
        answers: all of them; variables that start with `_` are no answers.
    """
    found = {
        question: f"{found[0]}. Type {found[1]}."
        for question in answers
        if not question.startswith("_") and (found := problem(question, answers))
    }
    refused = set(found)
    for question, source, derived in (
        ("project_slug", "project_name", as_slug(answers["project_name"])),
        ("package_name", "project_slug", as_package(answers["project_slug"])),
        ("schema_name", "package_name", answers["package_name"]),
        ("model_name", "package_name", answers["package_name"] + "_model"),
    ):
        if source in refused and answers[question] == derived:
            refused.add(question)
            found.pop(question, None)
    return found
