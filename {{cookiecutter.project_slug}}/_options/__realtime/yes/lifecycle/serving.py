"""What the lifecycle tells about the endpoint: releases must not disturb the application that queries it."""

from datetime import date

from {{ cookiecutter.package_name }} import models
from {{ cookiecutter.package_name }}.platform import registry, serving

from .story import Story
from local.queries import query_days
from local.serving import start


def serves(story: Story, target: str, number: int | None) -> bool:
    """Tell whether the endpoint of `target` serves this version, and nothing else; an update may have failed."""
    return serving.describe(story.model(target)).startswith(f"version {number}: 100 % (READY")


def tell(story: Story, today: date) -> None:
    """Check all endpoints, and release a version whose container does not start."""
    story.step("Every endpoint serves the champion, also after the rollback")
    for target in models.TARGETS:
        if (number := story.number(target)) is not None:
            story.promise(serves(story, target, number), f"the endpoint of {target} serves version {number}")

    story.step("A container does not start: the version before goes on serving")
    champion = story.number("dev")
    newest, *_ = registry.versions(registry.connect(), story.model("dev"))
    number = 1 + int(newest.version)
    faults = start(story.machine.root).faults
    faults.do_not_start.add(str(number))
    story.run("dev", "sample_data", today)
    story.refused("dev", "training", today, f"version {champion} goes on serving")
    faults.do_not_start.clear()
    story.promise(story.number("dev") == champion, f"version {champion} is still champion of dev")
    story.promise(serves(story, "dev", champion), "and its endpoint serves it")
    query_days(story.machine.root, "dev", today, days=1)
