"""What a command line says: examples that can be typed, refusals at once, and lines that fit a terminal."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fraud_detection import models

from local import __main__ as local
from local.bundle import find_job, load_bundle
from local.reasons import reason
from local.terminal import say, say_task

ROOT = Path(__file__).parents[2]
# Runs a command line, and prints what of Spark and MLflow was imported by the time that it was refused.
REFUSED = """
import sys
from local.__main__ import main
try:
    main()
finally:
    print(sorted({"mlflow", "pyspark", "pysail"} & sys.modules.keys()))
"""


def examples(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the examples of the help that was printed."""
    _, _, shown = capsys.readouterr().out.partition("examples:\n")
    return [line.strip() for line in shown.splitlines()]


def typed(example: str, command: str) -> list[str]:
    """Return the arguments of `command` in an example of its help."""
    assert example.startswith(f"uv run {command} ") and len(example) < 79
    return shlex.split(example.removeprefix(f"uv run {command} "))


@pytest.mark.parametrize("name", [None, *local.EXAMPLES])
def test_the_help_of_local_has_examples_that_can_be_typed(name: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        local.parse_arguments([name, "--help"] if name else ["--help"])
    for example in examples(capsys):
        arguments = local.parse_arguments(typed(example, "python -m local"))
        assert arguments.command == (name or arguments.command)
        if arguments.command == "run":
            parameters = [text.partition("=")[0] for text in arguments.param]
            find_job(load_bundle(ROOT, arguments.target), arguments.job, parameters)
        if arguments.command == "models":
            models.parse_arguments(arguments.rest, "models")


@pytest.mark.parametrize("name", [None, *models.EXAMPLES])
def test_the_help_of_models_has_examples_that_can_be_typed(
    name: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        models.parse_arguments([name, "--help"] if name else ["--help"], "models")
    for example in examples(capsys):
        assert models.parse_arguments(typed(example, "models"), "models").command == (name or example.split()[3])


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        ("run dve training", "No target 'dve'. Did you mean 'dev'? Use one of: dev, staging, prod."),
        ("run dev trainig", "dev has no job 'trainig'. Did you mean 'training'? It has: inference, "),
        ("run dev training --param dais=1", "Job 'training' has no parameter 'dais'. Did you mean 'days'? It has: "),
    ],
)
def test_a_name_that_does_not_exist_is_refused_before_spark_starts(arguments: str, refusal: str) -> None:
    command = [sys.executable, "-c", REFUSED, *arguments.split()]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.stderr.startswith(f"local: {refusal}") and result.returncode == 1
    assert result.stdout == "[]\n"


def failing(monkeypatch: pytest.MonkeyPatch, folder: Path, error: Exception, *options: str) -> str:
    """Return what a command says that ends with `error`."""

    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(local, "ROOT", folder)
    monkeypatch.setattr(local, "carry_out", fail)
    monkeypatch.setattr("sys.argv", ["local", "status", *options])
    with pytest.raises(SystemExit) as ended:
        local.main()
    return str(ended.value.code)


def test_what_nobody_foresaw_is_one_sentence_and_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = failing(monkeypatch, tmp_path, KeyError("colour"))
    assert said.startswith("local: KeyError: 'colour'\n") and ".local/error.log" in said
    assert "Traceback" in (tmp_path / ".local" / "error.log").read_text(encoding="utf-8")
    assert "Traceback" not in capsys.readouterr().err

    failing(monkeypatch, tmp_path, KeyError("colour"), "--traceback")
    assert "Traceback" in capsys.readouterr().err


def test_the_traceback_of_a_task_is_that_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from local.jobs import JobError

    log = tmp_path / "train.log"
    log.write_text("Traceback of the task", encoding="utf-8")
    for options in ((), ("--traceback",)):
        said = failing(monkeypatch, tmp_path, JobError("dev training.train failed: too few rows", log), *options)
        assert said == "local: dev training.train failed: too few rows"
        assert ("Traceback of the task" in capsys.readouterr().err) == bool(options)


def test_an_error_of_another_package_is_named_by_its_kind() -> None:
    assert reason(models.CommandError("Say it again.")) == "Say it again."
    assert reason(ValueError("no")) == "ValueError: no"
    assert len(reason(ValueError("line\n" * 50)).splitlines()) == 12


def test_no_line_is_longer_than_a_terminal_and_nothing_is_markup(capsys: pytest.CaptureFixture[str]) -> None:
    say_task("train", "ok", 3.21, "version 1, [red]markup[/red] :boom: " + "and more " * 20)
    say_task("validate", "FAILED", 0.5, "")
    say("-> a promise " + "that is long " * 10, "green", indent="    ")
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and max(map(len, shown.splitlines())) <= 80
    assert "    ok  train            3.2 s  version 1, [red]markup[/red] :boom:" in shown
    assert re.search(r"^    FAILED  validate         0.5 s$", shown, re.MULTILINE)
    assert all(line.startswith("    ") for line in shown.splitlines())
