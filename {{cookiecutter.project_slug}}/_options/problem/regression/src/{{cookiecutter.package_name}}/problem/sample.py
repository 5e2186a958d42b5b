"""Made-up parcels, so that everything runs before your own data is there."""

from datetime import date, timedelta

import numpy as np
import pandas as pd

KEY_PREFIX = "sample-"
LABEL_DELAY = timedelta(days=7)  # carriers confirm deliveries a week later
SENDERS = 2000
CARRIERS = ["blue", "green", "red"]
# How much longer a parcel takes to each destination.
DESTINATIONS = {"city": 1.0, "suburb": 1.1, "rural": 1.4, "island": 1.9}


def generate(start: date, end: date, rows_per_day: int, seed: int, drift: bool = False) -> pd.DataFrame:
    """Return the parcels of the days in [start, end), the same ones for the same arguments.

    Args:
        seed: tells one data set from another; senders keep their habits within a seed.
        drift: half of the parcels go with a new carrier, which is slow, and senders sell heavier things farther away.
            An older model promises too much.

    Returns:
        The columns of `source.COLUMNS`; times are in UTC.
    """
    days = [start + timedelta(days=number) for number in range((end - start).days)]
    return pd.concat([_day(day, rows_per_day, seed, drift) for day in days], ignore_index=True)


def _day(day: date, rows: int, seed: int, drift: bool) -> pd.DataFrame:
    senders = np.random.default_rng(seed)
    usual_weight = senders.lognormal(0.8, 0.6, SENDERS)
    usual_carrier = senders.choice(CARRIERS, SENDERS, p=[0.5, 0.3, 0.2])
    parcels = senders.lognormal(0, 0.5, SENDERS)

    rng = np.random.default_rng([seed, day.toordinal()])
    sender = rng.choice(SENDERS, rows, p=parcels / parcels.sum())
    carrier = np.where(rng.random(rows) < 0.85, usual_carrier[sender], rng.choice(CARRIERS, rows))
    weight = usual_weight[sender] * rng.lognormal(0, 0.5, rows)
    distance = rng.gamma(2.0, 110, rows) + 3
    shipping = rng.choice(["standard", "express"], rows, p=[0.75, 0.25])
    destination = rng.choice(list(DESTINATIONS), rows, p=[0.45, 0.3, 0.2, 0.05])
    if drift:
        carrier = np.where(rng.random(rows) < 0.5, "violet", carrier)
        weight, distance = weight * 1.8, distance * 1.6
    hour = rng.normal(13, 4, rows) % 24
    time = pd.Timestamp(day) + pd.to_timedelta(np.floor(hour * 3600), unit="s")

    hours = np.where(shipping == "express", 9.0, 22.0) + distance / np.where(shipping == "express", 50.0, 25.0)
    hours = hours * np.array([DESTINATIONS[name] for name in destination])
    hours = hours * pd.Series(carrier).map({"blue": 1.0, "green": 1.15, "red": 0.9, "violet": 1.7}).to_numpy()
    hours = hours + np.where(weight > 10, 6, 0) + np.where(hour > 17, 10, 0)  # a van for freight; no van left today
    hours = hours + 24 * (day.weekday() == 5) + 12 * (day.weekday() == 6)  # nothing moves on Sundays
    return pd.DataFrame(
        {
            "parcel_id": [f"{KEY_PREFIX}{day:%Y%m%d}-{number:06d}" for number in range(rows)],
            "sender_id": [f"sender-{number:05d}" for number in sender],
            "handed_in_at": time,
            "weight": np.round(weight, 2).clip(0.02, 100),
            "distance": np.round(distance, 1),
            "shipping": shipping,
            "carrier": carrier,
            "destination": destination,
            "delivery_hours": np.round(hours * rng.lognormal(0, 0.12, rows), 1).clip(1, 168),
            "confirmed_at": time + LABEL_DELAY,
        }
    )
