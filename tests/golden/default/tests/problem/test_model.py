from datetime import date

import numpy as np
import pytest

from fraud_detection.problem import model, sample
from fraud_detection.problem.features import FEATURES


def test_the_score_is_the_probability_of_fraud() -> None:
    predicted = model.prediction(np.array([[0.9, 0.1], [0.2, 0.8]]))
    assert list(predicted) == list(model.PREDICTION)
    assert predicted["fraud_score"].tolist() == [0.1, 0.8]


def test_both_probabilities_are_given_for_each_row() -> None:
    rows = sample.generate(date(2026, 3, 1), date(2026, 3, 2), 500, seed=1)
    training = rows.assign(**{name: 1.0 for name in FEATURES if name not in rows})
    raw = model.fit(training, model.PARAMETERS).predict_proba(training[FEATURES])
    assert raw.shape == (500, 2)
    assert raw.sum(axis=1) == pytest.approx(1)
