"""Small charts as SVG, drawn by hand: matplotlib takes seconds for so many, and a phone cannot show one large one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from xml.etree.ElementTree import Element

import numpy as np
from matplotlib.ticker import MaxNLocator

from .page import node
from .page import number as text

WIDTH = 340  # pixels; a page shows it larger or smaller, with everything in it
MOST_BINS = 12  # of more categories, the rarest are drawn as one


@dataclass(frozen=True)
class Point:
    """What was measured on a day, its limit (None: there is none), and the version that served."""

    day: date
    value: float
    limit: float | None
    alarm: bool
    version: int


def chart(height: float, label: str, *shapes: Element) -> Element:
    """Return an SVG that screen readers know by its `label`."""
    return node("svg", *shapes, viewBox=f"0 0 {WIDTH} {height:g}", role="img", aria_label=label)


def ticks(low: float, high: float, most: int = 4) -> list[float]:
    """Return round numbers with at most so many steps, the first not above `low` and the last not below `high`."""
    return [float(value) for value in MaxNLocator(most).tick_values(low, high)]


def triangle(x: float, y: float, title: str) -> Element:
    return node("path", node("title", title), d=f"M{x:.1f} {y - 5:.1f}l5 8h-10z", class_="mark")


def history(name: str, points: list[Point], from_zero: bool) -> Element:
    """Return a chart of one number over time: a line for each version, its limit dashed, alarms as triangles.

    Args:
        points: the oldest first.
        from_zero: whether the axis begins at 0.
    """
    left, right, top, bottom, height = 48, WIDTH - 14, 22, 128, 148
    first, last = points[0].day, points[-1].day
    numbers = [number for point in points for number in (point.value, point.limit) if number is not None]
    low, high = min([0.0, *numbers] if from_zero else numbers), max(numbers)
    room = 0 if high > low else abs(high) / 10 or 1  # for a line that neither rises nor falls
    steps = ticks(low - room * (not from_zero), high + room)

    def across(day: date) -> float:
        return left + (right - left) * ((day - first) / (last - first) if last > first else 0.5)

    def up(value: float) -> float:
        return bottom - (bottom - top) * (value - steps[0]) / (steps[-1] - steps[0])

    def place(point: Point, value: float) -> str:
        return f"{across(point.day):.1f} {up(value):.1f}"

    shapes = []
    for step in steps:
        shapes.append(node("path", d=f"M{left} {up(step):.1f}H{right}", class_="axis"))
        shapes.append(node("text", text(step), x=left - 6, y=f"{up(step) + 4:.1f}", text_anchor="end"))
    free = 0.0  # from here on there is room for a text
    for day in dict.fromkeys(points[round(where)].day for where in np.linspace(0, len(points) - 1, 5)):
        x = across(day)
        if day == last or free <= x <= across(last) - 60:
            free = x + 60
            anchor = "middle" if first == last else "start" if day == first else "end" if day == last else "middle"
            shapes.append(node("text", f"{day.day} {day:%b}", x=f"{x:.1f}", y=height - 4, text_anchor=anchor))

    begins = [0, *(number for number, (one, other) in enumerate(pairwise(points), 1) if one.version != other.version)]
    free = 0.0
    for begin in begins:
        x = across(points[begin].day)
        shapes.append(node("path", d=f"M{x:.1f} {top - 6}V{bottom}", class_="release"))
        if x >= free:
            free = x + 28
            anchor = "end" if x > right - 20 else "start"
            shapes.append(node("text", f"v{points[begin].version}", x=f"{x:.1f}", y=top - 9, text_anchor=anchor))

    if limited := [(point, point.limit) for point in points if point.limit is not None]:
        steps_of_limit = "L".join(place(point, limit) for point, limit in limited)
        line = f"M{left} {up(limited[0][1]):.1f}L{steps_of_limit}H{right}"
        shapes.append(node("path", d=line, class_="limit"))
    places = [place(point, point.value) for point in points]
    for begin, end in pairwise([*begins, len(points)]):
        shapes.append(node("path", d="M" + "L".join(places[begin:end]), class_="line"))
    shapes.append(node("path", d="".join(f"M{each}h0" for each in places), class_="dots"))
    alarms = [point for point in points if point.alarm]
    shapes += [
        triangle(across(point.day), up(point.value), f"alarm on {point.day}: {text(point.value)}") for point in alarms
    ]

    values = [point.value for point in points]
    served = ", ".join(f"version {points[begin].version} from {points[begin].day}" for begin in begins)
    label = (
        f"{name} from {first} to {last}: between {text(min(values))} and {text(max(values))}, last {text(values[-1])}; "
        f"{served}; alarms: {', '.join(str(point.day) for point in alarms) or 'none'}."
    )
    return chart(height, label, *shapes)


def bins(profile: dict[str, list]) -> list[str]:
    """Return the names of the bins of a baseline's `profile`, as `drift.bin_conditions` makes them."""
    if "values" in profile:
        return [*map(str, profile["values"]), "missing or new"]
    texts = [text(edge, 3) for edge in profile["edges"]]
    return [
        f"up to {texts[0]}",
        *(f"{low} to {high}" for low, high in pairwise(texts)),
        f"above {texts[-1]}",
        "missing",
    ]


