import sys

import pandas as pd
import pytest

from fraud_detection.platform import search
from fraud_detection.platform.data import UNIT


def test_a_search_without_optuna_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ModuleNotFoundError, match="needs Optuna: uv add optuna"):
        search.best_parameters(pd.DataFrame(), 1)


def test_trials_are_judged_on_the_newest_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.source, "TIME", "happened")
    assert search.judges(pd.DataFrame({UNIT: range(10)})).tolist() == [False] * 8 + [True] * 2


def test_trials_on_a_snapshot_are_judged_on_whole_entities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.source, "TIME", None)
    rows = pd.DataFrame({UNIT: [*range(50)] * 4})
    judging = search.judges(rows)
    assert judging.sum() == 10 * 4
    assert not set(rows[UNIT][judging]) & set(rows[UNIT][~judging])
