import math

import numpy as np
import pandas as pd
import pytest

from {{ cookiecutter.package_name }}.problem.metrics import HIGHER_IS_BETTER, counts, quality
from {{ cookiecutter.package_name }}.problem.model import prediction
from {{ cookiecutter.package_name }}.problem.source import CLASSES

LABELS = pd.Series(["bearing", "bearing", "blockage", "leak", "none"])


def certain(*names: str) -> pd.DataFrame:
    """Return predictions that give the named faults the probability 0.7, and 0.1 to each of the three others."""
    return prediction(np.array([[0.7 if name == other else 0.1 for other in CLASSES] for name in names]))


def test_quality_of_hand_computed_predictions() -> None:
    metrics = quality(LABELS, certain("bearing", "blockage", "blockage", "leak", "none"))
    # Precision and recall of bearing are 1 and 1/2, of blockage 1/2 and 1: both have an F1 of 2/3.
    assert metrics["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1 + 1) / 4)
    assert metrics["balanced_accuracy"] == pytest.approx((1 / 2 + 1 + 1 + 1) / 4)
    assert metrics["log_loss"] == pytest.approx(-(4 * math.log(0.7) + math.log(0.1)) / 5)
    assert list(metrics) == list(HIGHER_IS_BETTER)


@pytest.mark.parametrize("name", HIGHER_IS_BETTER)
def test_a_better_prediction_is_better_by_each_metric(name: str) -> None:
    better = quality(LABELS, certain(*LABELS))[name]
    worse = quality(LABELS, certain("bearing", "blockage", "blockage", "leak", "none"))[name]
    assert (better > worse) == HIGHER_IS_BETTER[name] and better != worse


def test_quality_is_undefined_where_a_fault_is_missing() -> None:
    metrics = quality(LABELS[:4], certain(*LABELS[:4]))
    assert all(math.isnan(value) for value in metrics.values())


@pytest.mark.parametrize(("rows", "rarest"), [(5, 1), (4, 0)], ids=["every fault", "none is missing"])
def test_labels_are_counted_by_the_rarest_fault(rows: int, rarest: int) -> None:
    assert counts(LABELS[:rows]) == {"rarest_class": rarest}
