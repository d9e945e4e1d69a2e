"""The texts of `files/`, filled in for a dbt project."""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from slugify import slugify

from dbtpod.init.survey import Survey

IGNORE_FILE = "Dockerfile.dockerignore"
# A release's name is at most 53 characters, and the chart's objects are named after it.
_LONGEST_NAME = 40
# What has a meaning in a pattern, and what would be taken off or for a comment at its ends.
_NOT_PLAIN = re.compile(r"[*?\[\]\\\x00-\x1f]|^[#!\s]|\s$")

_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("files")),
    undefined=StrictUndefined,
    # Not Jinja's own: the files have {{ }} of Prefect and of GitHub.
    block_start_string="[%",
    block_end_string="%]",
    variable_start_string="[[",
    variable_end_string="]]",
    comment_start_string="[#",
    comment_end_string="#]",
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701
)


@dataclass(frozen=True)
class Choices:
    """What is decided once for a repository; the version is that of the templates."""

    version: str
    # What the objects on the cluster and on the server are named after: it stays when the dbt project is renamed.
    name: str
    timezone: str
    # The branch of which each commit is deployed.
    branch: str


def name(dbt_project: str) -> str:
    """Make a name that Kubernetes, Helm and registries accept of a dbt project's.

    >>> name("Jaffle_Shop")
    'jaffle-shop'
    """
    plain = slugify(dbt_project, max_length=_LONGEST_NAME)
    # A Service's name begins with a letter, and `on` alone is no text in YAML.
    is_name = plain[:1].isalpha() and isinstance(yaml.safe_load(plain), str)
    return plain if is_name else f"dbt-{plain}".strip("-")


def render(survey: Survey, choices: Choices, place: PurePosixPath | None) -> dict[str, str]:
    """Give the text of each file, by its path from the folder, which is at `place` in a git repository or in none."""
    folder = place or PurePosixPath()
    workflow = f".github/workflows/{f'dbtpod-{slugify(str(folder))}' if folder.parts else 'dbtpod'}.yml"
    paths = {
        "prefect.yaml": "prefect.yaml",
        "Dockerfile": "Dockerfile",
        IGNORE_FILE: IGNORE_FILE,
        "values.yaml": "values.yaml",
        f"{'../' * len(folder.parts)}{workflow}": "dbtpod.yml",
    }
    given = {
        **vars(choices),
        "survey": survey,
        "tag": tag(place),
        "pattern": pattern,
        **_of_the_image(survey),
        **_of_the_workflow(survey, choices, folder, workflow),
    }
    return {path: _ENVIRONMENT.get_template(f"{template}.jinja").render(given) for path, template in paths.items()}


def tag(place: PurePosixPath | None) -> str:
    """Give the tag of an image, as a shell fills it in."""
    return "$(git rev-parse --short HEAD)" if place else "1"


def pattern(path: PurePosixPath) -> str:
    """Write a path for an ignore file: what would not be taken as it stands there is `?`, which is any character."""
    return _NOT_PLAIN.sub("?", path.as_posix())


def _of_the_image(survey: Survey) -> dict[str, str]:
    # What a bake has compiled, for the next one.
    mounts, commands = ["--mount=type=cache,target=/var/cache/dbtpod"], ["dbtpod bake"]
    if not survey.is_only:
        commands = [f"DBT_PROJECT_DIR={shlex.quote(str(survey.folder))} dbtpod bake"]
    if survey.has_git_packages:
        mounts.append("--mount=type=secret,id=git-credentials")
    if packages := survey.python_models.packages:
        mounts.append("--mount=type=cache,target=/tmp/.cache/pip")
        commands.insert(0, f"pip install --quiet --target .packages {' '.join(packages)}")
    folder = PurePosixPath("/opt/dbtpod") / survey.folder
    return {
        "bake": " ".join([*mounts, " && ".join(commands)]),
        # Docker puts variables into a quoted text too.
        "project_dir": _quoted(folder).replace("$", "\\$"),
    }


def _of_the_workflow(survey: Survey, choices: Choices, folder: PurePosixPath, file: str) -> dict[str, str]:
    # GitHub's patterns are escaped by a backslash.
    below = re.sub(r"([*?+!\[\]\\])", r"\\\1", str(folder)) + "/**"
    return {
        "folder": _quoted(folder) if folder.parts else "",
        "paths": f"[{_quoted(below)}, {_quoted(file)}]",
        "branches": f"[{_quoted(choices.branch)}]",
        "options": "" if survey.is_only else f"--env DBT_PROJECT_DIR={shlex.quote(str(survey.folder))} ",
        "version_line": r"^ARG DBTPOD=.*:\(.*\)" if survey.is_only else r"^FROM .*:\(.*\)-build .*",
    }


def _quoted(text: object) -> str:
    """Write a text for YAML, whatever is in it."""
    return json.dumps(str(text), ensure_ascii=False)
