"""The life of a model whose code is deployed and which every environment trains for itself."""

from datetime import timedelta

from fraud_detection.problem.metrics import HIGHER_IS_BETTER

from .story import Story
from local.jobs import Laptop


def tell(machine: Laptop) -> None:
    """Run every step, and check after each what the pattern promises."""
    story = Story(machine)
    today = story.day_one
    story.step("A data scientist develops in dev")
    story.run("dev", "sample_data", today)
    story.run("dev", "training", today)
    story.run("dev", "inference", today, days=7)
    story.run("dev", "monitoring", today)
    story.promise(story.version("dev").tags["environment"] == "dev", "the champion of dev was trained in dev")

    story.step("The code is released to staging; a test trains on part of the data")
    story.run("staging", "integration_test", today)
    champion = story.version("staging")
    story.promise(champion.tags["environment"] == "staging", "the champion of staging was trained in staging")
    story.promise(float(champion.tags["training_fraction"]) < 1, "on a limited subset")
    story.promise(story.number("prod") is None, "prod has no model yet")

    story.step("The code is released to prod, which trains on all of its data")
    story.run("prod", "sample_data", today)
    story.run("prod", "training", today)
    story.run("prod", "inference", today, days=7)
    story.run("prod", "monitoring", today)
    champion = story.version("prod")
    story.promise(champion.tags["environment"] == "prod", "the champion of prod was trained in prod")
    story.promise(float(champion.tags["training_fraction"]) == 1, "on the full data")

    today += timedelta(days=7)
    story.step("A week later prod retrains on schedule, and scores every day")
    story.run("prod", "sample_data", today)
    story.run("prod", "training", today)
    story.run("prod", "inference", today, days=7)
    story.promise(story.number("prod") == 2, "version 2 is champion")
    story.promise(story.number("prod", "previous") == 1, "version 1 is previous")
    scored = story.table("prod", "predictions").count()
    story.run("prod", "inference", today, days=7)
    story.promise(story.table("prod", "predictions").count() == scored, "scoring a day again writes no row twice")

    today += timedelta(days=35)
    story.step("The world changes: monitoring sees the drift and starts training")
    story.run("prod", "sample_data", today, drift=True)
    story.run("prod", "inference", today, days=35)
    story.run("prod", "monitoring", today)
    story.promise(story.number("prod") == 3, "version 3, trained because of drift, is champion")
    (metric, higher_is_better), *_ = HIGHER_IS_BETTER.items()
    evaluations = story.table("prod", "evaluations").where(f"model_version = 3 AND metric = '{metric}'").collect()
    compared = {row["compared_version"]: row["value"] for row in evaluations}
    story.promise(
        (compared[3] > compared[2]) == higher_is_better,
        f"it is better: {metric.replace('_', ' ')} {compared[3]:.2f}, was {compared[2]:.2f}",
    )

    story.step("Somebody trains on next to nothing: the gate refuses the candidate")
    story.refused("prod", "training", today, "did not pass", training_fraction=0.01)
    story.promise(story.number("prod") == 3, "version 3 is still champion")
    story.promise(story.version("prod", "challenger").tags["validation_status"] == "FAILED", "version 4 is marked")

    story.step("Version 3 disappoints: the previous champion serves again")
    story.roll_back("prod", reason="too many complaints")
    story.promise(story.number("prod") == 2, "version 2 is champion again")
