"""Scores rows with a model that nobody has approved yet.

Loading a model runs whatever its author put into its files. So it is loaded where Spark runs functions, and not in the
task, whose identity may approve and activate: there the function has no credentials. On serverless compute, and on
clusters with standard access, Databricks runs it in a container of its own (Databricks documentation, "How does
Databricks enforce user isolation?").
"""

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession

PART = 2**20  # bytes in a row
SCORED = "position bigint, scores array<double>, seconds double"


def score(spark: SparkSession, model: Path, inputs: pd.DataFrame) -> tuple[np.ndarray, float]:
    """Return what the model in the folder `model` predicts for `inputs`, and how long that took.

    Returns:
        What it returned, of shape (rows, k): k classes, or 1; and the seconds that it took, without loading.

    Raises:
        Exception: whatever the model raises, as Spark reports it.
        ValueError: if it does not give one prediction for each row.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(path for path in model.rglob("*") if path.is_file()):
            archive.write(path, Path("model") / path.relative_to(model))
        # Without its `attrs`, where Spark Connect keeps what Parquet cannot hold.
        archive.writestr("inputs.parquet", pd.DataFrame(dict(inputs.items())).to_parquet(index=False))
    packed = buffer.getvalue()
    parts = [packed[start : start + PART] for start in range(0, len(packed), PART)]
    # As rows, because a function must not be larger than a message of Spark Connect.
    rows = spark.createDataFrame(pd.DataFrame({"number": range(len(parts)), "part": parts}))

    def predict(batches: Iterable[pd.DataFrame]) -> Iterable[pd.DataFrame]:
        # Imported here: a worker gets this function by value, and need not have the package.
        import io
        import tempfile
        import time
        import zipfile

        import mlflow
        import numpy as np
        import pandas as pd

        ordered = pd.concat(list(batches)).sort_values("number")
        with tempfile.TemporaryDirectory() as folder:
            zipfile.ZipFile(io.BytesIO(b"".join(ordered["part"]))).extractall(folder)
            inputs = pd.read_parquet(f"{folder}/inputs.parquet")
            loaded = mlflow.pyfunc.load_model(f"{folder}/model")
            loaded.predict(inputs.head(1))  # the first call pays for loading, not for scoring
            start = time.perf_counter()
            scores = np.asarray(loaded.predict(inputs), dtype=float)
            seconds = time.perf_counter() - start
            scores = scores.reshape(len(scores), -1)
        yield pd.DataFrame({"position": range(len(scores)), "scores": list(scores), "seconds": seconds})

    scored = rows.coalesce(1).mapInPandas(predict, SCORED).toPandas().sort_values("position")
    if len(scored) != len(inputs):
        raise ValueError(f"it gave {len(scored)} predictions for {len(inputs)} rows")
    return np.array(scored["scores"].tolist()), float(scored["seconds"].iloc[0])
