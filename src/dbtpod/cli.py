"""The command `dbtpod`: each subcommand is one call into the package, which it imports when it is used."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import click

from dbtpod.errors import DbtPodError, DeploymentsInvalid


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dbtpod")
def dbtpod() -> None:
    """Run a dbt project on Kubernetes, scheduled by Prefect: DuckDB on a volume, one pod for each flow run."""


@dbtpod.command()
@click.argument("folder", metavar="[DIR]", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".")
@click.option("--update", is_flag=True, help="Merge what this version of dbtpod writes into the files.")
@click.option("--force", metavar="FILE", multiple=True, help="Overwrite this file; may be repeated.")
@click.option("--timezone", help="That of the schedules, such as Europe/Berlin; UTC unless given.")
def init(folder: Path, update: bool, force: tuple[str, ...], timezone: str | None) -> int:
    """Write the files beside a dbt project.

    They are prefect.yaml, Dockerfile, values.yaml and a CI workflow, for the dbt project in DIR. A file that is there
    stays as it is. With --update your edits stay, and a conflict is marked as git marks it.
    """
    from dbtpod import settings
    from dbtpod.init import repository

    if update and force:
        raise click.UsageError(
            "--force overwrites a file, and --update keeps what you changed in it: give one of them."
        )
    if update:
        return _print(repository.update(folder, settings.environment(), timezone))
    return _print(repository.init(folder, settings.environment(), timezone, force))


_FOLDER = click.option("--project-dir", type=Path, help="The repository; the working directory unless given.")


class _Run(click.Command):
    """Knows the options of a request when its help is asked for: they are those of a model, which imports Prefect."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write them below its own."""
        from dbtpod.laptop import options

        super().format_options(ctx, formatter)
        with formatter.section("Options of a request, in place of WHAT"):
            formatter.write_dl(options.records())


