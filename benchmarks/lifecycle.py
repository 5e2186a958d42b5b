"""How long a new project takes to its green tests, and what its lifecycle costs."""

import tempfile
from pathlib import Path

from measure import measure, print_table, render


def main() -> None:
    rows: list[tuple[object, ...]] = [("step", "wall time, s", "peak memory, GB")]
    with tempfile.TemporaryDirectory() as folder:
        project = render(Path(folder))
        sync = measure("uv", "sync", cwd=project)
        tests = measure("uv", "run", "pytest", "-q", cwd=project)
        lifecycle = measure("uv", "run", "python", "-m", "local", "lifecycle", cwd=project)
    for name, result in (("uv sync", sync), ("uv run pytest", tests), ("lifecycle", lifecycle)):
        rows.append((name, f"{result.seconds:.1f}", result.gigabytes))
    rows.insert(3, ("rendered project to green tests", f"{sync.seconds + tests.seconds:.1f}", ""))
    print_table(*rows)
    print(tests.output.strip().splitlines()[-1])


if __name__ == "__main__":
    main()
