"""Task `drift_alarm`: tells people that the champion is out of date, where no training starts by itself."""

from ..platform.parameters import run


class DriftError(RuntimeError):
    """The champion no longer fits the data. Failing the run is what notifies the team."""


def drift_alarm(model: str, environment: str, trained_in: str) -> None:
    """Raise the alarm.

    Args:
        trained_in: the environment that trains for this one.

    Raises:
        DriftError: always; names the environment to train in.
    """
    raise DriftError(
        f"The data that {model} scores in {environment} has drifted, see the monitoring report. "
        f"No training starts by itself. Run the training job in {trained_in}, then release the new version from there."
    )


def main() -> None:
    run(drift_alarm)
