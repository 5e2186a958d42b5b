"""Made-up alarms of pumps, so that everything runs before your own data is there."""

from datetime import date, timedelta

import numpy as np
import pandas as pd

from .source import CLASSES

KEY_PREFIX = "sample-"
LABEL_DELAY = timedelta(days=7)  # somebody inspects the pump a week after the alarm
SHARES = [0.2, 0.25, 0.15, 0.4]  # of CLASSES: four of ten alarms are false ones
PUMPS = 2000
MODELS = ["compact", "standard", "heavy"]
SITES = ["waterworks", "refinery", "brewery", "mine"]

# What each of CLASSES does to the readings: factor of vibration, degrees, bar, factor of power.
SIGNS = {
    "bearing": (1.9, 9, 0.0, 1.0),
    "blockage": (1.1, 2, 1.2, 1.2),
    "leak": (1.2, 0, -1.2, 0.9),
    "none": (1.0, 0, 0.0, 1.0),
}
# At low speed other readings tell: a worn bearing no longer shakes, a blocked pump turns idly, a leaking one draws air.
SIGNS_AT_LOW_SPEED = {
    "bearing": (1.0, 9, 0.4, 1.2),
    "blockage": (1.9, 0, 0.0, 0.8),
    "leak": (1.2, 8, 1.0, 1.0),
    "none": (1.0, 0, 0.0, 1.0),
}


def generate(start: date, end: date, rows_per_day: int, seed: int, drift: bool = False) -> pd.DataFrame:
    """Return the alarms of the days in [start, end), the same ones for the same arguments.

    Args:
        seed: tells one data set from another; pumps stay themselves within a seed.
        drift: to save energy, the pumps run slower; faults show in other readings, which an older model misreads.

    Returns:
        The columns of `source.COLUMNS`; times are in UTC.
    """
    days = [start + timedelta(days=number) for number in range((end - start).days)]
    return pd.concat([_day(day, rows_per_day, seed, drift) for day in days], ignore_index=True)


def _day(day: date, rows: int, seed: int, drift: bool) -> pd.DataFrame:
    pumps = np.random.default_rng(seed)
    model = pumps.choice(len(MODELS), PUMPS, p=[0.3, 0.5, 0.2])
    site = pumps.choice(len(SITES), PUMPS, p=[0.4, 0.2, 0.2, 0.2])
    usual_vibration = pumps.lognormal(0.9, 0.25, PUMPS)
    usual_temperature = 48 + 6 * (site == SITES.index("mine")) + pumps.normal(0, 2.5, PUMPS)

    rng = np.random.default_rng([seed, day.toordinal()])
    pump = rng.integers(PUMPS, size=rows)
    fault = rng.choice(CLASSES, rows, p=SHARES)
    signs = SIGNS_AT_LOW_SPEED if drift else SIGNS
    shake, heat, push, draw = np.array([signs[name] for name in fault]).T
    pace = 0.65 if drift else 1.0
    time = pd.Timestamp(day) + pd.to_timedelta(rng.integers(86400, size=rows), unit="s")
    return pd.DataFrame(
        {
            "alarm_id": [f"{KEY_PREFIX}{day:%Y%m%d}-{number:06d}" for number in range(rows)],
            "pump_id": [f"pump-{number:05d}" for number in pump],
            "alarm_time": time,
            "pump_model": np.array(MODELS)[model[pump]],
            "site": np.array(SITES)[site[pump]],
            "rotation": np.round(1450 * pace + rng.normal(0, 40, rows)),
            "vibration": np.round(usual_vibration[pump] * pace * shake * rng.lognormal(0, 0.2, rows), 2),
            "temperature": np.round(usual_temperature[pump] + heat + rng.normal(0, 3, rows), 1),
            "pressure": np.round(4.5 + model[pump] * 1.5 + push + rng.normal(0, 0.5, rows), 2).clip(0),
            "power": np.round((5 + 4 * model[pump]) * pace * draw * rng.lognormal(0, 0.1, rows), 2),
            "fault": fault,
            "inspection_time": time + LABEL_DELAY,
        }
    )
