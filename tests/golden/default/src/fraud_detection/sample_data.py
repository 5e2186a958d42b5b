"""Task `sample_data`: made-up card transactions, so that everything runs before your own data is there.

Delete this file, its job and its line in pyproject.toml once `source_table` names your own table.
"""

import logging
import zlib
from datetime import date, timedelta

import numpy as np
import pandas as pd
from pyspark.sql import functions as F

from . import data, tables
from .task import run

logger = logging.getLogger(__name__)

FRAUD_RATE = 0.02
LABEL_DELAY = timedelta(days=14)  # cardholders report fraud about two weeks later
CARDS = 2000
COUNTRIES = ["DE", "FR", "ES", "PL", "US", "BR"]
CATEGORIES = ["grocery", "fuel", "restaurant", "travel", "electronics", "online_services"]
CHANNELS = ["chip", "contactless", "online", "atm"]
ID_PREFIX = "sample-"


def generate_day(day: date, rows: int, seed: int, drift: bool = False) -> pd.DataFrame:
    """Return `rows` transactions of one day, the same ones for the same arguments.

    Args:
        seed: tells one data set from another; cards keep their habits within a seed.
        drift: people pay more, and online; fraud turns to small contactless payments, which an older model misses.

    Returns:
        The columns of `data.COLUMNS`; `event_time` and `label_time` are in UTC.
    """
    cards = np.random.default_rng(seed)
    home = cards.choice(len(COUNTRIES), CARDS, p=[0.35, 0.2, 0.15, 0.15, 0.1, 0.05])
    spend = cards.lognormal(3.2, 0.5, CARDS)

    rng = np.random.default_rng([seed, day.toordinal()])
    fraud = rng.random(rows) < FRAUD_RATE
    # A stolen card is used several times a day.
    stolen = rng.choice(CARDS, max(1, int(rows * FRAUD_RATE / 3)))
    card = np.where(fraud, rng.choice(stolen, rows), rng.integers(CARDS, size=rows))
    abroad = rng.random(rows) < np.where(fraud, 0.5, 0.04)
    country = np.where(abroad, rng.integers(len(COUNTRIES), size=rows), home[card])
    amount = spend[card] * rng.lognormal(0, 0.6, rows)
    hour = np.where(fraud & (rng.random(rows) < 0.6), rng.integers(0, 6, rows), rng.normal(14, 4, rows) % 24)
    category = rng.choice(CATEGORIES, rows, p=[0.35, 0.15, 0.2, 0.08, 0.1, 0.12])
    channel = rng.choice(CHANNELS, rows, p=[0.4, 0.3, 0.25, 0.05])
    loud = fraud & (rng.random(rows) < 0.8)
    if drift:
        amount = amount * np.where(fraud, 0.4, 2.2)
        channel = np.where(rng.random(rows) < 0.5, "online", channel)
        category = np.where(loud, rng.choice(["fuel", "grocery"], rows), category)
        channel = np.where(loud, "contactless", channel)
    else:
        amount = amount * np.where(fraud, rng.lognormal(1.2, 0.5, rows), 1.0)
        category = np.where(loud, rng.choice(["electronics", "online_services"], rows), category)
        channel = np.where(loud, "online", channel)

    time = pd.Timestamp(day) + pd.to_timedelta(np.floor(hour * 3600 + rng.integers(0, 3600, rows)) % 86400, unit="s")
    return pd.DataFrame(
        {
            "transaction_id": [f"{ID_PREFIX}{day:%Y%m%d}-{number:06d}" for number in range(rows)],
            "card_id": [f"card-{number:05d}" for number in card],
            "event_time": time,
            "amount": np.round(amount, 2),
            "merchant_category": category,
            "country": np.array(COUNTRIES)[country],
            "channel": channel,
            "is_fraud": fraud.astype("int32"),
            "label_time": time + LABEL_DELAY,
        }
    )


def sample_data(source_table: str, run_date: date, days: int, rows_per_day: int, drift: bool) -> None:
    """Fill `source_table` up to the day before `run_date`: `days` days if it is new, else the days that it lacks.

    A table that holds anything but sample data is left as it is.
    """
    spark = tables.spark_session()
    first = run_date - timedelta(days=days)
    if tables.exists(spark, source_table):
        present = tables.read(spark, source_table)
        own, newest = present.agg(
            F.count(F.when(~F.col("transaction_id").startswith(ID_PREFIX), 1)), F.max(F.to_date("event_time"))
        ).collect()[0]
        if own:
            logger.info("%s holds %d rows of its own: nothing to fill", source_table, own)
            return
        first = newest + timedelta(days=1) if newest else first
    seed = zlib.crc32(source_table.encode())
    missing = [first + timedelta(days=number) for number in range((run_date - first).days)]
    if not missing:
        logger.info("%s is complete up to %s", source_table, run_date)
        return
    rows = pd.concat([generate_day(day, rows_per_day, seed, drift) for day in missing], ignore_index=True)
    types = ", ".join(f"{column} {kind}" for column, kind in data.COLUMNS.items())
    tables.replace(spark.createDataFrame(rows, types), source_table, tables.days("event_time", first, run_date))
    logger.info("wrote %d rows of %s to %s", len(rows), missing[0], source_table)


def main() -> None:
    run(sample_data)
