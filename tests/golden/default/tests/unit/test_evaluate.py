from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from fraud_detection.platform import evaluate
from fraud_detection.problem.features import FEATURES
from fraud_detection.problem.source import LABEL


@pytest.fixture(autouse=True)
def problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """A problem whose prediction is the last number of a row, and whose metric is the largest error."""
    metrics = SimpleNamespace(
        quality=lambda labels, prediction: {"error": float(abs(labels - prediction["last"]).max())},
        counts=lambda labels: {"ones": float(labels.sum())},
    )
    monkeypatch.setattr(evaluate, "metrics", metrics)
    monkeypatch.setattr(evaluate, "prediction", lambda raw: pd.DataFrame({"last": raw[:, -1]}))


@pytest.mark.parametrize("columns", [0, 1, 3], ids=["flat", "one column", "three columns"])
def test_a_model_may_return_one_number_for_each_row_or_several(columns: int) -> None:
    rows = pd.DataFrame(dict.fromkeys(FEATURES, 0.0), index=range(4)).assign(**{LABEL: [0, 0, 1, 1]})
    last = np.array([0.0, 0.25, 1.0, 1.0])
    raw = last if columns == 0 else np.column_stack([*[np.zeros(4)] * (columns - 1), last])

    measured = evaluate.evaluate(lambda inputs: raw[: len(inputs)], rows)

    assert measured.pop("milliseconds_per_1000_rows") > 0
    assert measured == {"error": 0.25, "rows": 4, "ones": 2}


def test_too_few_labels_are_named() -> None:
    counted = evaluate.counts(pd.Series([0, 1, 1]))
    assert evaluate.too_few(counted, {"rows": 3, "ones": 2}) == []
    assert evaluate.too_few(counted, {"rows": 4, "ones": 3}) == ["3 rows, needs 4", "2 ones, needs 3"]
    assert evaluate.too_few(counted, {"twos": 1}) == ["not known twos, needs 1"]
