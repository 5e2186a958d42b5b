import json
import re
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

from {{ cookiecutter.package_name }}.platform import comparison
from {{ cookiecutter.package_name }}.platform.comparison import Scored, Segment
from {{ cookiecutter.package_name }}.platform.config import Gate
from {{ cookiecutter.package_name }}.platform.data import UNIT
from {{ cookiecutter.package_name }}.platform.evaluate import MAIN_METRIC
from {{ cookiecutter.package_name }}.platform.registry import LONGEST_TAG
from {{ cookiecutter.package_name }}.problem.metrics import HIGHER_IS_BETTER
from {{ cookiecutter.package_name }}.problem.source import LABEL

GATE = Gate.model_construct(min_labels={"rows": 100}, minimum={}, maximum={}, max_regression={MAIN_METRIC: 0.02})


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rows be counted alone, and in one group."""
    monkeypatch.setattr(comparison, "CATEGORICAL", ["group"])
    monkeypatch.setattr(comparison.evaluate.metrics, "counts", lambda labels: {})


@pytest.fixture
def mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the main metric be the mean of the labels, of which the standard error is known."""
    monkeypatch.setattr(
        comparison.metrics,
        "quality",
        lambda labels, prediction: {MAIN_METRIC: float(np.mean(prediction["p"] * labels))},
    )


