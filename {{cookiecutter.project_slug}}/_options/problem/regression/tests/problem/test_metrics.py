import math

import pandas as pd
import pytest

from {{ cookiecutter.package_name }}.problem.metrics import HIGHER_IS_BETTER, counts, quality

LABELS = pd.Series([10.0, 20.0, 30.0])


def test_quality_of_hand_computed_predictions() -> None:
    metrics = quality(LABELS, pd.DataFrame({"predicted_hours": [12.0, 20.0, 26.0]}))
    assert metrics["mean_absolute_error"] == pytest.approx((2 + 0 + 4) / 3)
    assert metrics["root_mean_squared_error"] == pytest.approx(math.sqrt((4 + 0 + 16) / 3))
    assert metrics["r2"] == pytest.approx(1 - (4 + 0 + 16) / (100 + 0 + 100))
    assert list(metrics) == list(HIGHER_IS_BETTER)


@pytest.mark.parametrize("name", HIGHER_IS_BETTER)
def test_a_better_prediction_is_better_by_each_metric(name: str) -> None:
    better = quality(LABELS, pd.DataFrame({"predicted_hours": [11.0, 20.0, 28.0]}))[name]
    worse = quality(LABELS, pd.DataFrame({"predicted_hours": [12.0, 20.0, 26.0]}))[name]
    assert (better > worse) == HIGHER_IS_BETTER[name] and better != worse


def test_quality_is_undefined_for_one_label() -> None:
    metrics = quality(LABELS[:1], pd.DataFrame({"predicted_hours": [12.0]}))
    assert all(math.isnan(value) for value in metrics.values())


def test_enough_labels_are_enough_rows() -> None:
    assert counts(LABELS) == {}
