import numpy as np
import pandas as pd
import pytest

from fraud_detection.problem import metrics


def scores(*values: float) -> pd.DataFrame:
    return pd.DataFrame({"fraud_score": values})


def test_quality_of_hand_computed_scores() -> None:
    # Ranked 0.9 (1), 0.8 (0), 0.7 (1), 0.1 (0): precision at each positive is 1/1 and 2/3.
    found = metrics.quality(pd.Series([0, 1, 1, 0]), scores(0.1, 0.9, 0.7, 0.8))
    assert found["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["roc_auc"] == pytest.approx(3 / 4)
    assert found["brier_score"] == pytest.approx((0.01 + 0.01 + 0.09 + 0.64) / 4)


@pytest.mark.parametrize("name", metrics.HIGHER_IS_BETTER)
def test_a_better_prediction_is_better_by_each_metric(name: str) -> None:
    labels = pd.Series([0, 1, 1, 0])
    better = metrics.quality(labels, scores(0.1, 0.9, 0.7, 0.2))[name]
    worse = metrics.quality(labels, scores(0.1, 0.4, 0.7, 0.8))[name]
    assert (better > worse) == metrics.HIGHER_IS_BETTER[name] and better != worse


@pytest.mark.parametrize("label", [0, 1])
def test_quality_is_undefined_for_one_class(label: int) -> None:
    found = metrics.quality(pd.Series([label, label]), scores(0.1, 0.9))
    assert found.keys() == metrics.HIGHER_IS_BETTER.keys()
    assert all(np.isnan(value) for value in found.values())


def test_labels_are_counted_by_positives() -> None:
    assert metrics.counts(pd.Series([0, 1, 1, 0])) == {"positives": 2}
