"""`ml-template place`: copies to the top of a repository what a CI provider reads there alone.

A project that shares its repository is rendered for the place of these files. So they are only copied, and whoever
changes one changes that of the project.
"""

from pathlib import Path

import click

from .render import Record, git

# Each project that shares a repository has the same ones.
SHARED = {
    ".azuredevops/pull_request_template.md": ".azuredevops/pull_request_template.md",
    ".github/dependabot.yml": ".github/dependabot.yml",
    ".github/pull_request_template.md": ".github/pull_request_template.md",
    ".gitlab/merge_request_templates/Default.md": ".gitlab/merge_request_templates/Default.md",
    ".gitlab/repository.yml": ".gitlab-ci.yml",
    "renovate.json": "renovate.json",
}
WORKFLOWS = Path(".github/workflows")


def top_of(folder: Path) -> Path:
    """Return the top of the repository that a folder is in.

    Raises:
        click.ClickException: if it is in none.
    """
    found = git(folder, "rev-parse", "--show-toplevel")
    if found.returncode:
        raise click.ClickException(f"{folder.resolve()} is in no git repository. Type: git init")
    return Path(found.stdout.strip())


def copies(project: Path, slug: str) -> dict[str, Path]:
    """Return the files of a project that belong to the top of the repository, by their path there."""
    found = {copy: project / path for path, copy in SHARED.items()}
    found |= {f"{WORKFLOWS.as_posix()}/{slug}-{path.name}": path for path in (project / WORKFLOWS).glob("*.yml")}
    return {copy: path for copy, path in found.items() if path.is_file()}


def put(project: Path) -> list[str]:
    """Copy the files of a project to the top of its repository, and return the paths there that have changed.

    Workflows that the project no longer has are removed.

    Raises:
        click.ClickException: if it is the only project of its repository, or stands in another folder of it.
    """
    top, answers = top_of(project), Record.of(project).answers
    slug, folder = answers["project_slug"], answers.get("projects_folder", "")
    if not folder:
        raise click.ClickException(
            f"{project.resolve()} was made for a repository of its own. To move it into a folder of another one, type "
            "first: ml-template update --answer projects_folder=<folder>"
        )
    place = (Path(folder) / slug).as_posix()
    if (top / place).resolve() != project.resolve():
        raise click.ClickException(f"{project.resolve()} was made for the folder {place} of {top}. Move it there.")
    wanted = copies(project, slug)
    mine = f"working-directory: {place}\n".encode()
    changed = [
        other.relative_to(top).as_posix()
        for other in (top / WORKFLOWS).glob(f"{slug}-*.yml")
        if mine in other.read_bytes() and other.relative_to(top).as_posix() not in wanted
    ]
    for copy in changed:
        (top / copy).unlink()
    for copy, path in wanted.items():
        content = path.read_bytes()
        if not (top / copy).is_file() or (top / copy).read_bytes() != content:
            (top / copy).parent.mkdir(parents=True, exist_ok=True)
            (top / copy).write_bytes(content)
            changed.append(copy)
    return sorted(changed)


@click.command()
@click.argument("projects", nargs=-1, type=click.Path(exists=True, file_okay=False, path_type=Path))
def place(projects: tuple[Path, ...]) -> None:
    """Copy the pipelines of PROJECTS to the top of their repository, where the CI provider reads them."""
    for project in projects or (Path(),):
        for path in put(project):
            click.echo(path)
