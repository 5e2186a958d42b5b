"""Stands in for `gh`, `glab` and `az`, as far as `python -m environments` calls them: passes a request on over HTTP.

It talks to the address in SERVICES, notes its arguments in the file CALLS, and says what went wrong in the words of
that command. Where the real `gh` is on the PATH, a test takes that.
"""

import os
import sys
import urllib.error
import urllib.request
from argparse import ArgumentParser
from pathlib import Path
from urllib.parse import urlencode


def main() -> None:
    name = sys.argv[1]
    parser = ArgumentParser(prog=name)
    parser.add_argument("verb", choices=["api", "rest"])
    parser.add_argument("path", nargs="?")
    parser.add_argument("--method", required=True)
    parser.add_argument("--input", choices=["-"])
    parser.add_argument("--body", choices=["@-"])
    parser.add_argument("--header")
    parser.add_argument("--hostname")
    parser.add_argument("--resource")
    parser.add_argument("--url")
    parser.add_argument("--uri-parameters", nargs="+", default=[])
    with Path(os.environ["CALLS"]).open("a", encoding="utf-8") as calls:
        calls.write(" ".join(sys.argv[1:]) + "\n")
    arguments = parser.parse_intermixed_args(sys.argv[2:])
    body = sys.stdin.buffer.read() if arguments.input or arguments.body else None
    path = arguments.path or arguments.url.removeprefix("https://dev.azure.com/")
    if arguments.uri_parameters:
        path += "?" + urlencode([tuple(text.split("=", 1)) for text in arguments.uri_parameters])
    prefix = "/api/v4/" if name == "glab" else "/"
    request = urllib.request.Request(os.environ["SERVICES"] + prefix + path, data=body, method=arguments.method)
    try:
        with urllib.request.urlopen(request) as answer:
            sys.stdout.buffer.write(answer.read())
    except urllib.error.HTTPError as error:
        sys.stdout.buffer.write(error.read())
        sys.exit(f"{name}: {error.reason} (HTTP {error.code})")


if __name__ == "__main__":
    main()
