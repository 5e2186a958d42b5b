"""Stands in for `unzip -q -o ARCHIVE`, so that no machine needs the program. It refuses any other option."""

from argparse import ArgumentParser
from pathlib import Path
from zipfile import ZipFile


def main() -> None:
    parser = ArgumentParser(prog="unzip", allow_abbrev=False)
    parser.add_argument("-q", action="store_true", required=True)
    parser.add_argument("-o", action="store_true", required=True)
    parser.add_argument("archive")
    with ZipFile(parser.parse_args().archive) as archive:
        for entry in archive.infolist():
            Path(archive.extract(entry)).chmod(entry.external_attr >> 16)


if __name__ == "__main__":
    main()
