import re
from datetime import date, timedelta
from html.parser import HTMLParser
from itertools import product
from typing import Any

import numpy as np
import pytest

from {{ cookiecutter.package_name }}.platform import charts, report
from {{ cookiecutter.package_name }}.platform.evaluate import MAIN_METRIC
from {{ cookiecutter.package_name }}.platform.page import COLOURS, STYLE, number

BASELINE: dict[str, Any] = {
    "number": {"edges": [10.0, 2500.0], "shares": [0.5, 0.3, 0.2, 0.0]},
    "text": {"values": ["x", "y"], "shares": [0.7, 0.3, 0.0]},
}
SHARES = {"number": np.array([0.9, 0.05, 0.05, 0.0]), "text": np.array([0.7, 0.25, 0.05])}
ALARM = report.Finding("psi", "number", 0.88, 0.25, alarm=True)
OTHER = report.Finding("psi", "text", 0.1, 0.25, alarm=False)
FINE = report.Finding("null_rate", "number", 0.0, 0.02, alarm=False)
TODAY = date(2026, 3, 16)


def page(*findings: report.Finding, title: str = "title", past: list[dict[str, Any]] | None = None) -> str:
    volumes = {"scored rows": {TODAY: 700}, "labels": {}}
    return report.render(title, [ALARM, OTHER, *findings], BASELINE, SHARES, past or [], volumes)


def measured(metric: str, *values: float | None, limit: float | None = 0.25, **other: Any) -> list[dict[str, Any]]:
    """Return rows of the table `monitoring_metrics`, one a week."""
    days = [TODAY - timedelta(weeks=len(values) - 1 - week) for week in range(len(values))]
    return [
        {"metric": metric, "feature": "", "value": value, "limit": limit, "alarm": False, "run_date": day}
        | {"model_version": 1}
        | other
        for day, value in zip(days, values, strict=True)
    ]


def test_the_page_needs_nothing_else() -> None:
    html = page(past=measured(MAIN_METRIC, 0.5, 0.6))
    assert not re.search(r"https?:|//|src=|<link|<script|@import|url\(", html.partition(">")[2])
    assert len(html) < 300_000


class Tags(HTMLParser):
    """Collects the names of tags and of their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names |= {tag, *(name for name, _ in attrs)}


def test_text_is_escaped() -> None:
    hostile = """</style><b>x</b>'" onload="y" """
    past = measured("psi", 0.1, feature=hostile)
    finding = report.Finding("psi", hostile, 0.1, 0.25, alarm=True)
    html = page(finding, title=f"{hostile}\ud800", past=past)
    tags = Tags()
    tags.feed(html)
    assert html.count("onload") >= 4  # title, alarm, caption and label
    assert not {"b", "onload"} & tags.names


def test_alarms_come_first_with_what_to_do() -> None:
    html = page(report.Finding("rows", "", 12.0, 500.0, alarm=True))
    assert "<strong>2 alarms</strong>" in html
    assert html.index("PSI of number is 0.88, limit 0.25<") < html.index("Over time")
    assert "Look whether the job inference ran" in html
    assert "<strong>No alarm</strong>" in report.render("", [OTHER], {}, {}, [], {})


@pytest.mark.parametrize("metric", ["rows", "null_rate", "psi", MAIN_METRIC])
def test_each_kind_of_alarm_has_its_own_advice(metric: str) -> None:
    kinds = {
        report.advice(report.Finding(kind, "number", 1.0, 0.5, True)) for kind in ("rows", "null_rate", "psi", "other")
    }
    assert len(kinds) == 4
    assert report.advice(report.Finding(metric, "number", 1.0, 0.5, True)) in kinds


def test_values_stand_beside_their_limits() -> None:
    assert '<td class="number">0.88</td><td class="number">0.25</td>' in page()


def test_nan_is_never_shown() -> None:
    nothing = report.Finding("error", "", float("nan"), None, alarm=False)
    html = page(nothing, past=measured(MAIN_METRIC, float("nan"), None) + measured("rows", 700.0, limit=float("nan")))
    assert '<td>error</td><td class="number">-</td><td class="number">-</td>' in html
    assert not re.search(r"\bnan\b", html, re.IGNORECASE)
    assert "too few labels have arrived" in html


def test_a_history_shows_versions_limit_and_alarms() -> None:
    past = measured(MAIN_METRIC, 0.5, 0.6, 0.1)
    past[1] |= {"model_version": 2}
    past[2] |= {"model_version": 2, "alarm": True}
    html = page(past=past)
    for text in (">v1<", ">v2<", "version 1 from 2026-03-02, version 2 from 2026-03-09", ">2 Mar<", ">16 Mar<"):
        assert text in html
    assert "alarms: 2026-03-16." in html and "alarm on 2026-03-16: 0.1" in html
    assert html.count('class="limit"') == 2  # one is that of the legend


def test_bins_have_names() -> None:
    assert charts.bins(BASELINE["number"]) == ["up to 10", "10 to 2,500", "above 2,500", "missing"]
    assert charts.bins(BASELINE["text"]) == ["x", "y", "missing or new"]
    assert "number, at training and now: up to 10 50.0 % and 90.0 %; 10 to 2,500 30.0 % and 5.0 %" in page()


def test_rare_categories_are_drawn_as_one() -> None:
    names, (shares,) = charts.fewer([*map(str, range(40)), "missing or new"], [0.02] * 39 + [0.2, 0.02])
    assert len(names) == charts.MOST_BINS
    assert names[-3:] == ["39", "30 others", "missing or new"]
    assert sum(shares) == pytest.approx(1)


@pytest.mark.parametrize(
    ("value", "text"), [(0.88, "0.88"), (14000.0, "14,000"), (3.0, "3"), (None, "-"), (-0.12345, "-0.1235")]
)
def test_numbers_are_written_for_people(value: float | None, text: str) -> None:
    assert number(value) == text


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, 1 to 21 (WCAG 2.2, definition of contrast ratio)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(("theme", "paper"), product(COLOURS, ["paper", "alarm-paper"]))
def test_everybody_can_read_it(theme: str, paper: str) -> None:
    colours = COLOURS[theme]
    for text in ("ink", "alarm"):
        assert contrast(colours[text], colours[paper]) >= 4.5, text
    assert contrast(colours["faint"], colours["paper"]) >= 4.5
    for shape in ("then", "now"):
        assert contrast(colours[shape], colours[paper]) >= 3, shape
    assert set(re.findall(r"var\(--([a-z-]+)\)", STYLE)) == colours.keys()


def test_screens_of_all_sizes_and_screen_readers_are_served() -> None:
    html = page(past=measured("psi", 0.1, 0.2, feature="number"))
    assert '<html lang="en">' in html and 'name="viewport" content="width=device-width' in html
    for svg in re.findall(r"<svg[^>]*>", html):
        assert 'aria-hidden="true"' in svg or ('role="img"' in svg and 'aria-label="' in svg), svg
