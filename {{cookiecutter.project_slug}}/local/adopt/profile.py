"""What the columns look like, and which of them a first model may see. Holds summaries, and no row."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd
from sklearn.metrics import balanced_accuracy_score, r2_score
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from .reading import AdoptError
from .roles import Adopted

NUMBERS = ("tinyint", "smallint", "int", "bigint", "float", "double", "boolean")
MAX_CATEGORIES = 30
SHOWN_FROM = 10  # a value of a category is written down if at least as many rows have it
GRID = np.linspace(0.01, 0.99, 11)  # not up to the ends: the least and the greatest value may be somebody's own
LEAK = 0.98  # of 1, which is reached by a column that says the label

WINDOW = 90  # days that training looks back, the default of its job
MIN_IN_WINDOW = 1000
MIN_HELD_OUT = 200


@dataclass(frozen=True)
class Number:
    """A column of numbers: its values at GRID, from the first to the ninety-ninth percentile."""

    name: str
    type: str
    nulls: float
    quantiles: list[float]
    low: float
    high: float


@dataclass(frozen=True)
class Category:
    """A column of text with few values, and the share of each that is frequent enough to be named."""

    name: str
    nulls: float
    shares: dict[str, float]
    complete: bool  # whether `shares` names all values


@dataclass(frozen=True)
class Moment:
    """A date or timestamp before TIME: the days in between, at GRID."""

    name: str
    type: str
    nulls: float
    quantiles: list[float]

    @property
    def feature(self) -> str:
        return f"days_since_{self.name}"


@dataclass(frozen=True)
class Profile:
    """All that the writers know about the table."""

    numbers: list[Number]
    categories: list[Category]
    moments: list[Moment]
    left_out: dict[str, str]  # column -> reason
    hours: list[int]  # per mille of the rows in each hour of the day; empty if they say nothing
    weekdays: bool  # whether rows happen on different days of the week
    label_quantiles: list[float]  # of a number; of 0 and 1, the share of 1
    class_shares: list[float]
    label_nulls: bool
    label_delay: float | None  # median days from TIME until the label is known
    entities: int
    today: date | None  # the day after the newest row
    holdout_days: int | None
    rows_per_day: int  # in the newest week; of a snapshot, all
    newest_day: int  # rows of the newest day, which may be the only one that is scored

    @property
    def columns(self) -> "list[Number | Category | Moment]":
        return [*self.numbers, *self.categories, *self.moments]

    @property
    def features(self) -> list[str]:
        numeric = [number.name for number in self.numbers] + [moment.feature for moment in self.moments]
        clock = ["hour_of_day"] * bool(self.hours) + ["day_of_week"] * self.weekdays
        return numeric + clock + [category.name for category in self.categories]


def describe(adopted: Adopted) -> Profile:
    """Return the profile of the rows.

    Raises:
        AdoptError: if too few rows lie in the days that training looks at, or no column can be a feature.
    """
    rows, roles, types = adopted.rows, adopted.roles, adopted.types
    times = rows[roles.time] if roles.time else None
    numbers, categories, moments, left_out = [], [], [], {}
    for name in rows.columns.difference(list(roles.named().values()), sort=False):
        values, kind = rows[name], types[name]
        nulls = float(values.isna().mean())
        if values.nunique() < 2:
            left_out[name] = "has one value"
        elif says := _leak(values, kind, adopted):
            left_out[name] = f"almost gives the label away ({says:.3f} of 1): is it known before the label?"
        elif kind in NUMBERS or kind.startswith("decimal"):
            figures = values.astype(float).replace([np.inf, -np.inf], np.nan)
            whole = kind not in ("float", "double") and not kind.startswith("decimal")
            if whole and figures.nunique() == len(figures):
                left_out[name] = "numbers the rows"
            elif times is not None and abs(figures.corr(times.astype("int64").astype(float), method="spearman")) > 0.95:
                left_out[name] = "grows with time"
            else:
                quantiles = _rounded(figures.quantile(GRID), whole)
                numbers.append(Number(name, kind, nulls, quantiles, figures.min(), figures.max()))
        elif kind == "string":
            shares = values.value_counts()
            named = shares[shares >= SHOWN_FROM]
            if len(shares) > MAX_CATEGORIES or named.empty:
                left_out[name] = f"has {len(shares)} different texts"
            else:
                listed = {str(value): round(float(share), 4) for value, share in (named / named.sum()).items()}
                categories.append(Category(name, nulls, listed, len(named) == len(shares)))
        elif kind in ("timestamp", "date") and times is not None:
            moment = pd.to_datetime(values, utc=True).dt.tz_localize(None)
            days = (times - moment).dt.total_seconds() / 86400
            if days.min() < (0 if kind == "timestamp" else -1):
                left_out[name] = f"lies after {roles.time} in some rows: it is known only later"
            else:
                moments.append(Moment(name, kind, nulls, _rounded(days.quantile(GRID), False)))
        else:
            left_out[name] = f"is a {kind}"
    hours: list[int] = []
    weekdays = False
    if times is not None:
        shares = times.dt.hour.value_counts(normalize=True).reindex(range(24), fill_value=0)
        hours = [round(float(share) * 1000) for share in shares] if shares.max() < 1 else []
        weekdays = times.dt.dayofweek.nunique() == 7
    taken = {name for name in ("hour_of_day", "day_of_week") if name in rows.columns}
    label = rows[roles.label].dropna()
    known = rows[roles.label_time] if roles.label_time else None
    delay = (known - times).dt.total_seconds().median() / 86400 if known is not None and times is not None else None
    profile = Profile(
        numbers,
        categories,
        moments,
        left_out,
        [] if "hour_of_day" in taken else hours,
        weekdays and "day_of_week" not in taken,
        [] if adopted.classes else _rounded(label.quantile(GRID) if label.nunique() > 2 else pd.Series([label.mean()])),
        [round(float(share), 4) for share in label.value_counts(normalize=True).reindex(adopted.classes)],
        bool(rows[roles.label].isna().any()),
        None if delay is None else round(float(delay), 2),
        int(rows[roles.entity].nunique()) if roles.entity else 0,
        None if times is None else max(times).date() + timedelta(days=1),
        None if times is None else _holdout(adopted, max(times).date() + timedelta(days=1)),
        len(rows) if times is None else -(-int((times >= max(times).normalize() - timedelta(days=6)).sum()) // 7),
        len(rows) if times is None else int((times >= max(times).normalize()).sum()),
    )
    if not (numbers or categories or moments):
        reasons = "; ".join(f"{name} {reason}" for name, reason in left_out.items())
        raise AdoptError(f"No column can be a feature ({reasons}): adopt a table with numbers, or texts of few values.")
    return profile


def _rounded(values: pd.Series, whole: bool = False) -> list[float]:
    """Return values with four significant digits, or as whole numbers."""
    digits = [float(f"{value:.4g}") for value in values]
    return [int(value) if whole or value.is_integer() else value for value in digits]


def _holdout(adopted: Adopted, today: date) -> int:
    """Return how many of the newest labelled days the gate holds back.

    Raises:
        AdoptError: if there are too few labels in the days that training looks at.
    """
    rows, roles = adopted.rows, adopted.roles
    known = rows[roles.label].notna()
    if roles.label_time:
        known &= rows[roles.label_time] < pd.Timestamp(today)
    days = rows.loc[known, roles.time].dt.normalize()
    days = days[days >= pd.Timestamp(today) - timedelta(days=WINDOW)]
    if len(days) < MIN_IN_WINDOW:
        raise AdoptError(
            f"{len(days)} rows of the newest {WINDOW} days have a known label, and a model needs {MIN_IN_WINDOW}: "
            "adopt a denser table, or type --time none to take it as a snapshot."
        )
    for number in (14, 7, 3, 1):
        if MIN_HELD_OUT <= (days > days.max() - timedelta(days=number)).sum() <= len(days) * 0.4:
            return number
    raise AdoptError(
        f"The newest days of {roles.time} hold too few or nearly all of the labels: "
        "adopt rows of more days, or type --time none to take the table as a snapshot."
    )


def _leak(values: pd.Series, kind: str, adopted: Adopted) -> float:
    """Return how well this column alone says the label, if it is nearly perfect; else 0.

    A small tree learns on every other row and is judged on the rest, by balanced accuracy or R².
    """
    label = adopted.rows[adopted.roles.label]
    known = label.notna() & values.notna()
    if known.sum() < 100:
        return 0.0
    picked = values[known].iloc[:50_000]
    if kind in ("timestamp", "date"):
        picked = pd.to_datetime(picked, utc=True).astype("int64")
    numbers = picked.astype("category").cat.codes if kind == "string" else picked.astype(float)
    if kind == "string" and picked.nunique() > len(picked) / 4:
        return 0.0  # nearly each row has a text of its own
    inputs = np.nan_to_num(numbers.to_numpy(dtype=float)).reshape(-1, 1)
    wanted = label[known].iloc[:50_000].to_numpy()
    regression = wanted.dtype == float and len(np.unique(wanted)) > 2
    tree = DecisionTreeRegressor(max_leaf_nodes=200) if regression else DecisionTreeClassifier(max_leaf_nodes=200)
    judge: Callable[..., float] = r2_score if regression else balanced_accuracy_score
    tree.fit(inputs[::2], wanted[::2])
    reached = float(judge(wanted[1::2], tree.predict(inputs[1::2])))
    return reached if reached >= LEAK else 0.0
