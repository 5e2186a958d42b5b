"""The command line `ml-template`."""

import click

from .fleet import fleet
from .new import check_organisation, new
from .place import place
from .policies import policies
from .update import update


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Make and keep machine learning projects on Databricks."""


main.add_command(fleet)
main.add_command(policies)
main.add_command(new)
main.add_command(check_organisation)
main.add_command(place)
main.add_command(update)


if __name__ == "__main__":
    main(prog_name="ml-template")
