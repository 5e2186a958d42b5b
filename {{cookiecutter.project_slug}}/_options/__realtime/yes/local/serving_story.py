"""What the lifecycle tells about the endpoint: an application that asks it, and releases that must not disturb it."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from {{ cookiecutter.package_name }} import models, registry, serving, tables
from {{ cookiecutter.package_name }}.ask_endpoint import ask
from {{ cookiecutter.package_name }}.features import LOOKBACK, compute_features

from .bundle import load_bundle
from .engine import STATE, open_session
from .serving import start

if TYPE_CHECKING:
    from .story import Story


def ask_for_days(story: Story, target: str, run_date: date, days: int) -> None:
    """Send the transactions of the `days` days before `run_date` to the endpoint of `target`, as applications do."""
    source = load_bundle(story.machine.root, target)["var"]["source_table"]
    spark = open_session(story.machine.root.resolve() / STATE / "lakehouse")
    first = run_date - timedelta(days=days)
    history = tables.read(spark, source).where(tables.days("event_time", first - LOOKBACK, run_date))
    rows = compute_features(history).where(tables.days("event_date", first, run_date)).toPandas()
    requests = list(ask(serving.endpoint_name(story.model(target)), rows))
    print(f"    {target} endpoint answers {len(rows)} transactions in {len(requests)} requests", flush=True)


def serves(story: Story, target: str, number: int | None) -> bool:
    """Tell whether the endpoint of `target` serves this version, and nothing else; an update may have failed."""
    return serving.describe(story.model(target)).startswith(f"version {number}: 100 % (READY")


def tell(story: Story, today: date) -> None:
    """Check all endpoints, and release a version whose container does not start."""
    story.step("Every endpoint serves the champion of its environment, also after the rollback")
    for target in models.TARGETS:
        if (number := story.number(target)) is not None:
            story.promise(serves(story, target, number), f"the endpoint of {target} serves version {number}")

    story.step("The container of a new version does not start: the version before serves on")
    champion = story.number("dev")
    newest, *_ = registry.versions(registry.connect(), story.model("dev"))
    number = 1 + int(newest.version)
    faults = start(story.machine.root).faults
    faults.do_not_start.add(str(number))
    story.run("dev", "sample_data", today)
    story.refused("dev", "training", today, f"version {champion} serves on")
    faults.do_not_start.clear()
    story.promise(story.number("dev") == champion, f"version {champion} is still champion of dev")
    story.promise(serves(story, "dev", champion), "and its endpoint serves it")
    ask_for_days(story, "dev", today, days=1)
