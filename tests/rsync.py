"""Stands in for `rsync` where gitlab-ci-local calls it, so that no machine needs one.

It knows the calls that gitlab-ci-local makes for jobs without a container, and refuses any other:

    rsync -a --delete-excluded --delete --exclude-from=FILE --exclude NAME/ ./ DESTINATION/
    rsync -a SOURCE/. DESTINATION
    rsync --exclude 'NAME/**' -Ra PATH ... DESTINATION/.    (PATH is kept below the destination; none copies nothing)
"""

import os
import shutil
import stat
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path, PurePosixPath


def excluding(patterns: list[str]) -> Callable[[str], bool]:
    """Return whether a path below the source, such as `docs/index.md`, is left out.

    A pattern that begins with a slash is such a path, any other is how one ends. Wildcards are not known.
    """
    plain = [pattern.removesuffix("**") for pattern in patterns]
    if wild := [pattern for pattern in plain if set("*?[") & set(pattern)]:
        sys.exit(f"rsync: the patterns {wild} are not known here")
    paths = {pattern.strip("/") for pattern in plain if pattern.startswith("/")}
    ends = tuple("/" + pattern.strip("/") for pattern in plain if not pattern.startswith("/"))
    return lambda path: path in paths or f"/{path}".endswith(ends)


def copy_file(source: Path, destination: Path) -> None:
    if source.is_symlink() or stat.S_ISREG(source.stat().st_mode):
        destination.unlink(missing_ok=True)  # git's objects cannot be written to
        shutil.copy2(source, destination, follow_symlinks=False)


def copy_folder(
    source: Path, destination: Path, excluded: Callable[[str], bool], delete: bool = False, below: str = ""
) -> None:
    """Copy what is in `source`, which is `below` in what is copied; `delete` what else is in `destination`."""
    destination.mkdir(parents=True, exist_ok=True)
    kept = [entry for entry in sorted(source.iterdir()) if not excluded(below + entry.name)]
    if delete:
        for entry in destination.iterdir():
            if entry.name not in {one.name for one in kept}:
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    for entry in kept:
        if entry.is_dir() and not entry.is_symlink():
            copy_folder(entry, destination / entry.name, excluded, delete, f"{below}{entry.name}/")
        else:
            copy_file(entry, destination / entry.name)


def main() -> None:
    parser = ArgumentParser(prog="rsync", allow_abbrev=False)
    parser.add_argument("-a", action="store_true", required=True)
    parser.add_argument("-R", dest="relative", action="store_true")
    parser.add_argument("--delete", action="store_true")
    parser.add_argument("--delete-excluded", action="store_true")
    parser.add_argument("--exclude", action="append", default=[])
    parser.add_argument("--exclude-from", default=os.devnull)
    parser.add_argument("paths", nargs="+")
    given = parser.parse_args()
    *sources, last = given.paths
    destination = Path(last)
    patterns = [*given.exclude, *Path(given.exclude_from).read_text(encoding="utf-8").splitlines()]
    excluded = excluding(patterns)
    if given.delete != given.delete_excluded:
        sys.exit(f"rsync: {sys.argv[1:]} is not known here")
    if given.relative:
        for source in map(PurePosixPath, sources):
            if source.is_absolute() or ".." in source.parts:
                sys.exit(f"rsync: the source {source} is not known here")
            (destination / source.parent).mkdir(parents=True, exist_ok=True)
            if Path(source).is_dir():
                copy_folder(Path(source), destination / source, excluded, below=f"{source}/")
            else:
                copy_file(Path(source), destination / source)
    elif len(sources) == 1 and sources[0].endswith(("/", "/.")):
        copy_folder(Path(sources[0]), destination, excluded, given.delete)
    else:
        sys.exit(f"rsync: {sys.argv[1:]} is not known here")


if __name__ == "__main__":
    main()