def fewer(names: list[str], *shares: Sequence[float]) -> tuple[list[str], list[list[float]]]:
    """Return the bins with the largest shares and the last one, and between them all others as one."""
    if len(names) <= MOST_BINS:
        return names, [list(each) for each in shares]
    largest = np.argsort([-max(each) for each in zip(*shares, strict=True)][:-1], kind="stable")
    kept, rest = sorted(largest[: MOST_BINS - 2]), largest[MOST_BINS - 2 :]
    return [*(names[place] for place in kept), f"{len(rest)} others", names[-1]], [
        [*(each[place] for place in kept), sum(each[place] for place in rest), each[-1]] for each in shares
    ]


def bars(name: str, names: list[str], series: dict[str, Sequence[float]]) -> Element:
    """Return a chart of shares, or of counts, per bin: a bar for each of one or two series.

    Args:
        name: what is drawn; with a `%` at its end the numbers are shares in [0, 1].
        series: values per bin, by what they are; the last one is drawn in the colour of now.
    """
    shares = name.endswith("%")
    names, values = fewer(names, *series.values())
    factor = 100 if shares else 1
    left, right, top = 134, WIDTH - 44, 4
    bar = 8 if len(values) > 1 else 12
    step = bar * len(values) + 6
    bottom = top + step * len(names)
    places = ticks(0, max(max(each) for each in values) * factor or 1)

    def across(value: float) -> float:
        return left + (right - left) * value / places[-1]

    shapes = []
    for place in places:
        shapes.append(node("path", d=f"M{across(place):.1f} {top}V{bottom}", class_="axis"))
        axis = text(place) + (" %" if shares and place == places[-1] else "")
        shapes.append(node("text", axis, x=f"{across(place):.1f}", y=bottom + 14, text_anchor="middle"))
    told = []
    for row, label in enumerate(names):
        y = top + step * row + 3
        short = label if len(label) <= 20 else label[:19] + "…"
        shapes.append(node("text", short, x=left - 6, y=f"{y + bar * len(values) / 2 + 4:g}", class_="bin"))
        found = [each[row] * factor for each in values]
        for place, value in enumerate(found):
            kind = "now" if place == len(values) - 1 else "then"
            size = {"x": left, "y": y + bar * place, "width": f"{across(value) - left:.1f}", "height": bar}
            shapes.append(node("rect", class_=kind, **size))
        end = f"{found[-1]:.1f} %" if shares else text(found[-1])
        shapes.append(node("text", end, x=f"{across(max(found)) + 4:.1f}", y=f"{y + bar * len(values) - 1:g}"))
        told.append(f"{label} " + " and ".join(f"{value:.1f} %" if shares else text(value) for value in found))
    label = f"{name.rstrip(' %')}, {' and '.join(series)}: {'; '.join(told)}"
    return chart(bottom + 20, label, *shapes)
