import re

import numpy as np

from fraud_detection.platform import report

BASELINE = {"number": {"edges": [10.0], "shares": [0.5, 0.5, 0.0]}}
SHARES = {"number": np.array([0.9, 0.1, 0.0])}
ALARM = report.Finding("psi", "number", 0.88, 0.25, alarm=True)
FINE = report.Finding("null_rate", "number", 0.0, 0.02, alarm=False)


def page(*findings: report.Finding, title: str = "title") -> str:
    return report.render(title, list(findings), BASELINE, SHARES)


def test_the_page_needs_nothing_else() -> None:
    html = page(ALARM, FINE)
    assert not re.search(r"https?://|<link|<script|@import", html)
    assert re.findall(r'src="([^"]{22})', html) == ["data:image/png;base64,"]
    assert len(html) > 5_000  # the plot is inside


def test_text_is_escaped() -> None:
    html = page(report.Finding("psi", "<b>x</b>", 0.1, 0.25, alarm=False), title="a < b & c")
    assert "&lt;b&gt;x&lt;/b&gt;" in html
    assert "a &lt; b &amp; c" in html
    assert "<b>x" not in html


def test_alarms_are_shown() -> None:
    assert "<strong>1 alarm</strong>" in page(ALARM, FINE)
    assert "<strong>2 alarms</strong>" in page(ALARM, ALARM)
    assert page(ALARM, FINE).count("class=alarm") == 1
    assert "<strong>No alarm</strong>" in page(FINE)
    assert "class=alarm" not in page(FINE)


def test_values_stand_beside_their_limits() -> None:
    assert '<td class="number">0.88</td><td class="number">0.25</td>' in page(ALARM)
