import sys
from pathlib import Path

import cloudpickle
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.pyfunc import PythonModel
from pyspark.sql import SparkSession
from sklearn.linear_model import LogisticRegression

from fraud_detection.platform import registry, sandbox

ROWS = pd.DataFrame({"whole": [3, 1, 2, 0], "part": [0.5, np.nan, 0.25, 1.0], "text": ["a", None, "b", "a"]})


class Echo(PythonModel):
    """Predicts two numbers for each row, from the types and values that reach it."""

    def predict(self, context: object, model_input: pd.DataFrame, params: object = None) -> np.ndarray:
        assert model_input["whole"].dtype == "int64"
        assert model_input["text"].isna().sum() <= 1
        whole = model_input["whole"].to_numpy()
        return np.column_stack([whole, 1 - whole])


class Flat(PythonModel):
    def predict(self, context: object, model_input: pd.DataFrame, params: object = None) -> np.ndarray:
        return model_input["whole"].to_numpy()


class Broken(PythonModel):
    def predict(self, context: object, model_input: pd.DataFrame, params: object = None) -> np.ndarray:
        raise ModuleNotFoundError("No module named 'torch'")


class Short(PythonModel):
    def predict(self, context: object, model_input: pd.DataFrame, params: object = None) -> np.ndarray:
        return np.array([[0.0, 1.0]])


def saved(folder: Path, model: PythonModel) -> Path:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers know no tests
    mlflow.pyfunc.save_model(folder / "model", python_model=model, pip_requirements=[])
    return folder / "model"


def test_rows_are_scored_in_their_order_with_their_types(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "PART", 1000)  # so that the model has many parts
    rows = ROWS.copy()
    rows.attrs["metrics"] = [object()]  # as rows of Spark Connect have
    scores, seconds = sandbox.score(spark, saved(tmp_path, Echo()), rows)
    assert scores.tolist() == [[3, -2], [1, 0], [2, -1], [0, 1]]
    assert seconds > 0


def test_a_model_is_scored_as_it_scores_itself(spark: SparkSession, tmp_path: Path) -> None:
    inputs = pd.DataFrame({"x": np.linspace(-2, 2, 50)})
    model = LogisticRegression().fit(inputs, inputs["x"] > 0)
    mlflow.sklearn.save_model(
        model, tmp_path / "model", serialization_format="cloudpickle", pyfunc_predict_fn="predict_proba"
    )
    scores, _ = sandbox.score(spark, tmp_path / "model", inputs)
    np.testing.assert_allclose(scores, model.predict_proba(inputs))


def test_one_number_for_each_row_is_a_column(spark: SparkSession, tmp_path: Path) -> None:
    scores, _ = sandbox.score(spark, saved(tmp_path, Flat()), ROWS)
    assert scores.tolist() == [[3], [1], [2], [0]]


def test_what_a_model_raises_is_told(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="No module named 'torch'"):
        sandbox.score(spark, saved(tmp_path, Broken()), ROWS)


def test_a_prediction_for_each_row_is_asked_for(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it gave 1 predictions for 4 rows"):
        sandbox.score(spark, saved(tmp_path, Short()), ROWS)


def test_the_digest_is_that_of_the_files_and_their_names(tmp_path: Path) -> None:
    folder = saved(tmp_path, Echo())
    before = registry.files_sha256(folder)
    (folder / "registered_model_meta").write_text("what MLflow adds to a download", encoding="utf-8")
    assert registry.files_sha256(folder) == before
    (folder / "more").mkdir()
    (folder / "more" / "code.py").write_text("", encoding="utf-8")
    changed = registry.files_sha256(folder)
    (folder / "more" / "code.py").rename(folder / "code.py")
    assert len({before, changed, registry.files_sha256(folder)}) == 3
