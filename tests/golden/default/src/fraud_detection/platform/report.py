"""The monitoring report: one HTML page that needs nothing else."""

import base64
import html
import io
from dataclasses import dataclass
from string import Template
from typing import Any

import numpy as np
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Finding:
    """One monitored number, its limit, and whether it is on the wrong side of it."""

    metric: str
    feature: str
    value: float
    limit: float
    alarm: bool


PAGE = Template("""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>$title</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse } td, th { padding: .2rem .8rem; border-bottom: 1px solid #ddd; text-align: left }
td.number { text-align: right; font-variant-numeric: tabular-nums } tr.alarm { background: #fde8e8 }
img { max-width: 100% }
</style></head>
<body>
<h1>Model monitoring</h1>
<p>$title</p>
<p><strong>$summary</strong></p>
<table>
<tr><th>metric</th><th>feature</th><th>value</th><th>limit</th><th></th></tr>
$rows
</table>
<h2>Training (grey) and scored rows (blue), share per bin</h2>
<img alt="Distributions of each feature at training and now" src="data:image/png;base64,$plot">
</body>
</html>
""")


def render(title: str, findings: list[Finding], baseline: dict[str, Any], shares: dict[str, np.ndarray]) -> str:
    """Return the page as HTML text, with its plot inside.

    Args:
        baseline: from `drift.describe`.
        shares: from `drift.measure`, over the same bins.
    """
    alarms = sum(finding.alarm for finding in findings)
    rows = "\n".join(
        f"<tr{' class=alarm' if finding.alarm else ''}><td>{finding.metric}</td><td>{html.escape(finding.feature)}</td>"
        f'<td class="number">{finding.value:.4g}</td><td class="number">{finding.limit:g}</td>'
        f"<td>{'alarm' if finding.alarm else ''}</td></tr>"
        for finding in findings
    )
    return PAGE.substitute(
        title=html.escape(title),
        summary=f"{alarms} alarm{'s' if alarms != 1 else ''}" if alarms else "No alarm",
        rows=rows,
        plot=base64.b64encode(plot(baseline, shares)).decode(),
    )


def plot(baseline: dict[str, Any], shares: dict[str, np.ndarray]) -> bytes:
    """Return a PNG with one panel per feature."""
    columns = 3
    height = -(-len(baseline) // columns)
    figure = Figure(figsize=(4 * columns, 2.6 * height))
    # Fixed, because a layout that measures its texts draws everything twice.
    figure.subplots_adjust(left=0.05, right=0.98, bottom=0.03, top=0.95, hspace=0.25)
    for number, (name, profile) in enumerate(baseline.items(), start=1):
        axes = figure.add_subplot(height, columns, number)
        positions = np.arange(len(profile["shares"]))
        axes.bar(positions - 0.2, profile["shares"], width=0.4, color="#999999")
        axes.bar(positions + 0.2, shares[name], width=0.4, color="#2a6fbb")
        axes.set_title(name, fontsize=10)
        axes.set_xticks([])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return buffer.getvalue()
