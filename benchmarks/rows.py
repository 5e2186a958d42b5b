"""What training, the gate and monitoring cost on the driver, at growing numbers of rows, with and without a limit."""

import json
import re
import tempfile
from argparse import ArgumentParser
from pathlib import Path

from measure import measure, print_table, render

STEPS = Path(__file__).with_name("rows_steps.py")
NO_LIMIT = 10**9


def step(project: Path, name: str, rows: int) -> dict[str, float]:
    """Run a step of rows_steps.py in the project's environment, and return what it reports."""
    result = measure("uv", "run", "--no-sync", "python", STEPS, name, str(rows), cwd=project)
    return json.loads(result.output.strip().splitlines()[-1])


def limit(project: Path, rows: int) -> None:
    """Set each `max_rows` of the project."""
    (path,) = project.glob("src/*/problem/config.yml")
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r"max_rows: \d+", f"max_rows: {rows}", text), encoding="utf-8")


def compare(project: Path, sizes: list[int], most: int) -> None:
    """Print a table with a line for each number of rows; the last but one without a limit, as the reference."""
    table: list[tuple[object, ...]] = [
        ("rows", "max_rows", *(f"{name}, {unit}" for name in ("train", "validate", "monitor") for unit in ("s", "GB")))
    ]
    for size in sizes:
        step(project, "fill", size)
        for limited in (most, NO_LIMIT) if size <= 10 * most else (most,):
            limit(project, limited)
            found = [step(project, name, size) for name in ("train", "validate", "monitor")]
            cells = [f"{value:.2f}" for each in found for value in (each["seconds"], each["peak"] / 1e9)]
            table.append((f"{size:,}", f"{limited:,}" if limited < NO_LIMIT else "none", *cells))
            print_table(table[0], table[-1])
    print_table(*table)


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=float, nargs="+", default=[1e5, 1e6, 1e7])
    parser.add_argument("--max-rows", type=float, default=1e6)
    parser.add_argument("--project", type=Path, help="a rendered project; default: a new one")
    arguments = parser.parse_args()
    sizes, most = [int(rows) for rows in arguments.rows], int(arguments.max_rows)
    if arguments.project:
        compare(arguments.project, sizes, most)
        return
    with tempfile.TemporaryDirectory() as folder:
        project = render(Path(folder))
        measure("uv", "sync", cwd=project)
        compare(project, sizes, most)


if __name__ == "__main__":
    main()