@dbtpod.command(cls=_Run, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@_FOLDER
@click.argument("what", nargs=-1, type=click.UNPROCESSED)
def run(project_dir: Path | None, what: tuple[str, ...]) -> int:
    """Run a deployment, a dbt command, or a request, here.

    It needs no cluster. WHAT is a deployment's name, or a command such as `build --select orders`, or the options of a
    request, such as `--select orders --result discard`. Without it, the first deployment runs; in a project without a
    prefect.yaml, `build`. The data is in .dbtpod/data of the dbt project, or where DBTPOD_VOLUME says.
    """
    from dbtpod.laptop import run

    return run.run(what, project_dir)


@dbtpod.command()
@_FOLDER
@click.option("--port", type=int, default=4200, show_default=True, help="Of the Prefect UI, on this machine only.")
@click.option("--reader-port", type=int, default=4300, show_default=True, help="Of the reader's pages, likewise.")
def serve(project_dir: Path | None, port: int, reader_port: int) -> int:
    """Run the schedules on this machine.

    It starts Prefect's server, its UI, the reader and a worker for the deployments of prefect.yaml, until Ctrl-C. The
    data is in .dbtpod/data of the dbt project, or where DBTPOD_VOLUME says.
    """
    from dbtpod.laptop import serve

    return serve.serve(project_dir, port, reader_port)


@dbtpod.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where it listens; elsewhere it needs a login.")
@click.option("--port", type=int, default=4300, show_default=True)
def reader(host: str, port: int) -> int:
    """Show what is published over HTTP.

    The data of each generation, for DuckDB and for downloads. It only reads the volume, until Ctrl-C.
    """
    from dbtpod.reader import serve

    return serve.serve(host, port)


@dbtpod.command()
@click.argument("flow_run_id", envvar="PREFECT__FLOW_RUN_ID", type=click.UUID)
def execute(flow_run_id: UUID) -> int:
    """Run one flow run in this pod.

    By Prefect's own command, which is what the chart has with jobs.fastStart: false.
    """
    from dbtpod.pod import execute

    return execute.run(flow_run_id)


@dbtpod.command()
def bake() -> None:
    """Make the profile that runs use, and parse the dbt project.

    In an image, so that pods begin without parsing.
    """
    from dbtpod import bake, settings

    bake.bake(settings.environment(), click.echo)


@dbtpod.command("check")
@click.argument("folder", metavar="[DIR]", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".")
@click.option("--strict", is_flag=True, help="Exit code 1 for warnings too.")
def check_(folder: Path, strict: bool) -> int:
    """Check everything in a repository.

    That is prefect.yaml, flows, dbt commands, the dbt project and values.yaml. Every problem is printed with its file,
    its line and what to do. It needs no cluster, no Docker and no server, and changes nothing. The exit code is 1 where
    there is a problem.
    """
    from dbtpod.check import main as check

    lines, code = check.run(folder, strict=strict)
    for line in lines:
        click.echo(line)
    return code


@dbtpod.command()
@click.option("--file", type=Path, default=Path("prefect.yaml"), show_default=True, help="What is registered.")
@click.option("--pool", help="The work pool; the one that the file names unless given.")
@click.option("--base-job-template", type=Path, help="JSON file; without one the pool keeps its own.")
@click.option("--alerts", type=Path, help="JSON file of webhooks, as the chart writes it; without one they stay.")
@click.option("--dry-run", "verdict", type=Path, help="What `dbtpod dry-run` wrote: if anything, it is the error.")
@click.option("--digest", help="What the chart knows this registration by; written into the work pool.")
@click.option("--owner", help="The release that the work pool belongs to, as namespace/name.")
@click.option("--cluster-authority", type=Path, help="PEM file that tells this cluster from others.")
@click.option("--suffix", default="", help="Follows each deployment's name, such as -dev.")
@click.option("--schedules/--no-schedules", default=True, help="Whether schedules start runs.")
@click.option("--wait-seconds", type=float, default=120, show_default=True, help="How long to wait for the API.")
def register(
    file: Path,
    pool: str | None,
    base_job_template: Path | None,
    alerts: Path | None,
    verdict: Path | None,
    digest: str | None,
    owner: str | None,
    cluster_authority: Path | None,
    suffix: str,
    schedules: bool,
    wait_seconds: float,
) -> None:
    """Make a Prefect server equal to prefect.yaml.

    Work pool, queues, deployments, schedules and automations. It may be repeated: after a failure, or twice in a row,
    nothing changes that is right already.
    """
    from dbtpod import register
    from dbtpod.registration.variant import Variant
    from dbtpod.watchdog.owner import Mark, Owner

    # Without Prefect's Kubernetes code, which is slow to import.
    if verdict and verdict.exists() and (text := verdict.read_text(encoding="utf-8").strip()):
        raise DeploymentsInvalid(text)
    mark = Mark(Owner.of(owner, cluster_authority) if owner else None, digest)
    register.from_file(file, Variant(pool, suffix, schedules), base_job_template, wait_seconds, mark, alerts)


@dbtpod.command("dry-run")
@click.option("--file", type=Path, default=Path("prefect.yaml"), show_default=True, help="Whose Jobs are tried.")
@click.option("--pool", help="The work pool; the one that the file names unless given.")
@click.option("--base-job-template", type=Path, required=True, help="JSON file: the pool's.")
@click.option("--out", type=Path, required=True, help="Where what Kubernetes refuses is written.")
def dry_run(file: Path, pool: str | None, base_job_template: Path, out: Path) -> None:
    """Ask Kubernetes whether it takes the Jobs of runs.

    In the registration's pod, before it registers: `register --dry-run` fails with what is written here.
    """
    from dbtpod.registration import dry_run
    from dbtpod.registration.variant import Variant
    from dbtpod.watchdog import cluster

    with cluster.connected() as kubernetes:
        out.write_text(dry_run.refusals(file, Variant(pool), base_job_template, kubernetes), encoding="utf-8")


@dbtpod.command()
@click.option("--pool", required=True, help="The work pool whose deployment runs.")
@click.option("--seconds", type=float, default=300, show_default=True, help="How long its run may take.")
@click.option("--reader", help="The reader that has to be healthy, such as http://dbtpod-reader:4300/reader.")
def prove(pool: str, seconds: float, reader: str | None) -> int:
    """Run what proves an install.

    That is the deployment with the tag helm-test in prefect.yaml. The exit code is 0 where it Completed, and the
    reader, if there is one, is healthy.
    """
    from dbtpod import proof

    code = proof.prove(pool, seconds, click.echo)
    return max(code, proof.prove_reader(reader, click.echo)) if reader else code


@dbtpod.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def watchdog(arguments: tuple[str, ...]) -> None:
    """Watch the runs of a work pool, beside its worker."""
    from dbtpod.watchdog import main

    main.main(arguments)


@dbtpod.command("server", context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def server_(arguments: tuple[str, ...]) -> None:
    """Start Prefect's server.

    Once its database answers.
    """
    from dbtpod import settings
    from dbtpod.startup import server

    server.start(arguments, settings.environment(), _say)


def _pair(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    for value in values:
        if "=" not in value:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE.")
    return dict(value.split("=", 1) for value in values)


@dbtpod.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--secret", "files", metavar="NAME=FILE", multiple=True, callback=_pair, help="May be repeated.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def follow(files: dict[str, str], command: tuple[str, ...]) -> int:
    """Run it until a Secret changes.

    A Secret is a variable of the command's environment, and the file that holds the same. Kubernetes then starts the
    container again.
    """
    from dbtpod import settings
    from dbtpod.startup import following

    watched = following.Secrets({name: Path(file) for name, file in files.items()}, settings.environment())
    return following.follow(command, watched, _say)


@dbtpod.command("password")
@click.option("--namespace", required=True, help="Where it is created.")
@click.option("--secret", required=True, help="The Secret's name.")
@click.option("--label", "labels", metavar="NAME=VALUE", multiple=True, callback=_pair, help="May be repeated.")
def password_(namespace: str, secret: str, labels: dict[str, str]) -> None:
    """Create the server's password.

    As a Secret, in a pod that may create one; a Secret that is there is kept.
    """
    from dbtpod.startup import password
    from dbtpod.watchdog import cluster

    with cluster.connected() as kubernetes:
        click.echo(password.ensure(kubernetes, namespace, secret, labels))


@dbtpod.command(context_settings={"ignore_unknown_options": True})
@click.option("--pool", required=True, help="The work pool that the command polls.")
@click.option("--owner", required=True, help="This release, as namespace/name.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def guard(pool: str, owner: str, command: tuple[str, ...]) -> None:
    """Run a worker once its work pool is not another release's."""
    from dbtpod import settings
    from dbtpod.watchdog import guard

    guard.main(pool, owner, command, settings.environment())


@dbtpod.group()
def generations() -> None:
    """See what is published, and go back.

    Also: publish or remove a preview, check the volume that all is on, and repair it.
    """


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
    """List the generations that are kept, and the previews.

    * marks the one that readers see.
    """
    from dbtpod import generations

    return _print(generations.show())


def _build(_: click.Context, __: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"\d+|current|preview-\d+", value, re.ASCII):
        raise click.BadParameter(
            f"{value!r} is neither a generation's number, nor `current`, nor a preview such as `preview-3`."
        )
    return value


def _preview(_: click.Context, __: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"preview-\d+", value, re.ASCII):
        raise click.BadParameter(
            f"{value!r} is not a preview such as `preview-3`: `dbtpod generations list` shows those there are."
        )
    return value


@generations.command()
@click.argument("before", callback=_build)
@click.argument("after", callback=_build)
def diff(before: str, after: str) -> int:
    """Show the tables and views that differ between two builds.

    Each is a number, `current`, or a preview such as `preview-3`.
    """
    from dbtpod import generations

    return _print(generations.compare(before, after))


@generations.command("publish")
@click.argument("preview", callback=_preview)
def publish_(preview: str) -> int:
    """Make a preview the next generation.

    Where another one was published since its build began, it is an error that names it.
    """
    from dbtpod import generations

    return _print(generations.publish(preview))


@generations.command("remove")
@click.argument("preview", callback=_preview)
def remove_(preview: str) -> int:
    """Remove a preview."""
    from dbtpod import generations

    return _print(generations.remove(preview))


@generations.command()
@click.argument("number", type=int)
def rollback(number: int) -> int:
    """Let readers and the next build go back to a generation."""
    from dbtpod import generations

    return _print(generations.roll_back(number))


@generations.command()
def check() -> int:
    """Print each damage on the volume, and what repairs it.

    It changes nothing; the exit code is 1 if there is any.
    """
    from dbtpod import generations

    return _print(generations.check())


@generations.command()
def repair() -> int:
    """Repair what can be repaired.

    What is damaged is set aside and never deleted; the exit code is 1 if something is left.
    """
    from dbtpod import generations

    return _print(generations.repair())


def _number(_: click.Context, __: click.Parameter, value: str) -> int | None:
    if value.isdecimal():
        return int(value)
    if value != "current":
        raise click.BadParameter(f"{value!r} is neither a generation's number nor `current`.")
    return None


def _with_data(_: click.Context, __: click.Parameter, value: str) -> int | None:
    if value != "newest" and not value.isdecimal():
        raise click.BadParameter(f"{value!r} is no generation's number.")
    return int(value) if value.isdecimal() else None


def _say(line: str) -> None:
    """Print beside what goes through a pipe."""
    click.echo(line, err=True)


@dbtpod.command("export")
@click.argument("generation", default="current", callback=_number)
@click.argument("file", default="-")
def export_(generation: int | None, file: str) -> int:
    """Write a generation to a file or a pipe.

    All that belongs to it is in it. GENERATION is a number, or `current`. What was exported cannot be cut unseen:
    `import` and `import --check` find it.
    """
    from dbtpod import transfer

    return _print(transfer.take_out(generation, file, _say))


@dbtpod.command("import")
@click.argument("file")
@click.option("--check", is_flag=True, help="Only read it to its end and say whether it is whole; needs no volume.")
def import_(file: str, check: bool) -> int:
    """Make an export the next generation.

    FILE may be a DuckDB file as it is, too; - reads a pipe.
    """
    from dbtpod import transfer

    return _print(transfer.examine(file) if check else transfer.bring_in(file, _say))


@dbtpod.group()
def backup() -> None:
    """Keep what is published in S3.

    Where that is, the variables DBTPOD_BACKUP_BUCKET, _PREFIX, _ENDPOINT, _REGION and _KEEP say.
    """


@backup.command("run")
def backup_run() -> int:
    """Upload each generation that is not there, and remove what is more than is kept."""
    from dbtpod.backup import main

    return _print(main.run(main.connect(), _say))


@backup.command("list")
def backup_list() -> int:
    """List the backups.

    * marks the one that `dbtpod restore` takes.
    """
    from dbtpod.backup import main

    return _print(main.show(main.connect()))


@backup.command("check")
def backup_check() -> int:
    """Restore what `dbtpod restore` takes, into a temporary folder.

    It is downloaded, compared with its checksum, opened, and its rows are counted. The exit code is 1 where that fails.
    It needs no volume.
    """
    from dbtpod.backup import main

    return _print(main.check(main.connect()))


@dbtpod.command()
@click.argument("name", required=False)
@click.option("--beside", is_flag=True, help="Also on a volume that has generations: it becomes the next one.")
def restore(name: str | None, beside: bool) -> int:
    """Bring a backup back, and make it what readers see.

    NAME is as `dbtpod backup list` has it; without it, the backup of what readers saw last.
    """
    from dbtpod.backup import main

    return _print(main.restore(main.connect(), name, beside, _say))


@dbtpod.command()
@click.argument("generation", default="newest", callback=_with_data)
def move(generation: int | None) -> int:
    """Copy a generation's tables to where the data is to be now.

    Once, after warehouse.kind has become `ducklake` or `remote`: into the schemas of the profile's target, all or none.
    Rows and sums of each table are compared. GENERATION is a number; without it, the newest that has a DuckDB file.
    """
    from dbtpod.moving import move as moving

    return _print(moving.move(generation, _say))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 1 with a text that a user can act on, 2 for a wrong command line."""
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
