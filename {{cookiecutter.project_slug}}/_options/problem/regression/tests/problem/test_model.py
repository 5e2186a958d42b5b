from datetime import date

import numpy as np

from {{ cookiecutter.package_name }}.problem import model, sample
from {{ cookiecutter.package_name }}.problem.features import FEATURES


def test_no_parcel_arrives_before_it_left() -> None:
    predicted = model.prediction(np.array([[26.5], [-1.0]]))
    assert list(predicted) == list(model.PREDICTION)
    assert predicted["predicted_hours"].tolist() == [26.5, 0]


def test_one_number_is_predicted_for_each_row() -> None:
    rows = sample.generate(date(2026, 3, 1), date(2026, 3, 2), 200, seed=1)
    added = {name: 1.0 for name in FEATURES if name not in rows}
    training = rows.assign(**added)
    assert model.fit(training, model.PARAMETERS).predict(training[FEATURES]).shape == (200,)