def holdout(rows: int, per_unit: int = 1) -> pd.DataFrame:
    """Return labels of a standard normal distribution, alike for all rows of a unit."""
    labels = np.random.default_rng(1).normal(size=rows // per_unit).repeat(per_unit)
    frame = pd.DataFrame({LABEL: labels, "event_date": date(2026, 3, 2)})
    frame["group"] = np.where(np.arange(rows) < rows / 2, "<b>one</b>", "other")
    return frame.assign(**{UNIT: np.arange(rows) // per_unit})


def scored(frame: pd.DataFrame, factor: float = 1.0, **metrics: float) -> Scored:
    return Scored("2", metrics, pd.DataFrame({"p": np.full(len(frame), factor)}))


@pytest.mark.usefixtures("mean")
@pytest.mark.parametrize(("rows", "per_unit"), [(1000, 1), (20_000, 1), (1000, 4), (20_000, 4)])
def test_a_margin_is_that_of_the_mean(rows: int, per_unit: int) -> None:
    frame = holdout(rows, per_unit)
    found = comparison.margins(frame, scored(frame), None)
    # The standard error of a mean of n independent labels is 1 / sqrt(n), and rows of one unit are one label.
    assert found["challenger"][MAIN_METRIC] == pytest.approx(1.96 / np.sqrt(rows / per_unit), rel=0.3)


@pytest.mark.usefixtures("mean")
def test_a_difference_is_surer_than_either() -> None:
    frame = holdout(1000)
    found = comparison.margins(frame, scored(frame, 1.0), scored(frame, 0.9))
    assert found["difference"][MAIN_METRIC] == pytest.approx(found["challenger"][MAIN_METRIC] / 10)


def test_a_metric_that_few_resamples_define_has_no_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    def quality(labels: pd.Series, prediction: pd.DataFrame) -> dict[str, float]:
        raise ValueError("Only one class is present")

    monkeypatch.setattr(comparison.metrics, "quality", quality)
    frame = holdout(100)
    assert np.isnan(comparison.margins(frame, scored(frame), None)["challenger"][MAIN_METRIC])


@pytest.mark.usefixtures("mean")
def test_segments_with_few_labels_are_not_judged() -> None:
    frame = holdout(180)
    found = comparison.segments(frame, scored(frame), None, GATE)
    assert [segment.rows for segment in found] == [90, 90]
    assert all(np.isnan(segment.challenger) for segment in found)
    assert comparison.weakest(found) == ""


def test_the_weakest_segment_falls_furthest_behind() -> None:
    better, worse = (0.8, 0.2) if HIGHER_IS_BETTER[MAIN_METRIC] else (0.2, 0.8)
    found = [
        Segment("low", 500, worse, worse),
        Segment("lost", 1500, 0.5, better),
        Segment("few", 50, float("nan"), float("nan")),
    ]
    assert comparison.weakest(found).startswith("lost: ")
    assert comparison.weakest(found).endswith(f" 0.5, champion {better}, 1,500 rows")
    alone = [Segment("low", 500, worse, float("nan")), Segment("high", 500, better, float("nan"))]
    assert comparison.weakest(alone).startswith("low: ")


def compared(
    objections: list[str], challenger: Scored, champion: Scored | None, frame: pd.DataFrame
) -> tuple[str, Any]:
    about = {"model": "a.b.c"} | comparison.described(frame, 5000)
    origin = {"git commit": "</td><script>alert(1)</script>"}
    html, told = comparison.compare(about, origin, objections, frame, challenger, champion, GATE)
    return html, json.loads(told)


def test_the_page_of_a_version_that_does_not_score_has_the_reason() -> None:
    frame = holdout(0)
    html, told = compared(["it raises <b>"], Scored("2"), None, frame)
    assert "Does not pass" in html and "it raises &lt;b&gt;" in html
    assert "<script" not in html
    assert told["margins"] == {} and told["weakest"] == ""


@pytest.mark.usefixtures("mean")
def test_the_first_version_is_compared_with_nothing() -> None:
    frame = holdout(1000)
    html, told = compared([], scored(frame, **{MAIN_METRIC: 0.5}), None, frame)
    assert "There is no champion to compare with" in html
    assert "Where they disagree" not in html and "may be chance" not in html
    (own, between), *_ = told["margins"].values()
    assert own > 0 and between is None


KINDS: dict[str, tuple[str, Any]] = {
    "binary": ("double", [0, 1]),
    "classes": ("string", ["a", "b", "c"]),
    "numbers": ("double", range(50)),
}


@pytest.mark.parametrize("alike", [True, False], ids=["alike", "different"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_page_shows_where_versions_disagree(monkeypatch: pytest.MonkeyPatch, kind: str, alike: bool) -> None:
    column, labels = KINDS[kind]
    monkeypatch.setattr(comparison, "PREDICTION", {"answer": column})
    monkeypatch.setattr(comparison.metrics, "quality", lambda labels, prediction: dict.fromkeys(HIGHER_IS_BETTER, 0.5))
    frame = holdout(1200).assign(**{LABEL: np.random.default_rng(1).choice(labels, 1200)})

    def predicted(seed: int) -> Scored:
        rng = np.random.default_rng(seed)
        answers = rng.permutation(frame[LABEL]) if column == "string" else rng.random(len(frame))
        return Scored(str(seed), {MAIN_METRIC: 0.5, "rows": 1200.0}, pd.DataFrame({"answer": answers}))

    html, told = compared([], predicted(3), predicted(3 if alike else 2), frame)

    assert "Passes" in html and "Where they disagree" in html
    if kind == "numbers":
        assert ("nearer to the label on 0% of the rows" in html) == alike
    else:
        assert ("they differ on 0 of" in html) == alike
        assert "Rows, by what each says" in html
    assert html.count("may be chance") == 1  # of the two rows only the metric is compared
    assert "at most 0.02 worse" in html
    assert told["weakest"].startswith("group = ")
    assert "<b>one" not in html
    assert not re.search(r"\bnan\b", html, re.IGNORECASE)
    assert told["margins"][MAIN_METRIC] == [0, 0]


def test_what_is_told_of_the_page_fits_into_a_tag() -> None:
    margin = {of: {f"metric_{number:050}": 0.123 for number in range(40)} for of in ("challenger", "difference")}
    segment = Segment("feature = " + "x" * 5000, 100, 0.1, 0.2)
    told = comparison.summary(margin, [segment], "0" * 64)
    assert 800 < len(told) <= LONGEST_TAG
    assert json.loads(told)["margins"]
