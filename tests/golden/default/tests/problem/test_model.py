from datetime import date

import numpy as np
import pytest
from pyspark.sql import SparkSession

from fraud_detection.platform import data
from fraud_detection.problem import model, sample
from fraud_detection.problem.features import FEATURES, compute_features
from fraud_detection.problem.source import LABEL


def test_the_score_is_the_probability_of_a_positive() -> None:
    predicted = model.prediction(np.array([[0.9, 0.1], [0.2, 0.8]]))
    assert list(predicted) == list(model.PREDICTION)
    assert predicted["fraud_score"].tolist() == [0.1, 0.8]


def test_both_probabilities_are_given_for_each_row(spark: SparkSession) -> None:
    rows = sample.generate(date(2026, 3, 1), date(2026, 3, 2), 200, seed=1)
    computed = compute_features(spark.createDataFrame(rows, data.SCHEMA)).toPandas()
    training = computed.assign(**{LABEL: np.resize([0, 1], len(rows))})
    raw = model.fit(training, model.PARAMETERS).predict_proba(training[FEATURES])
    assert raw.shape == (200, 2)
    assert raw.sum(axis=1) == pytest.approx(1)
