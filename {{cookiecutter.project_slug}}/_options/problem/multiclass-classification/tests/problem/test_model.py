from datetime import date

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from {{ cookiecutter.package_name }}.platform import data
from {{ cookiecutter.package_name }}.problem import model, sample
from {{ cookiecutter.package_name }}.problem.features import FEATURES, NUMERIC, compute_features
from {{ cookiecutter.package_name }}.problem.source import CLASSES, LABEL


@pytest.fixture(scope="module")
def training(spark: SparkSession) -> pd.DataFrame:
    """As many rows of each class, whose first feature says which it is."""
    rows = sample.generate(date(2026, 3, 1), date(2026, 3, 2), 100 * len(CLASSES), seed=1)
    computed = compute_features(spark.createDataFrame(rows, data.SCHEMA)).toPandas()
    labels = pd.Series(np.resize(np.array(CLASSES, dtype=object), len(rows)))
    says = labels.map(CLASSES.index).astype(float) if NUMERIC else labels
    return computed.assign(**{LABEL: labels, FEATURES[0]: says})


def test_the_likeliest_class_is_predicted() -> None:
    raw = np.full((len(CLASSES), len(CLASSES)), 0.1) + np.eye(len(CLASSES))[::-1]
    predicted = model.prediction(raw)
    assert list(predicted) == list(model.PREDICTION)
    assert predicted["predicted_fault"].tolist() == CLASSES[::-1]
    assert predicted[model.PROBABILITIES].to_numpy().tolist() == raw.tolist()


def test_probabilities_come_in_the_order_of_the_classes(training: pd.DataFrame) -> None:
    raw = model.fit(training, model.PARAMETERS).predict_proba(training[FEATURES])
    assert raw.shape == (len(training), len(CLASSES))
    assert (model.prediction(raw)["predicted_fault"] == training[LABEL]).mean() > 0.9


def test_training_needs_every_class(training: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match=f"No training row is labelled {CLASSES[-1]}: raise days or training_fraction"):
        model.fit(training[training[LABEL] != CLASSES[-1]], model.PARAMETERS)
