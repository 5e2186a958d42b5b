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

SCORED = "position bigint, scores array<double>, seconds double"


def score(spark: SparkSession, model: Path, inputs: pd.DataFrame) -> tuple[np.ndarray, float]:
    """Return what the model in the folder `model` predicts for `inputs`, shape (rows, classes), and how long it took.

    Returns:
        The scores in the order of `inputs`, and the seconds that scoring took, without loading.

    Raises:
        Exception: whatever the model raises, as Spark reports it.
        ValueError: if it does not predict one row of numbers for each row.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in model.rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(model))
    files = buffer.getvalue()

    def predict(batches: Iterable[pd.DataFrame]) -> Iterable[pd.DataFrame]:
        # Imported here: a worker gets this function by value, and the package need not be there.
        import io
        import tempfile
        import time
        import zipfile

        import mlflow
        import numpy as np
        import pandas as pd

        rows = pd.concat(list(batches)).set_index("position")
        with tempfile.TemporaryDirectory() as folder:
            zipfile.ZipFile(io.BytesIO(files)).extractall(folder)
            loaded = mlflow.pyfunc.load_model(folder)
            loaded.predict(rows.head(1))  # the first call pays for loading, not for scoring
            start = time.perf_counter()
            scores = np.asarray(loaded.predict(rows), dtype=float)
            seconds = time.perf_counter() - start
        yield pd.DataFrame({"position": rows.index, "scores": list(scores), "seconds": seconds})

    numbered = inputs.assign(position=range(len(inputs)))
    # One part, because rows that are timed must be scored together; the rows of a holdout are few enough for that.
    scored = spark.createDataFrame(numbered).coalesce(1).mapInPandas(predict, SCORED).toPandas()
    scored = scored.sort_values("position")
    if scored["position"].tolist() != list(range(len(inputs))):
        raise ValueError(f"it scored {len(scored)} rows instead of {len(inputs)}")
    return np.array(scored["scores"].tolist()), float(scored["seconds"].iloc[0])
