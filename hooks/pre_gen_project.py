"""Refuses answers that cannot work: each problem in one sentence, with what to type instead."""

import json
import keyword
import re
import sys

ANSWERS = json.loads(r"""{{ cookiecutter | tojson }}""")

# What the package must not be called: folders of the project, and packages that it imports.
TAKEN_PACKAGES = {
    *("cloudpickle", "databricks", "environments", "lifecycle", "local", "matplotlib", "mlflow", "models", "numpy"),
    *("pandas", "pydantic", "pysail", "pyspark", "sklearn", "tests", "yaml"),
    *sys.stdlib_module_names,
}
ENVIRONMENTS = ("dev", "staging", "prod")
# Unity Catalog: up to 255 characters, no dots, spaces, slashes or control characters. Names are stored in lower case.
UNITY_CATALOG_NAME = re.compile(r"[^\s./\\`'\"$\x00-\x1f\x7f]{1,255}")
HOST = re.compile(r"https://[a-z0-9.-]+\.[a-z]+(:\d+)?/?|http://(localhost|127\.0\.0\.1)(:\d+)?/?")
EMAIL = re.compile(r"[^@\s\"'\\]+@[^@\s\"'\\]+\.[^@\s\"'\\]+")
QUARTZ_FIELD = re.compile(r"[A-Z0-9*?/,#LW-]+")


def problems(answers):
    """Yield (question, what is wrong, what to type) for every answer that cannot work."""
    slug, package = answers["project_slug"], answers["package_name"]
    for question, text in answers.items():
        if not question.startswith("_") and re.search(r"\{[#%{]", text):
            yield question, f"{text!r} holds Jinja code", "it without two braces, or a brace with % or #, in a row"
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,62}", slug):
        yield "project_slug", f"{slug!r} is not a folder and bundle name", "lower-case letters, digits and dashes"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", package) or keyword.iskeyword(package):
        yield "package_name", f"{package!r} is not a Python package name", "lower-case letters, digits and underscores"
    elif package in TAKEN_PACKAGES:
        yield "package_name", f"{package!r} is the name of another package", f"another name, such as {package}_model"
    for question in ("project_name", "description"):
        text = answers[question]
        if not text.strip() or re.search(r"[\x00-\x1f\x7f]", text):
            yield question, "it is empty or has a line break", "one line of text"
    for question in (*(f"{name}_catalog" for name in ENVIRONMENTS), "schema_name", "model_name"):
        if not UNITY_CATALOG_NAME.fullmatch(answers[question]) or answers[question] != answers[question].lower():
            yield (
                question,
                f"{answers[question]!r} is not a name for Unity Catalog",
                "lower-case text without dots, spaces, slashes or quotes, for example fraud_detection",
            )
    catalogs = [answers[f"{name}_catalog"] for name in ENVIRONMENTS]
    if len(set(catalogs)) < len(catalogs) and "{target}" not in answers["schema_name"]:
        yield (
            "dev_catalog",
            "two environments share a catalog",
            "a catalog of its own for each, or one schema each: schema_name=" + answers["schema_name"] + "_{target}",
        )
    for question in (f"{name}_workspace_host" for name in ENVIRONMENTS):
        if not HOST.fullmatch(answers[question]):
            yield question, f"{answers[question]!r} is not a workspace address", "https:// and the host, without a path"
    for question in ("data_scientists_group", "model_approvers_group"):
        if not answers[question].strip() or re.search(r"[\"'\\$\x00-\x1f\x7f]", answers[question]):
            yield question, f"{answers[question]!r} is not a group name", "the name of a group of your account"
    if not EMAIL.fullmatch(answers["notification_email"]):
        yield "notification_email", f"{answers['notification_email']!r} is not an address", "one like ml@example.com"
    fields = answers["retraining_schedule"].split()
    if not 6 <= len(fields) <= 7 or not all(map(QUARTZ_FIELD.fullmatch, fields)) or fields[3:6:2].count("?") != 1:
        yield (
            "retraining_schedule",
            f"{answers['retraining_schedule']!r} is not a Quartz cron expression",
            'seconds, minutes, hours, day of month, month, day of week, for example "0 0 1 ? * MON"',
        )


def main():
    found = list(problems(ANSWERS))
    if found:
        lines = [f"  {question}: {wrong}. Type {right}." for question, wrong, right in found]
        sys.exit("\n".join(["These answers cannot work, so nothing was written:", *lines]))


main()
