"""HTML pages that need nothing else: light, readable on a phone, and with every text escaped."""

import math
from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element, tostring

# Text has a contrast of 4.5 to what it stands on, and shapes one of 3: WCAG 2.2, success criteria 1.4.3 and 1.4.11.
COLOURS = {
    "light": {
        **{"paper": "#ffffff", "ink": "#1f2328", "faint": "#59636e", "rule": "#d1d9e0"},
        **{"then": "#818b98", "now": "#0969da", "alarm": "#b3261e", "alarm-paper": "#fdecea"},
    },
    "dark": {
        **{"paper": "#14181d", "ink": "#e6edf3", "faint": "#9ba6b2", "rule": "#3d444d"},
        **{"then": "#7d8894", "now": "#58a6ff", "alarm": "#ff8a80", "alarm-paper": "#3b1d1d"},
    },
}


def _variables(theme: str) -> str:
    return ":root {" + "; ".join(f"--{name}: {value}" for name, value in COLOURS[theme].items()) + "}"


STYLE = (
    f"""
{_variables("light")}
@media (prefers-color-scheme: dark) {_variables("dark").join("{}")}
"""
    + """
:root { color-scheme: light dark; color: var(--ink); background: var(--paper) }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.2rem; margin-top: 2rem } p, li { max-width: 45rem }
h1, p, li, figcaption { overflow-wrap: anywhere }
table { border-collapse: collapse } caption { text-align: left; color: var(--faint) }
td, th { padding: .25rem .6rem; border-bottom: 1px solid var(--rule); text-align: left; min-width: 5rem }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.wide { overflow-x: auto; margin: .8rem 0 } .faint { color: var(--faint) }
.alarm { background: var(--alarm-paper) } .alarm strong { color: var(--alarm) }
li.alarm { padding: .4rem .6rem; margin-bottom: .5rem } ul { padding-left: 1.2rem }
.figures { display: grid; gap: 1.2rem; align-items: start }
.figures { grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)) }
figure { margin: 0 } figcaption { font-size: .9rem } svg { display: block; width: 100%; max-width: 28rem; height: auto }
svg text { font-size: 11px; fill: var(--ink) } svg .bin { font-size: 10px; text-anchor: end }
.key { display: inline; width: 1.6rem; vertical-align: middle }
.keys span { display: inline-block; margin-right: 1rem } details { margin: 1rem 0 }
summary { font-weight: bold; cursor: pointer; margin-bottom: .5rem }
.then { fill: var(--then) } .now { fill: var(--now) } .mark { fill: var(--alarm) } .axis { stroke: var(--rule) }
.line { stroke: var(--now); stroke-width: 1.5; fill: none } .dots { stroke: var(--now); stroke-width: 5 }
.dots { stroke-linecap: round } .limit { stroke: var(--alarm); stroke-dasharray: 5 3; fill: none }
.release { stroke: var(--faint); stroke-dasharray: 1 2 }
"""
)


def node(tag: str, *children: Element | str, **attributes: object) -> Element:
    """Return an element. Whatever a text holds, it stays text: it is escaped when the page is written.

    Args:
        attributes: `class_` is the attribute `class`, and `aria_label` is `aria-label`.
    """
    found = Element(tag, {name.strip("_").replace("_", "-"): str(value) for name, value in attributes.items()})
    for child in children:
        if isinstance(child, Element):
            found.append(child)
        elif len(found):
            found[-1].tail = (found[-1].tail or "") + child
        else:
            found.text = (found.text or "") + child
    return found


def page(title: str, *content: Element) -> str:
    """Return an HTML page with `title` as its heading."""
    head = node(
        "head",
        node("meta", charset="utf-8"),
        node("meta", name="viewport", content="width=device-width, initial-scale=1"),
        node("title", title),
        node("style", STYLE),
    )
    html = node("html", head, node("body", node("main", node("h1", title), *content)), lang="en")
    # Half a character, which JSON can hold, has no bytes.
    return "<!doctype html>\n" + tostring(html, "unicode", method="html").encode(errors="replace").decode()


def table(
    caption: str, header: Sequence[str], rows: Iterable[Sequence[Element | str]], alarms: Sequence[bool] = ()
) -> Element:
    """Return a table that scrolls by itself where it is wider than the screen.

    Args:
        header: its columns; those whose name ends with `#` hold numbers.
        alarms: which rows are emphasised.
    """
    kinds = [{"class_": "number"} if name.endswith("#") else {} for name in header]
    names = [node("th", name.rstrip("#"), scope="col", **kind) for name, kind in zip(header, kinds, strict=True)]
    body = [
        node(
            "tr",
            *(node("td", cell, **kind) for cell, kind in zip(row, kinds, strict=True)),
            **({"class_": "alarm"} if number < len(alarms) and alarms[number] else {}),
        )
        for number, row in enumerate(rows)
    ]
    found = node("table", node("caption", caption), node("thead", node("tr", *names)), node("tbody", *body))
    return node("div", found, class_="wide", tabindex=0, role="region", aria_label=caption)


def known(value: float | None) -> float | None:
    """Return a number, None also for what is none, such as NaN."""
    return value if value is not None and math.isfinite(value) else None


def number(value: float | None, digits: int = 4) -> str:
    """Return a number as people read it, with so many significant digits; a dash where there is none."""
    if (found := known(value)) is None:
        return "-"
    return f"{found:,.0f}" if abs(found) >= 1000 or found == round(found) else f"{found:.{digits}g}"


def words(name: str) -> str:
    """Return the name of a metric without underscores."""
    return name.replace("_", " ")


def figures(found: Iterable[Element]) -> Element:
    """Return figures side by side, as many as the screen is wide for."""
    return node("div", *found, class_="figures")


def figure(caption: str, chart: Element, alarm: bool = False) -> Element:
    """Return a chart with its caption."""
    if not alarm:
        return node("figure", node("figcaption", caption), chart)
    return node("figure", node("figcaption", caption, node("strong", " (alarm)")), chart, class_="alarm")
