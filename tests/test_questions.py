"""The questions of the template: what is asked, what is refused, and that every answer counts."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from conftest import Bake
from cookiecutter.exceptions import FailedHookException
from cookiecutter.generate import generate_context
from cookiecutter.prompt import prompt_for_config
from helpers import CHOICES, COOKIECUTTER, PATTERNS, QUESTIONS, ROOT, TARGETS, clean_environment, files, load_bundle
from product import context_of
from pytest_cookies.plugin import Cookies

CONTRACT = {
    *("project_name", "project_slug", "package_name", "description", "problem", "deployment_pattern", "cloud"),
    *("ci_provider", "compute", "inference", "dev_workspace_host", "staging_workspace_host", "prod_workspace_host"),
    *("dev_catalog", "staging_catalog", "prod_catalog", "schema_name", "model_name"),
    *("data_scientists_group", "model_approvers_group", "notification_email", "retraining_schedule"),
    *("sql_warehouse", "tags", "runner", "package_index", "proxy", "projects_folder"),
}
DEFAULT_CHOICES = {
    "problem": "binary-classification",
    "deployment_pattern": "deploy-code",
    "cloud": "azure",
    "ci_provider": "github-actions",
    "compute": "serverless",
    "inference": "batch",
}
CATALOGS = ("dev_catalog", "staging_catalog", "prod_catalog")
HOSTS = ("dev_workspace_host", "staging_workspace_host", "prod_workspace_host")
GROUPS = ("data_scientists_group", "model_approvers_group")

# Question, bad answer, and what the message tells to type instead.
REFUSED = [
    *(("project_name", answer, "Type one line of text") for answer in ("", "  ", "two\nlines", "a\x07bell")),
    *(("description", answer, "Type one line of text") for answer in ("", "two\nlines")),
    *(
        ("project_slug", answer, "Type lower-case letters, digits and dashes")
        for answer in ("Fraud-Detection", "fraud detection", "1-fraud", "../fraud", "fraud_detection", "f" * 64)
    ),
    *(
        ("package_name", answer, "Type lower-case letters, digits and underscores")
        for answer in ("fraud-detection", "fraud.detection", "Fraud", "1fraud", "class", "bär")
    ),
    *(("package_name", answer, f"such as ml_{answer}.") for answer in ("mlflow", "json", "local", "tests", "models")),
    *(
        (name, answer, "Type lower-case text without dots")
        for name in (*CATALOGS, "schema_name", "model_name")
        for answer in ("", "Main", "main.sales", "main sales", "a/b", "it's", 'a"b', "a$b", "x" * 256)
    ),
    # Signs that mean something in YAML.
    *(
        ("model_name", answer, "Type lower-case text without dots")
        for answer in ("#x", "*x", "&x", "{x}", "@x", "%x", "!x")
    ),
    *(
        (name, answer, "Type https:// and the host, without a path")
        for name in HOSTS
        for answer in ("", "adb-1.azuredatabricks.net", "https://adb-1.azuredatabricks.net/jobs", "http://example.com")
    ),
    *((name, answer, "Type the name of a group") for name in GROUPS for answer in ("", " ", 'a"b', "a$b", "a\nb")),
    *(("notification_email", answer, "Type one like") for answer in ("", "nobody", "a b@example.com", "a@b")),
    *(
        ("retraining_schedule", answer, "Type seconds, minutes, hours")
        for answer in ("", "every monday", "0 1 * * 1", "0 0 1 * * *", "0 0 1 ? * ?")
    ),
    *(
        ("sql_warehouse", answer, "Type it as the page of SQL warehouses shows it")
        for answer in (" ", "Our Warehouse ", 'a"b', "it's", "a${b}", "a\nb", "a\u200bb")
    ),
    *(
        ("tags", answer, "Type key=value")
        for answer in ("ml", "a=b;c=d", "a=b,", "a=b, c=d", "a=b=c", 'a="b"', "a=${b}", "a=b\n")
    ),
    *(("tags", answer, "Type each key once") for answer in ("a=1,a=2", "project=x", "dev=x")),
    *(("runner", answer, "Type them as your CI/CD system lists them") for answer in (",", "a,,b", "a'b", "${b}", " a")),
    *(
        ("package_index", answer, "Type https:// and so on, without a user, a password or a token")
        for answer in ("pypi", "http://example.com/simple", "https://ada:secret@example.com/simple", "https://a.b/?t=1")
    ),
    *(
        ("proxy", answer, "Type it without a user or a password")
        for answer in ("proxy", "http://ada:secret@example.com", "socks5://example.com:1")
    ),
    *(
        ("projects_folder", answer, "Type it as seen from the top")
        for answer in ("/projects", "projects/", "../x", "a/../b", "a//b", "a b", ".git", "a\\b", "./a", "a" * 41)
    ),
]

# Another allowed answer for each question that takes text.
OTHER_TEXT = {
    "project_name": "Churn",
    "project_slug": "churn",
    "package_name": "churn",
    "description": "Tells who leaves.",
    "dev_workspace_host": "https://dbc-99999999-9999.cloud.databricks.com",
    "staging_workspace_host": "https://dbc-99999999-9999.cloud.databricks.com",
    "prod_workspace_host": "https://dbc-99999999-9999.cloud.databricks.com",
    "dev_catalog": "sandbox",
    "staging_catalog": "sandbox",
    "prod_catalog": "live",
    "schema_name": "churn",
    "model_name": "churn",
    "data_scientists_group": "analysts",
    "model_approvers_group": "owners",
    "notification_email": "team@example.org",
    "retraining_schedule": "0 30 4 1 * ?",
    "sql_warehouse": "Shared Warehouse (EU)",
    "tags": "cost-center=ml 7,owner=fraud",
    "runner": "self-hosted,linux",
    "package_index": "https://packages.example.com/simple",
    "proxy": "http://proxy.example.com:3128",
    "projects_folder": "projects",
}


def refusal(cookies: Cookies, capfd: pytest.CaptureFixture[str], **answers: str) -> str:
    """Render with answers that must be refused, and return the message."""
    result = cookies.bake(extra_context=answers)
    message = "".join(capfd.readouterr())
    assert isinstance(result.exception, FailedHookException), f"{answers} was not refused"
    return message


def other_answers() -> list[object]:
    """Return (question, answer) for every answer that works and is not the default."""
    pairs = [(question, answer) for question, answers in CHOICES.items() for answer in answers[1:]]
    return [pytest.param(*pair, id=":".join(pair)) for pair in (*pairs, *OTHER_TEXT.items())]


def test_exactly_the_questions_of_the_contract_are_asked() -> None:
    assert QUESTIONS.keys() == CONTRACT, "CONTRACT in tests/test_questions.py"


def test_every_question_and_every_answer_has_a_label() -> None:
    labels = COOKIECUTTER["__prompts__"]
    assert labels.keys() == QUESTIONS.keys(), "__prompts__ in cookiecutter.json"
    for question, default in QUESTIONS.items():
        if not isinstance(default, list):
            assert isinstance(labels[question], str) and labels[question].strip(), question
            continue
        assert labels[question].keys() == {"__prompt__", *default}, f"__prompts__ in cookiecutter.json: {question}"
        explained = [labels[question][answer] for answer in default]
        assert [label.split()[0] for label in explained] == default, f"{question}: a label begins with its answer"
        columns = {len(label) - len(label.split(maxsplit=1)[1]) for label in explained}
        assert len(columns) == 1, f"{question}: the labels are not aligned"
        assert "Default" in explained[0] or "Recommended" in explained[0], f"{question}: why is the first one first?"
        assert max(map(len, explained)) <= 72, f"{question}: a label does not fit into 80 columns"


def test_the_first_choice_is_the_default() -> None:
    firsts = {question: answers[0] for question, answers in CHOICES.items()}
    assert firsts == DEFAULT_CHOICES, "DEFAULT_CHOICES in tests/test_questions.py"


def test_the_defaults_work(cookies: Cookies) -> None:
    result = cookies.bake()
    assert result.exception is None
    assert result.project_path.name == "fraud-detection"
    assert {name: result.context[name] for name in DEFAULT_CHOICES} == DEFAULT_CHOICES
    assert result.context["package_name"] == "fraud_detection"
    assert (result.project_path / "src" / "fraud_detection").is_dir()


def test_names_follow_from_the_project_name(cookies: Cookies) -> None:
    context = cookies.bake(extra_context={"project_name": "Churn Of_Customers"}).context
    derived = {name: context[name] for name in ("project_slug", "package_name", "schema_name", "model_name")}
    assert derived == {
        "project_slug": "churn-of-customers",
        "package_name": "churn_of_customers",
        "schema_name": "churn_of_customers",
        "model_name": "churn_of_customers_model",
    }


def test_every_rule_has_a_bad_answer() -> None:
    takes_text = {question for question, default in QUESTIONS.items() if isinstance(default, str)}
    assert {question for question, _, _ in REFUSED} == takes_text, "REFUSED in tests/test_questions.py"
    assert OTHER_TEXT.keys() == takes_text, "OTHER_TEXT in tests/test_questions.py"


@pytest.mark.parametrize(
    ("question", "answer", "advice"), [pytest.param(*row, id=f"{row[0]}:{row[1][:40]!r}") for row in REFUSED]
)
def test_a_bad_answer_is_refused(
    question: str, answer: str, advice: str, cookies: Cookies, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    # The name of the folder stands fast, so that it is not a bad name that follows from a bad project name.
    message = refusal(cookies, capfd, **{"project_slug": "fraud-detection", question: answer})
    assert message.count(f"\n  {question}: ") == 1
    assert advice in message.partition(f"\n  {question}: ")[2].partition("\n  ")[0]
    (line,) = [line for line in message.splitlines() if line.startswith(f"  {question}: ")]
    assert line.endswith("."), "one line for each problem, whatever was typed"
    left_behind = [path for path in (tmp_path / "cookies").rglob("*") if path.name != "bake00"]
    assert not left_behind


def test_environments_do_not_share_a_catalog(cookies: Cookies, capfd: pytest.CaptureFixture[str]) -> None:
    message = refusal(cookies, capfd, staging_catalog="dev")
    assert "two environments share a catalog. Type a catalog of its own for each, or one schema each: " in message
    assert "schema_name=fraud_detection_{target}." in message


def test_environments_that_share_a_catalog_have_schemas_of_their_own(bake: Bake) -> None:
    project = bake(**dict.fromkeys(CATALOGS, "all-of-it"), schema_name="fraud_{target}", deployment_pattern="hybrid")
    bundles = {target: load_bundle(project, target) for target in TARGETS}
    schemas = [bundle["resources"]["schemas"]["schema"]["id"] for bundle in bundles.values()]
    assert schemas == ["all-of-it.fraud_dev", "all-of-it.fraud_staging", "all-of-it.fraud_prod"]
    assert bundles["staging"]["var"]["source_table"] == "all-of-it.fraud_prod.source"
    assert bundles["prod"]["var"]["source_model"] == "all-of-it.fraud_staging.fraud_detection_model"
    assert not [name for name, content in files(project).items() if b"fraud_{target}" in content]


def test_a_job_of_azure_runs_in_one_pool(cookies: Cookies, capfd: pytest.CaptureFixture[str]) -> None:
    assert "Type the name of one." in refusal(cookies, capfd, ci_provider="azure-devops", runner="one,two")


def test_several_problems_are_listed_together(cookies: Cookies, capfd: pytest.CaptureFixture[str]) -> None:
    bad = {"package_name": "class", "prod_catalog": "a.b", "notification_email": "nobody", "description": ""}
    message = refusal(cookies, capfd, **bad)
    for question in bad:
        assert f"\n  {question}: " in message


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param({host: "http://127.0.0.1:8080" for host in HOSTS}, id="one workspace, three times"),
        pytest.param({"dev_workspace_host": "https://adb-1.11.azuredatabricks.net/"}, id="slash at the end"),
        pytest.param({"retraining_schedule": "0 0 3 L * ? 2030"}, id="schedule with year"),
        pytest.param({"project_slug": "f" * 63, "package_name": "fraud"}, id="long slug"),
        pytest.param({"dev_catalog": "team-a-dev", "schema_name": "1st"}, id="dashes and digits"),
        pytest.param({"data_scientists_group": "Data Scientists (EU)"}, id="group with spaces"),
        pytest.param({"runner": "Our Pool", "ci_provider": "azure-devops"}, id="pool"),
        pytest.param({"projects_folder": "."}, id="projects at the top"),
    ],
)
def test_a_good_answer_is_taken(answers: dict[str, str], cookies: Cookies) -> None:
    assert cookies.bake(extra_context=answers).exception is None


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str) -> dict[str, str]:
    """Answer what is asked with these lines, and return all answers."""
    left = iter(lines)
    monkeypatch.setattr("builtins.input", lambda *_: next(left))
    answers = prompt_for_config(generate_context(context_file=str(ROOT / "cookiecutter.json")))
    assert not list(left), "more was typed than was asked for"
    return {question: answers[question] for question in QUESTIONS}


def test_whoever_wants_to_look_answers_three_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(QUESTIONS)[:3] == ["deployment_pattern", "project_name", "problem"]
    defaults = context_of({"deployment_pattern": "hybrid", "project_name": "Churn", "problem": "regression"})
    assert typed(monkeypatch, "3", "Churn", "3", "n") == {question: defaults[question] for question in QUESTIONS}


def test_what_is_wrong_with_an_answer_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed_for = {question: [""] for question in QUESTIONS} | {
        "problem": ["", "y"],
        "package_name": ["class", "fraud"],
        "staging_catalog": ["a.b", "dev"],
        "prod_catalog": ["dev"],
        "schema_name": ["", "x_{target}"],  # the default lacks the target, which catalogs that are shared ask for
    }
    answers = typed(monkeypatch, *(line for lines in typed_for.values() for line in lines))
    assert [answers[question] for question in ("package_name", "staging_catalog", "schema_name")] == [
        *("fraud", "dev", "x_{target}")
    ]
    said = " ".join(capsys.readouterr().out.split())
    for problem in ("Type lower-case letters, digits and underscores, such as ml_class.", "'a.b' is not", "share a c"):
        assert said.count(problem) == 1, problem


@dataclass
class Asker:
    """Somebody who renders the template with their own settings, in an empty folder."""

    home: Path

    @property
    def planted(self) -> Path:
        """The folder that the code in the answer would make."""
        return self.home / "planted"

    @property
    def code(self) -> str:
        """An answer that is Jinja code, and does on this machine what it likes."""
        return f"{{{{ cycler.__init__.__globals__.os.mkdir('{self.planted.as_posix()}') }}}}"

    def start(self, *command: str | Path, typed: str = "") -> str:
        """Give a command, type answers, and return what it says when it refuses them."""
        (self.home / "projects").mkdir(exist_ok=True)
        variables = {name: str(self.home) for name in ("HOME", "USERPROFILE")}
        result = subprocess.run(
            [str(part) for part in command],
            cwd=self.home / "projects",
            env=clean_environment(**variables),
            input=typed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )
        assert result.returncode == 1, result.stdout
        assert not list((self.home / "projects").iterdir())
        return result.stdout


@pytest.mark.parametrize("question", ["project_name", "schema_name", "__trained_in"])
@pytest.mark.parametrize("where", ["command line", "settings"])
def test_code_in_an_answer_never_runs(where: str, question: str, tmp_path: Path) -> None:
    """Cookiecutter renders each answer that it is given, before any hook sees it. For cruft see test_update.py."""
    asker = Asker(tmp_path)
    settings = tmp_path / "settings.json"  # which is YAML as well
    settings.write_text(json.dumps({"default_context": {question: asker.code}}), encoding="utf-8")
    given = [f"{question}={asker.code}"] if where == "command line" else ["--config-file", settings]
    message = asker.start("cookiecutter", ROOT, "--no-input", *given)
    assert "This answer holds Jinja code" in message and "Type it without {{, {% and {#." in message
    assert not asker.planted.exists()


@pytest.mark.parametrize("code", ["{{ 7 }}", "{% if 1 %}", "{# nothing #}"])
def test_code_that_is_not_rendered_at_once_is_refused(code: str, tmp_path: Path) -> None:
    """An update would render it later. So comes in what is typed, and what is replayed."""
    asker = Asker(tmp_path)
    message = asker.start("cookiecutter", ROOT, typed=f"1\n{code}\n")
    assert f"{code!r} holds Jinja code. Type it without" in " ".join(message.split())
    file = tmp_path / "replay.json"
    file.write_text(json.dumps({"cookiecutter": context_of({}) | {"project_name": code}}), encoding="utf-8")
    message = asker.start("cookiecutter", ROOT, "--replay-file", file)
    assert f"\n  project_name: {code!r} holds Jinja code. Type it without" in message


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("odd", ["1e3", "null", "no", "1_2", "-"])
def test_an_odd_name_reaches_the_bundle_unchanged(pattern: str, odd: str, bake: Bake) -> None:
    """Whatever the hook accepts as a name must be the same text for whoever reads the YAML."""
    answers = {"deployment_pattern": pattern, "staging_catalog": odd, "prod_catalog": odd + "p", "model_name": odd}
    config = yaml.safe_load((bake(**answers) / "databricks.yml").read_text(encoding="utf-8"))
    staging, prod = (config["targets"][target]["variables"] for target in ("staging", "prod"))
    assert config["variables"]["model_name"]["default"] == odd
    assert (staging["catalog"], prod["catalog"]) == (odd, odd + "p")
    if pattern != "deploy-code":
        assert prod["source_model"] == f"{odd}.fraud_detection.{odd}"
    if pattern == "hybrid":
        assert staging["source_table"] == f"{odd}p.fraud_detection.source"


@pytest.mark.parametrize(("question", "answer"), other_answers())
def test_no_question_is_without_effect(question: str, answer: str, bake: Bake) -> None:
    """Another answer gives another project, in at least one of the patterns."""
    references = [{}] if question == "deployment_pattern" else [{"deployment_pattern": pattern} for pattern in PATTERNS]
    assert any(files(bake(**reference | {question: answer})) != files(bake(**reference)) for reference in references)


def test_answers_are_words_that_can_be_typed() -> None:
    """Joined by dashes."""
    for answers in CHOICES.values():
        assert all(answer == answer.lower() and answer.replace("-", "").isalnum() for answer in answers)
