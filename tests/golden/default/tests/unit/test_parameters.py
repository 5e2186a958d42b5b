import sys
from datetime import date
from types import ModuleType
from typing import Any

import pytest

from fraud_detection.platform import parameters


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> dict[str, Any]:
    """Return what a task receives from these command-line arguments."""
    received: dict[str, Any] = {}

    def example(table: str, run_date: date, days: int, share: float, drift: bool) -> None:
        received.update(table=table, run_date=run_date, days=days, share=share, drift=drift)

    monkeypatch.setattr(sys, "argv", ["example", *arguments])
    parameters.run(example)
    return received


GOOD = {"table": "a.b.c", "run_date": "2026-03-02", "days": "7", "share": "0.5", "drift": "false"}


def arguments(**changes: str) -> list[str]:
    return [f"--{name}={value}" for name, value in (GOOD | changes).items()]


def test_parameters_have_their_declared_types(monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(monkeypatch, *arguments()) == {
        "table": "a.b.c",
        "run_date": date(2026, 3, 2),
        "days": 7,
        "share": 0.5,
        "drift": False,
    }
    assert call(monkeypatch, *arguments(drift="true"))["drift"] is True


def test_parameters_of_other_tasks_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(monkeypatch, *arguments(), "--model=a.b.m", "--day=3")["days"] == 7


def test_a_missing_parameter_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        call(monkeypatch, *arguments()[1:])
    assert error.value.code == 2
    assert "--table" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "value"), [("run_date", "yesterday"), ("days", "1.5"), ("drift", "maybe")])
def test_a_parameter_of_another_type_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    with pytest.raises(SystemExit) as error:
        call(monkeypatch, *arguments(**{name: value}))
    assert error.value.code == 2
    assert f"--{name}: invalid" in capsys.readouterr().err


def test_task_values_reach_the_job(task_values: dict[str, Any]) -> None:
    parameters.set_task_value("answer", True)
    assert task_values["answer"] is True


def test_a_task_value_is_never_lost_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside a job the SDK says that its `dbutils` is no real one, which accepts any value and stores nothing."""
    runtime = ModuleType("databricks.sdk.runtime")
    vars(runtime).update(dbutils=None, is_local_implementation=True)
    monkeypatch.setitem(sys.modules, "databricks.sdk.runtime", runtime)
    with pytest.raises(RuntimeError, match="answer is lost outside a job"):
        parameters.set_task_value("answer", True)
