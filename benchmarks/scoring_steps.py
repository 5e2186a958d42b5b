"""The steps of scoring.py. Each runs in a process of its own, in a rendered project, in its environment.

python scoring_steps.py generate|predict|direct ROWS
"""

import importlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from local import preload  # noqa: F401 - imports what the task processes import before they start
from local.bundle import load_bundle
from local.engine import STATE, environment, open_session, spark_server

PROJECT = Path.cwd()
CHUNK = 500_000
DAY = date(2026, 3, 1)
BUNDLE = load_bundle(PROJECT, "dev")
PACKAGE = BUNDLE["var"]["package_name"]
CATALOG = BUNDLE["var"]["catalog"]
MODEL = BUNDLE["resources"]["registered_models"]["model"]["id"]


def module(name: str):
    return importlib.import_module(f"{PACKAGE}.{name}")


@contextmanager
def session() -> Iterator:
    lakehouse = PROJECT.resolve() / STATE / "lakehouse"
    with spark_server([CATALOG]):
        yield open_session(lakehouse)


def schema(rows: int) -> str:
    return f"benchmark_{rows}"


def parquet(rows: int) -> Path:
    return PROJECT.resolve() / STATE / f"{schema(rows)}.parquet"


def chunk(first: int, rows: int) -> pd.DataFrame:
    """Return `rows` rows of the features table, numbered from `first`, like those of the sample data."""
    rng = np.random.default_rng(first)
    sample = module("problem.sample")
    return pd.DataFrame(
        {
            "transaction_id": [f"sample-{number:010d}" for number in range(first, first + rows)],
            "card_id": [f"card-{number:05d}" for number in rng.integers(2000, size=rows)],
            "event_time": pd.Timestamp(DAY, tz="UTC") + pd.to_timedelta(rng.integers(86400, size=rows), unit="s"),
            "event_date": DAY,
            "amount": rng.lognormal(3.2, 0.8, rows),
            "amount_to_card_mean": rng.lognormal(0, 0.6, rows),
            "card_transactions_1d": rng.poisson(1, rows).astype(float),
            "hour_of_day": rng.integers(24, size=rows).astype(float),
            "is_weekend": rng.integers(2, size=rows).astype(float),
            "merchant_category": rng.choice(sample.CATEGORIES, rows),
            "country": rng.choice(sample.COUNTRIES, rows),
            "channel": rng.choice(sample.CHANNELS, rows),
        }
    )


def write(rows: int, some: Callable[[int, int], pd.DataFrame]) -> None:
    """Write the Parquet file of this size, chunk by chunk.

    Args:
        some: returns so many rows from a first number on.
    """
    writer = None
    for first in range(0, rows, CHUNK):
        batch = pa.Table.from_pandas(some(first, min(CHUNK, rows - first)), preserve_index=False)
        writer = writer or pq.ParquetWriter(parquet(rows), batch.schema)
        writer.write_table(batch)
    writer.close()


def generate(rows: int) -> float:
    """Write the features table of this size, chunk by chunk: as a Parquet file, and from that as a Delta table."""
    start = time.perf_counter()
    write(rows, chunk)
    folder = PROJECT.resolve() / STATE / "lakehouse" / CATALOG / schema(rows)
    folder.mkdir(parents=True, exist_ok=True)
    with session() as spark:
        table = f"`{CATALOG}`.`{schema(rows)}`.features"
        spark.read.parquet(str(parquet(rows))).writeTo(table).using("delta").createOrReplace()
    return time.perf_counter() - start


def predict(rows: int) -> float:
    """Run the project's task: find the champion, score every row on Sail, write the predictions as Delta."""
    target = f"{CATALOG}.{schema(rows)}"
    shutil.rmtree(PROJECT.resolve() / STATE / "lakehouse" / CATALOG / schema(rows) / "predictions", ignore_errors=True)
    with session() as spark:
        start = time.perf_counter()
        module("tasks.predict").predict(target, MODEL, DAY.replace(day=2), 1, "benchmark")
        seconds = time.perf_counter() - start
        written = module("platform.tables").read(spark, f"{target}.predictions").count()
        assert written == rows, f"{written} rows written"
    return seconds


def direct(rows: int) -> float:
    """Load the rows into one pandas data frame and call the model on all of them. Only the call is timed."""
    registry = module("platform.registry")
    champion = registry.get(registry.connect(), MODEL, registry.CHAMPION)
    model = mlflow.pyfunc.load_model(f"models:/{MODEL}/{champion.version}")
    frame = pd.read_parquet(parquet(rows), columns=module("problem.features").FEATURES)
    start = time.perf_counter()
    scores = model.predict(frame)
    seconds = time.perf_counter() - start
    assert scores.shape == (rows, 2)
    return seconds


if __name__ == "__main__":
    sys.path.insert(0, str(PROJECT))
    os.environ.update(environment(PROJECT))
    name, count = sys.argv[1:]
    print(json.dumps({"seconds": {"generate": generate, "predict": predict, "direct": direct}[name](int(count))}))
