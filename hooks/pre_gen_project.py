"""Refuses answers that cannot work: each problem in one sentence, with what to type instead."""

import json
import re
import sys
import unicodedata

ANSWERS = json.loads(r"""{{ cookiecutter | tojson }}""")
# What answers are made into by themselves, see template_extensions.py.
NAME_AS_SLUG = "{{ cookiecutter.project_name | as_slug }}"
SLUG_AS_SLUG = "{{ cookiecutter.project_slug | as_slug }}"
SLUG_AS_PACKAGE = "{{ cookiecutter.project_slug | as_package }}"
PACKAGE_AS_PACKAGE = "{{ cookiecutter.package_name | as_package }}"

ENVIRONMENTS = ("dev", "staging", "prod")
HOST = re.compile(r"https://[a-z0-9.-]+\.[a-z]+(:[0-9]+)?/?|http://(localhost|127\.0\.0\.1)(:[0-9]+)?/?")
# Quotes, backslashes and `$` have a meaning in bundle files, `|` and backticks in the documentation.
GROUP = re.compile(r"(?! )[^\"'`\\$|]+(?<! )")
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


def is_line(text):
    """Tell whether a text is one line that reads in the order it is written. Emoji and Persian use both joiners."""
    hidden = [letter for letter in text if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    return bool(text.strip()) and set(hidden) <= {"\u200c", "\u200d"}


def is_visible(text):
    return text.isprintable() and not INVISIBLE.search(text)


def is_unity_catalog_name(text):
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


def problems(answers):
    """Yield (question, what is wrong, what to type) for every answer that cannot work."""
    slug, package = answers["project_slug"], answers["package_name"]
    for question, text in answers.items():
        if not question.startswith("_") and re.search(r"\{[#%{]", text):
            yield question, f"{text!r} holds Jinja code", "it without two braces, or a brace with % or #, in a row"
    for question in ("project_name", "description"):
        if not is_line(answers[question]):
            yield question, "it is empty, or has a line break or an invisible character", "one line of text"
    if not slug and not NAME_AS_SLUG and is_line(answers["project_name"]):
        wrong = f"nothing of {answers['project_name']!r} can name a folder"
        yield "project_name", wrong, "letters or digits, or a project_slug as well"
    elif re.sub("-+", "-", slug) != SLUG_AS_SLUG or not re.fullmatch("[a-z0-9-]+", slug):
        advice = "lower-case letters, digits and dashes, such as " + (SLUG_AS_SLUG or "fraud-detection")
        yield "project_slug", f"{slug!r} is not a folder and bundle name", advice
    if re.sub("_+", "_", package) != PACKAGE_AS_PACKAGE or not package:
        advice = "lower-case letters, digits and underscores, such as " + (PACKAGE_AS_PACKAGE or "fraud_detection")
        yield "package_name", f"{package!r} is not a Python package name, or another package has it", advice
    for question in (*(f"{name}_catalog" for name in ENVIRONMENTS), "schema_name", "model_name"):
        name = answers[question].replace("{target}", "target") if question == "schema_name" else answers[question]
        if not is_unity_catalog_name(name):
            yield (
                question,
                f"{answers[question]!r} is not a name for Unity Catalog",
                "lower-case text without dots, spaces and signs other than - and _, for example fraud_detection",
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
        if not is_visible(answers[question]) or not GROUP.fullmatch(answers[question]):
            advice = "the name of a group of your account, without quotes, backslashes, $, | and invisible characters"
            yield question, f"{answers[question]!r} is not a group name", advice
    email = answers["notification_email"]
    if not is_visible(email) or not EMAIL.fullmatch(email) or "${" in email:
        yield "notification_email", f"{email!r} is not an address", "one like ml@example.com"
    fields = re.split(" +", answers["retraining_schedule"])
    if not 6 <= len(fields) <= 7 or not all(map(QUARTZ_FIELD.fullmatch, fields)) or fields[3:6:2].count("?") != 1:
        yield (
            "retraining_schedule",
            f"{answers['retraining_schedule']!r} is not a Quartz cron expression",
            'seconds, minutes, hours, day of month, month, day of week, for example "0 0 1 ? * MON"',
        )
    yield from optional(answers)


def optional(answers):
    """Yield the problems of the answers that may be empty."""
    keys = [tag.partition("=")[0] for tag in answers["tags"].split(",")]
    if len(set(keys)) < len(keys) or TAKEN_TAGS & set(keys):
        yield "tags", "two tags have the same key, or one is called project, environment or dev", "each key once"
    for question, (pattern, what, advice) in OPTIONAL.items():
        if answers[question] and not pattern.fullmatch(answers[question]):
            yield question, f"{answers[question]!r} is not {what}", advice
    if answers["ci_provider"] == "azure-devops" and "," in answers["runner"]:
        yield "runner", f"{answers['runner']!r} names several pools", "the name of one"


def main():
    found = {question: f"{wrong}. Type {right}." for question, wrong, right in problems(ANSWERS)}
    refused = set(found)
    # An answer that follows from a bad one is nobody's mistake.
    for question, source, derived in (
        ("project_slug", "project_name", NAME_AS_SLUG),
        ("package_name", "project_slug", SLUG_AS_PACKAGE),
        ("schema_name", "package_name", ANSWERS["package_name"]),
        ("model_name", "package_name", ANSWERS["package_name"] + "_model"),
    ):
        if source in refused and ANSWERS[question] == derived:
            refused.add(question)
            found.pop(question, None)
    if found:
        lines = [f"  {question}: {problem}" for question, problem in found.items()]
        sys.exit("\n".join(["These answers cannot work, so nothing was written:", *lines]))


main()
