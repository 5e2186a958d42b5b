import numpy as np
import pandas as pd
import pytest

from fraud_detection import evaluate, features


def test_quality_of_hand_computed_scores() -> None:
    # Ranked 0.9 (fraud), 0.8 (not), 0.7 (fraud), 0.1 (not): precision at each fraud is 1/1 and 2/3.
    metrics = evaluate.quality(pd.Series([0, 1, 1, 0]), np.array([0.1, 0.9, 0.7, 0.8]))
    assert metrics["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert metrics["roc_auc"] == pytest.approx(3 / 4)
    assert metrics["brier_score"] == pytest.approx((0.01 + 0.01 + 0.09 + 0.64) / 4)


@pytest.mark.parametrize("label", [0, 1])
def test_quality_is_undefined_for_one_class(label: int) -> None:
    metrics = evaluate.quality(pd.Series([label, label]), np.array([0.1, 0.9]))
    assert all(np.isnan(value) for value in metrics.values())


def test_evaluate_counts_rows_and_reads_the_second_class() -> None:
    rows = pd.DataFrame(dict.fromkeys(features.FEATURES, 0.0), index=range(4)).assign(is_fraud=[0, 0, 1, 1])
    fraud = np.array([0.1, 0.2, 0.8, 0.9])

    metrics = evaluate.evaluate(lambda _: np.column_stack([1 - fraud, fraud]), rows)

    assert (metrics["rows"], metrics["positives"], metrics["average_precision"]) == (4, 2, 1)
    assert metrics["milliseconds_per_1000_rows"] > 0
