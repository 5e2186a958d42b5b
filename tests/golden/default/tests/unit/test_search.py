import sys

import pandas as pd
import pytest

from fraud_detection.platform import search


def test_a_search_without_optuna_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ModuleNotFoundError, match="needs Optuna: uv add optuna"):
        search.best_parameters(pd.DataFrame(), 1)
