import math

import numpy as np
import pandas as pd
import pytest

from {{ cookiecutter.package_name }}.problem.metrics import HIGHER_IS_BETTER, counts, quality
from {{ cookiecutter.package_name }}.problem.model import prediction
from {{ cookiecutter.package_name }}.problem.source import CLASSES

LABELS = pd.Series([CLASSES[0], *CLASSES])
OTHERS = len(CLASSES) - 1


def certain(*names: str) -> pd.DataFrame:
    """Return predictions that give the named classes the probability 0.7, and the others alike what is left."""
    return prediction(np.array([[0.7 if name == other else 0.3 / OTHERS for other in CLASSES] for name in names]))


def test_quality_of_hand_computed_predictions() -> None:
    metrics = quality(LABELS, certain(CLASSES[0], CLASSES[1], *CLASSES[1:]))
    # Precision and recall of the first class are 1 and 1/2, of the second 1/2 and 1: both have an F1 of 2/3.
    assert metrics["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + OTHERS - 1) / len(CLASSES))
    assert metrics["balanced_accuracy"] == pytest.approx((1 / 2 + OTHERS) / len(CLASSES))
    right, wrong = len(CLASSES) * math.log(0.7), math.log(0.3 / OTHERS)
    assert metrics["log_loss"] == pytest.approx(-(right + wrong) / len(LABELS))
    assert list(metrics) == list(HIGHER_IS_BETTER)


@pytest.mark.parametrize("name", HIGHER_IS_BETTER)
def test_a_better_prediction_is_better_by_each_metric(name: str) -> None:
    better = quality(LABELS, certain(*LABELS))[name]
    worse = quality(LABELS, certain(CLASSES[0], CLASSES[1], *CLASSES[1:]))[name]
    assert (better > worse) == HIGHER_IS_BETTER[name] and better != worse


def test_quality_is_undefined_where_a_class_is_missing() -> None:
    metrics = quality(LABELS[:-1], certain(*LABELS[:-1]))
    assert all(math.isnan(value) for value in metrics.values())


def test_labels_are_counted_by_the_rarest_class() -> None:
    assert counts(LABELS) == {"rarest_class": 1}
    assert counts(LABELS[:-1]) == {"rarest_class": 0}
