from datetime import date

import numpy as np
import pandas as pd
import pytest

from {{ cookiecutter.package_name }}.problem import model, sample
from {{ cookiecutter.package_name }}.problem.features import FEATURES
from {{ cookiecutter.package_name }}.problem.source import CLASSES, LABEL


@pytest.fixture(scope="module")
def training() -> pd.DataFrame:
    rows = sample.generate(date(2026, 3, 1), date(2026, 3, 2), 500, seed=1)
    return rows.assign(vibration_to_pump_mean=1.0, pump_alarms_1d=0.0)


def test_the_likeliest_fault_is_predicted() -> None:
    predicted = model.prediction(np.array([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]]))
    assert list(predicted) == list(model.PREDICTION)
    assert predicted["predicted_fault"].tolist() == ["none", "bearing"]
    assert predicted["leak_probability"].tolist() == [0.3, 0.1]


def test_probabilities_come_in_the_order_of_the_classes(training: pd.DataFrame) -> None:
    raw = model.fit(training, model.PARAMETERS).predict_proba(training[FEATURES])
    assert raw.shape == (500, len(CLASSES))
    assert (model.prediction(raw)["predicted_fault"] == training[LABEL]).mean() > 0.9


def test_training_needs_every_class(training: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="No training row is labelled leak: raise days or training_fraction"):
        model.fit(training[training[LABEL] != "leak"], model.PARAMETERS)
