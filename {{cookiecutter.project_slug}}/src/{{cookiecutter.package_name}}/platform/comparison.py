"""What the gate shows of a challenger and the champion, for whoever approves: how sure the numbers are, and for whom.

It decides nothing: that the limits of `problem/config.yml` do, on the numbers themselves.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

import numpy as np
import pandas as pd

from ..problem import metrics
from ..problem.features import CATEGORICAL
from ..problem.metrics import HIGHER_IS_BETTER
from ..problem.model import PREDICTION
from ..problem.source import LABEL
from . import charts, evaluate
from .config import Gate
from .data import UNIT
from .evaluate import MAIN_METRIC
from .page import figure, figures, node, number, page, table, words
from .registry import LONGEST_TAG

# 50 are often enough for a standard error (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 6.4).
RESAMPLES = 50
MOST_ROWS = 2000  # in each: a second or two for all of them, however large the holdout is
NORMAL_95 = 1.96  # a standard error to each side of a 95 % interval
VALUES = 5  # of each categorical feature, the most frequent ones
MOST_CLASSES = 12  # that are shown crosswise


@dataclass(frozen=True)
class Scored:
    """A version as the gate measured it: no metrics and no predictions (PREDICTION) if it could not score."""

    version: str
    metrics: dict[str, float] = field(default_factory=dict)
    prediction: pd.DataFrame | None = None


@dataclass(frozen=True)
class Segment:
    """The main metric on a part of the holdout; NaN where there are too few labels to tell."""

    name: str
    rows: int
    challenger: float
    champion: float

    @property
    def loss(self) -> float:
        """How far the challenger falls behind the champion, or behind 0 where there is none."""
        gain = self.challenger - (0.0 if math.isnan(self.champion) else self.champion)
        return -gain if HIGHER_IS_BETTER[MAIN_METRIC] else gain


def quality(labels: pd.Series, prediction: pd.DataFrame) -> dict[str, float]:
    """Return the metrics of a part of the rows; NaN where they are not defined on it."""
    try:
        return metrics.quality(labels, prediction)
    except ValueError:  # as scikit-learn says that a class is absent
        return dict.fromkeys(HIGHER_IS_BETTER, float("nan"))


def resamples(units: pd.Series) -> tuple[Iterator[np.ndarray], float]:
    """Return positions of rows, once for each resample, and what a standard error over them is multiplied with.

    Whole units are drawn, with replacement, because rows of one are alike. Of many rows fewer are drawn, which makes
    the error larger by a root (Bickel, Götze and van Zwet, Statistica Sinica 7, 1997: m out of n).
    """
    codes, names = pd.factorize(units, use_na_sentinel=False)
    rows, ends = np.argsort(codes, kind="stable"), np.bincount(codes).cumsum()
    starts = [0, *ends]
    drawn = max(round(len(names) * min(1.0, MOST_ROWS / len(codes))), 1)
    random = np.random.default_rng(7)
    draws = (random.integers(0, len(names), drawn) for _ in range(RESAMPLES))
    positions = (np.concatenate([rows[starts[unit] : ends[unit]] for unit in draw]) for draw in draws)
    return positions, math.sqrt(drawn / len(names))


def margins(holdout: pd.DataFrame, challenger: Scored, champion: Scored | None) -> dict[str, dict[str, float]]:
    """Return half of the 95 % interval of each metric of `challenger`, `champion`, and of their `difference`.

    Both are measured on the same resamples, so that what makes rows hard for both does not blur the difference. NaN for
    a metric that is not defined on most of them.
    """
    found: dict[str, list[dict[str, float]]] = {}
    draws, factor = resamples(holdout[UNIT])
    scored = {"challenger": challenger.prediction, "champion": champion.prediction if champion else None}
    for draw in draws:
        labels = holdout[LABEL].iloc[draw]
        for name, prediction in scored.items():
            if prediction is not None:
                found.setdefault(name, []).append(quality(labels, prediction.iloc[draw]))
    measured = {name: pd.DataFrame(values) for name, values in found.items()}
    if "champion" in measured:
        measured["difference"] = measured["challenger"] - measured["champion"]
    return {
        name: {
            str(metric): NORMAL_95 * factor * float(column.std()) if column.notna().mean() > 0.5 else float("nan")
            for metric, column in values.items()
        }
        for name, values in measured.items()
    }


def segments(holdout: pd.DataFrame, challenger: Scored, champion: Scored | None, gate: Gate) -> list[Segment]:
    """Return the most frequent values of each categorical feature, with the main metric on their rows.

    A feature that names the entity is left out: its values are no group.
    """
    found = []
    for name in CATEGORICAL:
        if name == UNIT:
            continue
        for value in holdout[name].value_counts().index[:VALUES]:
            chosen = (holdout[name] == value).to_numpy()
            labels = holdout.loc[chosen, LABEL]
            enough = not evaluate.too_few(evaluate.counts(labels), gate.min_labels)
            measured = [
                quality(labels, scored.prediction.loc[chosen])[MAIN_METRIC]
                if enough and scored is not None and scored.prediction is not None
                else float("nan")
                for scored in (challenger, champion)
            ]
            found.append(Segment(f"{name} = {value}", len(labels), *measured))
    return found


def weakest(found: list[Segment]) -> str:
    """Return in one line where the challenger falls furthest behind; empty if no segment has enough labels."""
    known = [segment for segment in found if not math.isnan(segment.challenger)]
    if not known:
        return ""
    segment = max(known, key=lambda each: each.loss)
    beside = "" if math.isnan(segment.champion) else f", champion {number(segment.champion)}"
    # Cut, so that it fits into a tag.
    return f"{segment.name[:100]}: {words(MAIN_METRIC)} {number(segment.challenger)}{beside}, {segment.rows:,} rows"


def compare(
    about: dict[str, str],
    origin: dict[str, str],
    objections: list[str],
    holdout: pd.DataFrame,
    challenger: Scored,
    champion: Scored | None,
    gate: Gate,
) -> tuple[str, str]:
    """Return the page as HTML text, and what `models show` tells of it. No row is in them, only sums of many.

    Args:
        about: what was tested on which rows, by label; `model` is one of them.
        origin: tags that say where the challenger comes from.
        holdout: `event_date`, UNIT, FEATURES and LABEL.
        champion: None where there is none to compare with.
    """
    if challenger.prediction is None:
        champion = None
    scored = challenger.prediction is not None
    margin = margins(holdout, challenger, champion) if scored else {}
    found = segments(holdout, challenger, champion, gate) if scored else []
    html = page(
        f"Version {challenger.version} at the gate",
        node("p", about["model"]),
        node("p", node("strong", "Does not pass" if objections else "Passes")),
        node("ul", *(node("li", reason, class_="alarm") for reason in objections)),
        *(measured(challenger, champion, gate, margin) if scored else []),
        *disagreement(holdout[LABEL], challenger, champion),
        *parts(found, champion),
        node("h2", "What was tested"),
        table("By this gate", ["what", "value"], list(about.items())),
        table(
            "By the tags of the version; whoever trained it has written them", ["what", "value"], list(origin.items())
        ),
    )
    return html, summary(margin, found, hashlib.sha256(html.encode()).hexdigest())


def measured(
    challenger: Scored, champion: Scored | None, gate: Gate, margin: dict[str, dict[str, float]]
) -> Iterable[Element]:
    """Yield the metrics, and how sure they are."""
    yield node("h2", "Metrics")
    yield numbers(challenger, champion, gate, margin)
    yield node(
        "p",
        "± is half of a 95 % interval: 1.96 standard errors, from resamples of the holdout that are the same for both "
        "versions. The gate decides by the numbers and their limits alone; the intervals are for whoever reads this.",
        class_="faint",
    )


def numbers(challenger: Scored, champion: Scored | None, gate: Gate, margin: dict[str, dict[str, float]]) -> Element:
    """Return the table of metrics: each version, their difference, and the limits."""

    def pair(shown: str, of: str, name: str) -> str:
        half = margin.get(of, {}).get(name, float("nan"))
        return shown if math.isnan(half) else f"{shown} ± {number(half, 2)}"

    rows = []
    for name, value in challenger.metrics.items():
        other = champion.metrics.get(name, float("nan")) if champion else float("nan")
        difference = value - other if name in HIGHER_IS_BETTER else float("nan")
        limits = [
            *([f"at least {number(gate.minimum[name])}"] if name in gate.minimum else []),
            *([f"at least {number(gate.min_labels[name])}"] if name in gate.min_labels else []),
            *([f"at most {number(gate.maximum[name])}"] if name in gate.maximum else []),
            *(
                [f"at most {number(gate.max_regression[name])} worse"]
                if name in gate.max_regression and champion
                else []
            ),
        ]
        rows.append(
            [
                words(name),
                pair(number(value), "challenger", name),
                pair(number(other), "champion", name),
                "-" if math.isnan(difference) else pair(f"{difference:+.4g}", "difference", name),
                verdict(name, difference, margin),
                ", ".join(limits),
            ]
        )
    header = ["metric", f"challenger {challenger.version}#"]
    if champion is None:
        return table("There is no champion to compare with", [*header, "limits"], [[*row[:2], row[-1]] for row in rows])
    header += [f"champion {champion.version}#", "difference#", "", "limits"]
    return table("On the same labelled rows", header, rows)


def verdict(name: str, difference: float, margin: dict[str, dict[str, float]]) -> str:
    """Return what a difference says: `better`, `worse`, or that it may be chance."""
    half = margin.get("difference", {}).get(name, float("nan"))
    if math.isnan(half) or math.isnan(difference):
        return ""
    if abs(difference) <= half:
        return "may be chance"
    return "better" if (difference > 0) == HIGHER_IS_BETTER[name] else "worse"


def disagreement(labels: pd.Series, challenger: Scored, champion: Scored | None) -> Iterable[Element]:
    """Yield where two versions differ: crosswise for classes, and as a distribution for numbers."""
    if champion is None or champion.prediction is None or challenger.prediction is None:
        return
    yield node("h2", "Where they disagree")
    column, kind = next(iter(PREDICTION.items()))
    ours, theirs = (
        scored.prediction[column].to_numpy() for scored in (challenger, champion) if scored.prediction is not None
    )
    if kind == "string":
        yield from crosswise(column, labels.to_numpy(), ours, theirs)
        return
    if set(labels.unique()) <= {0, 1}:
        most = int(labels.sum())
        highest = [
            (pd.Series(scores).rank(ascending=False, method="first") <= most).to_numpy() for scores in (ours, theirs)
        ]
        names = np.array(["below", f"top {most:,}"], dtype=object)
        yield from crosswise(
            f"the top {most:,} by {column}, as many as there are positives",
            *(names[chosen.astype(int)] for chosen in (labels.to_numpy() == 1, *highest)),
        )
    else:
        nearer = np.sign(np.abs(theirs - labels) - np.abs(ours - labels))
        yield node(
            "p",
            f"The challenger is nearer to the label on {np.mean(nearer > 0):.0%} of the rows, the champion on "
            f"{np.mean(nearer < 0):.0%}.",
        )
    yield figures([spread(column, ours - theirs)])


def crosswise(what: str, labels: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> Iterable[Element]:
    """Yield how often two versions say the same, and who is right where they do not."""
    differ = ours != theirs
    right = [int(np.sum(differ & (said == labels))) for said in (ours, theirs)]
    yield node(
        "p",
        f"By {what}: they differ on {differ.sum():,} of {len(labels):,} rows. There the challenger is right on "
        f"{right[0]:,}, the champion on {right[1]:,}.",
    )
    counts = pd.crosstab(ours, theirs)
    if max(counts.shape) <= MOST_CLASSES:
        header = ["challenger says", *(f"champion: {name}#" for name in counts.columns)]
        rows = [
            [str(name), *(number(count) for count in row)]
            for name, row in zip(counts.index, counts.to_numpy(), strict=True)
        ]
        yield table("Rows, by what each says", header, rows)


def spread(column: str, difference: np.ndarray) -> Element:
    """Return the figure of how far the predictions of two versions are apart."""
    finite = difference[np.isfinite(difference)]
    low, high = np.quantile(finite, [0.01, 0.99])
    edges = charts.ticks(float(low), float(high), 8)[1:-1]
    shares = np.bincount(np.searchsorted(edges, finite), minlength=len(edges) + 1) / len(finite)
    names = charts.bins({"edges": edges})[:-1]
    title = f"{column} of the challenger less that of the champion"
    return figure(f"{title}, share of the rows", charts.bars(f"{title} %", names, {"rows": shares.tolist()}))


def parts(found: list[Segment], champion: Scored | None) -> Iterable[Element]:
    """Yield the table of segments."""
    if not found:
        return
    worst = weakest(found)
    rows = [
        [
            segment.name,
            number(segment.rows),
            number(segment.challenger),
            number(segment.champion),
            "too few labels" if math.isnan(segment.challenger) else "",
        ]
        for segment in found
    ]
    yield node("h2", "Per segment")
    if worst:
        yield node("p", "Weakest" + (" beside the champion: " if champion else ": "), node("strong", worst), ".")
    yield node(
        "p",
        "A segment has fewer rows than the holdout, so its numbers are less sure. It is measured where it has as many "
        "labels as the gate asks of the holdout.",
        class_="faint",
    )
    header = ["segment", "rows#", "challenger#", "champion#", ""]
    yield table(words(MAIN_METRIC), header, rows)


def described(holdout: pd.DataFrame, rows: int) -> dict[str, str]:
    """Return what there is in the holdout, which was taken from so many `rows`, by label."""
    if holdout.empty:
        return {"holdout": "no rows"}
    labels, days = holdout[LABEL], holdout["event_date"]
    if labels.nunique() <= MOST_CLASSES:
        spread = ", ".join(f"{value}: {count:,}" for value, count in labels.value_counts().items())
    else:
        spread = f"{number(labels.min())} to {number(labels.max())}, median {number(labels.median())}"
    return {
        "days of the holdout": f"{days.min()} to {days.max()}",
        "rows": f"{len(holdout):,} of {rows:,}",
        words(LABEL): spread,
    }


def summary(margin: dict[str, dict[str, float]], found: list[Segment], sha256: str) -> str:
    """Return what `models show` tells of the page whose SHA-256 is given, as JSON that fits into a tag.

    `margins` holds, by metric, half of the interval of the challenger and of the difference.
    """
    halves = {
        name: [None if math.isnan(half) else float(f"{half:.2g}") for half in (own, between.get(name, float("nan")))]
        for between in [margin.get("difference", {})]
        for name, own in margin.get("challenger", {}).items()
    }
    while True:
        told = {"margins": halves, "weakest": weakest(found), "page_sha256": sha256}
        text = json.dumps(told, ensure_ascii=False)
        if len(text) <= LONGEST_TAG or not halves:
            return text
        halves.popitem()
