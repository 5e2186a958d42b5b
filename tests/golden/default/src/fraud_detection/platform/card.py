"""The model card: what is known of a version, as Markdown, in the registry as the description of the version.

Its sections follow Mitchell et al., Model Cards for Model Reporting (FAT* 2019). It is written anew as a whole when a
step has learned something. It is for people, and no step reads it: whoever owns the model could write anything there.
"""

import json
import logging
from collections.abc import Iterator
from importlib.metadata import metadata
from typing import Any

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.tracking import MlflowClient

from ..problem.features import FEATURES
from ..problem.metrics import HIGHER_IS_BETTER
from ..problem.model import PREDICTION
from ..problem.source import LABEL
from . import registry
from .page import number, words

logger = logging.getLogger(__name__)

LONGEST = 5000  # characters, which MLflow's own database has room for; Unity Catalog takes more
ORIGIN = {
    "environment": "trained in",
    "trained_at": "trained at",
    "git_commit": "from commit",
    "training_run": "in run",
    "training_table": "on table",
    "training_table_version": "its version",
    "training_start": "first day",
    "training_end": "last day",
    "training_rows": "rows",
    "training_fraction": "fraction",
}


def write(client: MlflowClient, model: str, number: str) -> None:
    """Write the card of a version as its description. Only the owner of the model may: for others nothing happens."""
    version = registry.get(client, model, number)
    baseline = (Model.load(f"models:/{model}/{number}").metadata or {}).get("baseline")
    try:
        client.update_model_version(model, number, card(version, baseline))
    except MlflowException as error:
        if error.error_code != "PERMISSION_DENIED":
            raise
        logger.info("the description of version %s stays as it is: only the owner of %s writes it", number, model)


def card(version: ModelVersion, baseline: Any) -> str:
    """Return the card of `version`, at most LONGEST characters.

    Args:
        baseline: from the files of the version, which its source may have written.
    """
    sections = {
        f"{code(version.name)}, version {version.version}": purpose(),
        "Training": training(version.tags),
        "Test": tested(version.tags),
        "Approval": approval(version.tags),
        "Limits": limits(version.tags, baseline),
    }
    text = "\n\n".join(f"## {heading}\n\n" + "\n".join(lines) for heading, lines in sections.items())
    return text if len(text) <= LONGEST else text[: text.rindex("\n", 0, LONGEST - 2)] + "\n…"


def code(text: object) -> str:
    """Return a text that somebody else may have written as Markdown that shows it, and does nothing else."""
    shown = "".join(character if character.isprintable() else "?" for character in str(text)[:300])
    return "`" + (shown.replace("`", "'").replace("|", "/") or "-") + "`"


def purpose() -> Iterator[str]:
    """Yield what models of this project are for."""
    yield code(metadata(__name__.split(".")[0])["Summary"])
    yield ""
    answers = ", ".join(f"{code(name)} ({kind})" for name, kind in PREDICTION.items())
    yield f"It predicts {code(LABEL)} as {answers}, from {len(FEATURES)} features."


def training(tags: dict[str, str]) -> Iterator[str]:
    """Yield where a version comes from."""
    if "source_model" in tags:
        yield (
            f"Received from {code(tags['source_model'])}, version {code(tags.get('source_version'))}. "
            "What follows is what that environment says of it."
        )
        yield ""
    yield from (f"- {label}: {code(tags[name])}" for name, label in ORIGIN.items() if tags.get(name))


def tested(tags: dict[str, str]) -> Iterator[str]:
    """Yield what the gate of this environment has found."""
    if not {"validation_results", "validated_at"} <= tags.keys() or tags.get("validation_status") == "PENDING":
        yield "The gate of this environment has not decided yet."
        return
    results = json.loads(tags["validation_results"])
    told = json.loads(tags.get(registry.COMPARISON, "{}"))
    yield (
        f"The gate of this environment says {code(tags['validation_status'])}, at {code(tags['validated_at'])}, on "
        f"the newest {code(tags.get('holdout_rows'))} labelled rows."
    )
    if tags.get("validation_objections", "none") != "none":
        yield f"Objections: {code(tags['validation_objections'])}"
    yield ""
    for name in HIGHER_IS_BETTER:
        if name in results["metrics"]:
            own, _ = told.get("margins", {}).get(name, (None, None))
            half = f" ± {number(own)}" if own is not None else ""
            rival = results["champion"].get(name)
            beside = f", champion {results['champion_version']}: {number(rival)}" if rival is not None else ""
            yield f"- {words(name)}: {number(results['metrics'][name])}{half}{beside}"
    if told.get("weakest"):
        yield f"- weakest segment: {code(told['weakest'])}"
    yield f"- more: `comparison.html` in the run {code(tags.get('validation_run'))}"


def approval(tags: dict[str, str]) -> Iterator[str]:
    """Yield who answers for a version here."""
    if "approved_by" not in tags:
        yield "None is recorded yet."
        return
    yield f"By {code(tags['approved_by'])}, at {code(tags.get('approved_at'))}."
    if tags.get("approval_reason"):
        yield f"Reason: {code(tags['approval_reason'])}"


def limits(tags: dict[str, str], baseline: Any) -> Iterator[str]:
    """Yield what a version was not tested for, and the values that it has learned from."""
    yield (
        "It was tested on the newest labelled rows of one environment. Nobody has tested it on values outside these "
        "ranges, for groups of rows that the comparison does not list, or for another purpose."
    )
    yield ""
    yield "| feature | training values | null |"
    yield "|---|---|---|"
    for name in FEATURES:
        yield f"| {code(name)} | {' | '.join(learned(baseline, name))} |"


def learned(baseline: Any, name: str) -> tuple[str, str]:
    """Return what values of a feature a version was trained on, and which share of them was null."""
    try:
        profile = baseline[name]
        nulls = f"{float(profile['shares'][-1]):.1%}"
        if "edges" in profile:
            low, high = (number(float(profile["edges"][place])) for place in (0, -1))
            return f"8 of 10 between {low} and {high}", nulls
        values = [code(value) for value in profile["values"][:5]]
        more = len(profile["values"]) - len(values)
        return ", ".join(values) + (f" and {more} more" if more else ""), nulls
    except (LookupError, TypeError, ValueError, ArithmeticError):  # a source may have written anything
        return "not known", "not known"
