"""The monitoring report: one HTML page of what is monitored, now and over time, and what to do about each alarm."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from ..problem.metrics import HIGHER_IS_BETTER
from ..problem.model import PREDICTION
from . import charts
from .page import figure, figures, known, node, number, page, table, words

# A quarter holds twelve weekly releases, and labels that take two months; a chart on a phone shows no more days.
DAYS_BACK = 90


@dataclass(frozen=True)
class Finding:
    """One monitored number, its limit (None: there is none), and whether it is on the wrong side of it."""

    metric: str
    feature: str
    value: float
    limit: float | None
    alarm: bool

    @property
    def name(self) -> str:
        """What people call it."""
        return name_of(self.metric, self.feature)


def name_of(metric: str, feature: str) -> str:
    """Return what people call a monitored number."""
    called = {"rows": "scored rows", "null_rate": "null rate", "psi": "PSI"}.get(metric, words(metric))
    return f"{called} of {feature}" if feature else called


def advice(finding: Finding) -> str:
    """Return what to do about an alarm."""
    if finding.metric == "rows":
        return (
            "Look whether the job inference ran on each of these days, and whether the source had rows of them. "
            "No training starts on such data."
        )
    if finding.metric == "null_rate":
        return (
            "Look at this column in the source and in the table features: since which day is it empty, and who fills "
            "it? No training starts on such data."
        )
    if finding.metric == "psi" and finding.feature in PREDICTION:
        return (
            "The model answers otherwise than at training. Look at the features that moved most. If none did, compare "
            "with the labels as soon as they arrive."
        )
    if finding.metric == "psi":
        return (
            "Compare training and now below. If the source has changed (a unit, a code, a join), repair it. If the "
            "world has, a training on newer days learns it."
        )
    return (
        "Look whether the labels are complete and right, then at what drifted. A training on newer days learns what "
        "has changed; if the alarm comes back after it, the features do not show the change."
    )


def render(
    title: str,
    findings: list[Finding],
    baseline: dict[str, Any],
    shares: dict[str, np.ndarray],
    past: list[dict[str, Any]],
    volumes: dict[str, dict[date, int]],
) -> str:
    """Return the page as HTML text, with its charts inside.

    Args:
        baseline: from `drift.describe`.
        shares: from `drift.measure`, over the same bins.
        past: rows of the table `monitoring_metrics`, the oldest first, those of `findings` among them.
        volumes: rows per day, by what they are.
    """
    alarms = [finding for finding in findings if finding.alarm]
    return page(
        "Model monitoring",
        node("p", title),
        *summary(alarms),
        *over_time(past),
        *distributions(findings, baseline, shares),
        *per_day(volumes),
        node("h2", "All numbers"),
        table(
            "Of these days, with the limits of problem/config.yml",
            ["number", "value#", "limit#", ""],
            [
                [found.name, number(found.value), number(found.limit), node("strong", "alarm") if found.alarm else ""]
                for found in findings
            ],
            [finding.alarm for finding in findings],
        ),
    )


def summary(alarms: list[Finding]) -> Iterable[Element]:
    """Yield how many alarms there are, and what to do about each."""
    plural = "s" if len(alarms) != 1 else ""
    yield node("p", node("strong", f"{len(alarms)} alarm{plural}" if alarms else "No alarm"))
    alike: dict[str, list[str]] = {}
    for alarm in alarms:
        told = f"{alarm.name} is {number(alarm.value)}, limit {number(alarm.limit)}"
        alike.setdefault(advice(alarm), []).append(told)
    yield node(
        "ul",
        *(node("li", node("strong", "; ".join(told)), f". {what}", class_="alarm") for what, told in alike.items()),
    )
    if alarms:
        yield node("p", "docs/operations.md, section Drift alarm, says what follows by itself.")


def over_time(past: list[dict[str, Any]]) -> Iterable[Element]:
    """Yield one chart per number: performance first, then volume, drift and null rates."""
    numbers: dict[tuple[str, str], list[charts.Point]] = {}
    for row in past:
        if known(row["value"]) is not None:
            point = charts.Point(
                row["run_date"], row["value"], known(row["limit"]), bool(row["alarm"]), row["model_version"]
            )
            numbers.setdefault((row["metric"], row["feature"]), []).append(point)
    yield node("h2", "Over time")
    yield legend()
    for heading, group in {
        "Performance, on labels that had arrived": set(HIGHER_IS_BETTER),
        "Volume": {"rows"},
        "Drift (population stability index) from what the version that served was trained on": {"psi"},
        "Null rates": {"null_rate"},
    }.items():
        found = {name: points for name, points in numbers.items() if name[0] in group}
        closed = group == {"null_rate"} and not any(point.alarm for points in found.values() for point in points)
        yield node(
            "details",
            node("summary", heading),
            figures(trend(metric, feature, points) for (metric, feature), points in found.items())
            if found
            else node("p", "Nothing was measured yet: too few labels have arrived."),
            **({} if closed else {"open": "open"}),
        )


def trend(metric: str, feature: str, points: list[charts.Point]) -> Element:
    """Return the chart of one number over time."""
    name, last = name_of(metric, feature), points[-1]
    limit = "no limit" if last.limit is None else f"limit {number(last.limit)}"
    caption = f"{name}: {number(last.value)}, {limit}"
    return figure(caption, charts.history(name, points, metric not in HIGHER_IS_BETTER))


def legend() -> Element:
    """Return what the shapes of the charts over time mean."""
    shapes = {
        "measured on that day": node("path", d="M1 6H25", class_="line"),
        "limit": node("path", d="M1 6H25", class_="limit"),
        "alarm": charts.triangle(13, 7, "alarm"),
        "v2: version 2 serves, after a release or a rollback": node("path", d="M13 0V12", class_="release"),
    }
    return node("p", *(node("span", key(shape), f" {text}") for text, shape in shapes.items()), class_="faint keys")


def key(shape: Element) -> Element:
    """Return a shape to stand in a line of text."""
    return node("svg", shape, viewBox="0 0 26 12", class_="key", aria_hidden="true")


def distributions(
    findings: list[Finding], baseline: dict[str, Any], shares: dict[str, np.ndarray]
) -> Iterable[Element]:
    """Yield one chart per prediction, then one per feature: share per bin at training, and now."""
    moved = {finding.feature: finding for finding in findings if finding.metric == "psi"}
    colours = [key(node("rect", width=12, height=12, class_=kind)) for kind in ("then", "now")]
    yield node("h2", "Distributions")
    yield node(
        "p",
        *("Share of the rows in each bin, ", colours[0], "at training and ", colours[1], "now. "),
        "Numbers are cut at the deciles of training, so that most bins held 10 % of it.",
        class_="faint",
    )
    for heading, predicted in (("Predictions", True), ("Features", False)):
        yield node("h3", heading)
        yield figures(
            figure(
                f"{name}: PSI {number(moved[name].value)}, limit {number(moved[name].limit)}",
                charts.bars(
                    f"{name} %",
                    charts.bins(profile),
                    {"at training": profile["shares"], "now": shares[name].tolist()},
                ),
                moved[name].alarm,
            )
            for name, profile in baseline.items()
            if (name in PREDICTION) == predicted
        )


def per_day(volumes: dict[str, dict[date, int]]) -> Iterable[Element]:
    """Yield one chart per kind of rows: how many there are of each day."""
    yield node("h2", "Rows per day")
    yield figures(
        figure(
            f"{name}: {number(sum(days.values()))}",
            charts.bars(name, [str(day) for day in sorted(days)], {"rows": [days[day] for day in sorted(days)]}),
        )
        if days
        else node("p", f"{name}: none")
        for name, days in volumes.items()
    )
