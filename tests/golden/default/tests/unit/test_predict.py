"""The function that scores: it brings the model along, and holds it to its signature."""

import shutil
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from mlflow.pyfunc import PyFuncModel
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from sklearn.linear_model import LogisticRegression

from fraud_detection.tasks import predict

ROWS = pd.DataFrame({"first": [1.0, 2.0, 3.0, 4.0], "second": [4.0, 3.0, 5.0, 1.0]})


@pytest.fixture(autouse=True)
def problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions are a number and a text, made from what the model returns."""
    monkeypatch.setattr(predict, "PREDICTION", {"score": "double", "answer": "string"})
    monkeypatch.setattr(predict, "prediction", lambda raw: pd.DataFrame({"score": raw[:, 1], "answer": "yes"}))


@pytest.fixture
def model(tmp_path: Path) -> PyFuncModel:
    """A model whose files are gone once it is loaded."""
    fitted = LogisticRegression().fit(ROWS, [0, 1, 0, 1])
    mlflow.sklearn.save_model(
        fitted,
        tmp_path / "model",
        pyfunc_predict_fn="predict_proba",
        signature=infer_signature(ROWS, fitted.predict_proba(ROWS)),
        serialization_format="cloudpickle",
    )
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    shutil.rmtree(tmp_path / "model")
    return loaded


def test_the_function_needs_no_file_of_the_model(spark: SparkSession, model: PyFuncModel) -> None:
    scored = spark.createDataFrame(ROWS).select("first", predict.scorer(model)(F.struct("first", "second")).alias("it"))
    found = scored.select("first", "it.*").orderBy("first").toPandas()
    assert found["answer"].tolist() == ["yes"] * 4
    assert found["score"].to_numpy() == pytest.approx(np.asarray(model.predict(ROWS))[:, 1])


def test_rows_that_break_the_signature_are_refused(spark: SparkSession, model: PyFuncModel) -> None:
    with pytest.raises(Exception, match="Model is missing inputs"):
        spark.createDataFrame(ROWS).select(predict.scorer(model)(F.struct("first"))).collect()


def test_a_task_unpickles_the_model_once(spark: SparkSession, tmp_path: Path) -> None:
    log = tmp_path / "log"

    class Noted:
        def __init__(self) -> None:
            self.state = "something to unpickle"

        def __setstate__(self, state: dict[str, Any]) -> None:
            self.note("model ")

        def predict(self, inputs: pd.DataFrame) -> np.ndarray:
            self.note("batch ")
            return np.ones((len(inputs), 2))

        def note(self, what: str) -> None:
            with log.open("a") as file:
                file.write(what)

    score = predict.scorer(Noted())  # type: ignore[arg-type]
    rows = spark.range(0, 60_000, step=1, numPartitions=1)
    assert rows.select(score(F.struct("id")).alias("it")).where("it.score = 1").count() == 60_000
    noted = log.read_text().split()
    assert noted.count("model") < noted.count("batch")
