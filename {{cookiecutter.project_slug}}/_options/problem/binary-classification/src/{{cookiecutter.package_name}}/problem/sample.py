"""Made-up card transactions, so that everything runs before your own data is there."""

from datetime import date, timedelta

import numpy as np
import pandas as pd

FRAUD_RATE = 0.02
LABEL_DELAY = timedelta(days=14)  # cardholders report fraud about two weeks later
CARDS = 2000
COUNTRIES = ["DE", "FR", "ES", "PL", "US", "BR"]
CATEGORIES = ["grocery", "fuel", "restaurant", "travel", "electronics", "online_services"]
CHANNELS = ["chip", "contactless", "online", "atm"]
KEY_PREFIX = "sample-"


def generate(start: date, end: date, rows_per_day: int, seed: int, drift: bool = False) -> pd.DataFrame:
    """Return the transactions of the days [start, end), the same ones for the same arguments.

    Args:
        seed: tells one data set from another; cards keep their habits within a seed.
        drift: people pay more, and online; fraud turns to small contactless payments, which an older model misses.

    Returns:
        The columns of `source.COLUMNS`; times are in UTC.
    """
    days = [start + timedelta(days=number) for number in range((end - start).days)]
    return pd.concat([generate_day(day, rows_per_day, seed, drift) for day in days], ignore_index=True)


def generate_day(day: date, rows: int, seed: int, drift: bool) -> pd.DataFrame:
    """Return `rows` transactions of one day, as `generate` does."""
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
            "transaction_id": [f"{KEY_PREFIX}{day:%Y%m%d}-{number:06d}" for number in range(rows)],
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
