from datetime import date

import numpy as np
from pyspark.sql import SparkSession

from {{ cookiecutter.package_name }}.platform import data
from {{ cookiecutter.package_name }}.problem import model, sample
from {{ cookiecutter.package_name }}.problem.features import FEATURES, compute_features


def test_no_impossible_number_is_predicted() -> None:
    assert model.prediction(np.array([[26.5], [-1.0]]))["predicted_hours"].tolist() == [26.5, 0]


def test_one_number_is_predicted_for_each_row(spark: SparkSession) -> None:
    rows = sample.generate(date(2026, 3, 1), date(2026, 3, 2), 200, seed=1)
    training = compute_features(spark.createDataFrame(rows, data.SCHEMA)).toPandas()
    raw = model.fit(training, model.PARAMETERS).predict(training[FEATURES])
    assert raw.shape == (200,)
    assert list(model.prediction(raw.reshape(-1, 1))) == list(model.PREDICTION)
