"""Batch scoring: the project's `predict` task against a plain call of the same model on the same rows."""

import json
import tempfile
from argparse import ArgumentParser
from pathlib import Path

from measure import Measurement, measure, print_table, render

STEPS = Path(__file__).with_name("scoring_steps.py")


def step(project: Path, *arguments: object) -> tuple[Measurement, float]:
    """Run a step of scoring_steps.py in a process of its own, in the project's environment.

    Returns:
        The measurement of the process, and the seconds that the step itself reports.
    """
    result = measure("uv", "run", "--no-sync", "python", STEPS, *map(str, arguments), cwd=project)
    return result, float(json.loads(result.output.strip().splitlines()[-1])["seconds"])


def fastest(project: Path, name: str, size: int, times: int) -> tuple[Measurement, float]:
    """Return the fastest of `times` runs: other work on the machine only ever slows one down."""
    return min((step(project, name, size) for _ in range(times)), key=lambda run: run[1])


def compare(project: Path, sizes: list[int], times: int) -> None:
    rows: list[tuple[object, ...]] = [
        ("rows", "predict, s", "rows/s", "peak GB", "direct call, s", "rows/s", "peak GB", "ratio")
    ]
    for size in sizes:
        step(project, "generate", size)
        task, task_seconds = fastest(project, "predict", size, times)
        call, call_seconds = fastest(project, "direct", size, times)
        rows.append(
            (
                f"{size:,}",
                *(f"{task_seconds:.2f}", f"{size / task_seconds:,.0f}", task.gigabytes),
                *(f"{call_seconds:.2f}", f"{size / call_seconds:,.0f}", call.gigabytes),
                f"{call_seconds / task_seconds:.2f}",
            )
        )
    print_table(*rows)


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=float, nargs="+", default=[1e5, 1e6, 1e7])
    parser.add_argument("--times", type=int, default=3, help="runs of each measurement, of which the fastest counts")
    parser.add_argument("--project", type=Path, help="a rendered project with a champion in dev; default: a new one")
    arguments = parser.parse_args()
    sizes = [int(rows) for rows in arguments.rows]
    if arguments.project:
        compare(arguments.project, sizes, arguments.times)
        return
    with tempfile.TemporaryDirectory() as folder:
        project = render(Path(folder))
        measure("uv", "sync", cwd=project)
        for job in ("sample_data", "training"):
            measure("uv", "run", "python", "-m", "local", "run", "dev", job, cwd=project)
        compare(project, sizes, arguments.times)


if __name__ == "__main__":
    main()
