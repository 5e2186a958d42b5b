"""The life of a model that is trained once, in dev, and received by staging and prod."""

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
    story.step("A data scientist trains in dev")
    story.run("dev", "sample_data", today)
    story.run("dev", "integration_test", today)
    story.promise(story.number("dev") is None, "the integration test left no champion behind")
    story.run("dev", "training", today)
    story.run("dev", "inference", today, days=7)
    story.run("dev", "monitoring", today)
    story.promise(story.version("dev").tags["environment"] == "dev", "the champion of dev was trained in dev")

    story.step("The code is released to staging and prod: no model moves")
    story.deploy("staging")
    story.deploy("prod")
    story.promise(story.number("staging") is None and story.number("prod") is None, "a code release brought no model")
    story.run("staging", "sample_data", today)  # stands for the data that staging and prod have anyway
    story.run("prod", "sample_data", today)

    story.step("The first model release: staging accepts it, prod asks for approval")
    story.promote("staging", today)
    story.promise(story.version("staging").tags["environment"] == "dev", "staging serves what dev trained")
    story.stopped("prod", today, "waits for an approval")
    story.promise(story.number("prod") is None, "nothing serves without an approval")
    story.approve("prod", by="owner-of-prod")
    story.promote("prod", today)
    champion = story.version("prod")
    story.promise(champion.tags["environment"] == "dev", "the champion of prod was trained in dev")
    story.promise(champion.tags["source_model"] == story.model("staging"), "and received from staging")
    story.promise(champion.tags["approved_by"] == "owner-of-prod", "and names who approved it")
    story.run("prod", "inference", today, days=7)
    story.run("prod", "monitoring", today)

    story.step("The same release once more changes nothing")
    before = story.snapshot("prod")
    story.promote("prod", today)
    story.promise(story.snapshot("prod") == before, "no new version, no new row in the release log")

    today += timedelta(days=7)
    story.step("A new version; its release to prod breaks off and is repeated")
    for target in ("dev", "staging", "prod"):
        story.run(target, "sample_data", today)
    story.run("dev", "training", today)
    story.promote("staging", today)
    story.interrupted("prod", today, after="receive")
    story.promise(story.number("prod") == 1, "version 1 still serves")
    story.promote("prod", today, approved_by="owner-of-prod")
    story.promise(story.number("prod") == 2, "version 2 serves, received once")
    story.promise(story.number("prod", "previous") == 1, "version 1 is previous")
    story.run("prod", "inference", today, days=7)

    today += timedelta(days=35)
    story.step("The world changes: an alarm in prod, and an old version is refused")
    story.run("staging", "sample_data", today, drift=True)
    story.run("prod", "sample_data", today, drift=True)
    story.run("prod", "inference", today, days=35)
    story.refused("prod", "monitoring", today, "Run the training job in dev")
    story.run("dev", "sample_data", today)  # dev has not seen the new behaviour
    story.run("dev", "training", today)
    story.refused("staging", "promotion", today, "did not pass")
    story.promise(story.number("staging") == 2 and story.number("prod") == 2, "acceptance in staging stopped it")

    story.step("Version 2 disappoints: the previous champion serves again")
    story.roll_back("prod", reason="too many complaints")
    story.promise(story.number("prod") == 1, "version 1 is champion again")
{%- if cookiecutter.__realtime == "yes" %}

    serving.tell(story, today)
{%- endif %}
