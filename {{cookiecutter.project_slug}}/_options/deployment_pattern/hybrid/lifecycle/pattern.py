"""The life of a model that staging trains on all production data, and that prod receives."""

from datetime import timedelta

{% if cookiecutter.__realtime == "yes" -%}
from . import serving
{% endif -%}
from .releases import ReleaseStory
from local.jobs import Laptop


def tell(machine: Laptop) -> None:
    """Run every step, and check after each what the pattern promises."""
    story = ReleaseStory(machine)
    today = story.day_one
    story.step("A data scientist develops in dev")
    story.run("dev", "sample_data", today)
    story.run("dev", "training", today)
    story.run("dev", "inference", today, days=7)
    story.run("dev", "monitoring", today)
    story.promise(story.version("dev").tags["environment"] == "dev", "the champion of dev was trained in dev")

    story.step("The code is released to staging; its test uses throw-away names")
    story.run("staging", "integration_test", today)
    story.promise(story.number("staging") is None, "the test left no champion behind")

    story.step("Staging trains the model that ships, on the full production data")
    story.run("prod", "sample_data", today)  # stands for the data that prod has anyway
    story.run("staging", "training", today)
    champion = story.version("staging")
    story.promise(champion.tags["training_table"].startswith(story.catalog("prod")), "it read the table of prod")
    story.promise(float(champion.tags["training_fraction"]) == 1, "all of it")
    story.promise(story.number("prod") is None, "prod has no model yet")

    story.step("The code is released to prod: no model moves")
    story.deploy("prod")
    story.promise(story.number("prod") is None, "a code release brought no model")

    story.step("The first model release: prod receives, tests, asks for approval")
    story.stopped("prod", today, "waits for an approval")
    story.promise(story.number("prod") is None, "nothing serves without an approval")
    story.approve("prod", by="owner-of-prod")
    story.promote("prod", today)
    champion = story.version("prod")
    story.promise(champion.tags["environment"] == "staging", "the champion of prod was trained in staging")
    story.promise(champion.tags["approved_by"] == "owner-of-prod", "and names who approved it")
    story.run("prod", "inference", today, days=7)
    story.run("prod", "monitoring", today)

    story.step("The same release once more changes nothing")
    before = story.snapshot("prod")
    story.promote("prod", today)
    story.promise(story.snapshot("prod") == before, "no new version, no new row in the release log")

    today += timedelta(days=7)
    story.step("A week later staging retrains; a release breaks off, is repeated")
    story.run("prod", "sample_data", today)
    story.run("staging", "training", today)
    story.interrupted("prod", today, after="receive")
    story.promise(story.number("prod") == 1, "version 1 still serves")
    story.promote("prod", today, approved_by="owner-of-prod")
    story.promise(story.number("prod") == 2, "version 2 serves, received once")
    story.promise(story.number("prod", "previous") == 1, "version 1 is previous")
    story.run("prod", "inference", today, days=7)

    today += timedelta(days=35)
    story.step("The world changes: an alarm in prod, and staging trains for it")
    story.run("prod", "sample_data", today, drift=True)
    story.run("prod", "inference", today, days=35)
    story.refused("prod", "monitoring", today, "Run the training job in staging")
    story.promise(story.number("prod") == 2, "prod trained nothing")
    story.run("staging", "training", today)
    story.promote("prod", today, approved_by="owner-of-prod")
    story.promise(story.number("prod") == 3, "version 3, trained in staging, serves")

    story.step("Somebody trains on next to nothing: staging and prod refuse it")
    story.refused("staging", "training", today, "did not pass", training_fraction=0.01)
    number = story.number("staging", "challenger")
    story.stopped("prod", today, "release one that PASSED", version=str(number), approved_by="owner-of-prod")
    story.promise(story.number("prod") == 3, "version 3 still serves")

    story.step("Version 3 disappoints: the previous champion serves again")
    story.roll_back("prod", reason="too many complaints")
    story.promise(story.number("prod") == 2, "version 2 is champion again")
{%- if cookiecutter.__realtime == "yes" %}

    serving.tell(story, today)
{%- endif %}
