"""The command `dbtpod`: each subcommand is one call into the package, which it imports when it is used."""

import sys
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import click

from dbtpod.errors import DbtPodError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dbtpod")
def dbtpod() -> None:
    """Run a dbt project on Kubernetes, scheduled by Prefect: DuckDB on a volume, one pod for each flow run."""


@dbtpod.command()
def run() -> int:
    """Run the first flow on this machine, without a cluster."""
    from dbtpod import laptop

    return laptop.run()


@dbtpod.command()
@click.argument("flow_run_id", envvar="PREFECT__FLOW_RUN_ID", type=click.UUID)
def execute(flow_run_id: UUID) -> int:
    """Run a flow run in this pod by Prefect's own command (jobs.fastStart: false)."""
    from dbtpod.pod import execute

    return execute.run(flow_run_id)


@dbtpod.command()
def bake() -> None:
    """Have dbt parse the project while the image is built: pods then begin without parsing."""
    from dbtpod import bake, settings
    from dbtpod.warehouse import warehouse

    bake.bake(warehouse.project(settings.from_environment()))


@dbtpod.command()
@click.option("--file", type=Path, default=Path("prefect.yaml"), show_default=True)
@click.option("--pool", help="The work pool; the one that the file names unless given.")
@click.option("--base-job-template", type=Path, help="JSON file; without one the pool keeps its own.")
@click.option("--digest", help="What the chart knows this registration by; written into the work pool.")
@click.option("--wait-seconds", type=float, default=120, show_default=True, help="How long to wait for the API.")
def register(
    file: Path, pool: str | None, base_job_template: Path | None, digest: str | None, wait_seconds: float
) -> None:
    """Make a Prefect server equal to prefect.yaml: work pool, queues, deployments, schedules, automations.

    It may be repeated: after a failure, or twice in a row, nothing changes that is right already.
    """
    from dbtpod import register

    register.from_file(file, pool, base_job_template, wait_seconds, digest)


@dbtpod.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def watchdog(arguments: tuple[str, ...]) -> None:
    """Watch the runs of a work pool, beside its worker."""
    from dbtpod.watchdog import main

    main.main(arguments)


@dbtpod.group()
def generations() -> None:
    """See what is published, compare it, go back; check and repair the volume."""


def _print(found: tuple[list[str], list[str]]) -> int:
    """Print what a command found, and on standard error what is wrong; the exit code."""
    lines, wrong = found
    for line in lines:
        click.echo(line)
    for line in wrong:
        click.echo(line, err=True)
    return 1 if wrong else 0


@generations.command("list")
def list_() -> int:
    """List the generations that are kept; * marks the one that readers see."""
    from dbtpod import generations

    return _print(generations.show())


@generations.command()
@click.argument("before", type=int)
@click.argument("after", type=int)
def diff(before: int, after: int) -> int:
    """Show the tables and views that differ between two generations."""
    from dbtpod import generations

    return _print(generations.compare(before, after))


@generations.command()
@click.argument("number", type=int)
def rollback(number: int) -> int:
    """Let readers, and the next build, go back to a generation."""
    from dbtpod import generations

    return _print(generations.roll_back(number))


@generations.command()
def check() -> int:
    """Print a line for each damage on the volume and what repairs it; exit code 1 if there is any."""
    from dbtpod import generations

    return _print(generations.check())


@generations.command()
def repair() -> int:
    """Repair what can be: it moves aside and never deletes; exit code 1 if something is left."""
    from dbtpod import generations

    return _print(generations.repair())


def _number(_: click.Context, __: click.Parameter, value: str) -> int | None:
    if value.isdecimal():
        return int(value)
    if value != "current":
        raise click.BadParameter(f"{value!r} is neither a generation's number nor `current`.")
    return None


def _say(line: str) -> None:
    """Print beside what goes through a pipe."""
    click.echo(line, err=True)


@dbtpod.command("export")
@click.argument("generation", default="current", callback=_number)
@click.argument("file", default="-")
def export_(generation: int | None, file: str) -> int:
    """Write a generation, with all that belongs to it, to FILE or through a pipe.

    GENERATION is a number, or `current`. What was exported cannot be cut unseen: `import` and `import --check` find it.
    """
    from dbtpod import transfer

    return _print(transfer.take_out(generation, file, _say))


@dbtpod.command("import")
@click.argument("file")
@click.option("--check", is_flag=True, help="Only read it to its end and say whether it is whole; needs no volume.")
def import_(file: str, check: bool) -> int:
    """Make an export, or a DuckDB file as it is, the next generation; FILE is - for a pipe."""
    from dbtpod import transfer

    return _print(transfer.examine(file) if check else transfer.bring_in(file, _say))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 1 with a text for what a user can act on, 2 for a wrong command line."""
    try:
        return dbtpod.main(arguments, prog_name="dbtpod", standalone_mode=False) or 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130
    except DbtPodError as error:
        click.echo(str(error), err=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())
