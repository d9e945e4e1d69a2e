"""What `dbtpod serve` does: Prefect's server, a worker, the reader and the schedules, until it is stopped.

Each of them is a process of its own, tied to this one, and a run's process is tied to the worker. What dies is started
again; what cannot be started ends everything with the reason, and systemd begins anew.
"""

import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from dbtpod import settings
from dbtpod.errors import SettingsError
from dbtpod.laptop import place, served
from dbtpod.laptop.child import Child
from dbtpod.laptop.place import Place
from dbtpod.laptop.rounds import Rounds
from dbtpod.timeout import Timeout
from dbtpod.ui import reader_links
from dbtpod.warehouse import warehouse

ROUND_SECONDS = 5.0
# What dies so often in that time does so for a reason that a new start does not change.
MOST_DEATHS, DEATHS_SECONDS = 3, 600.0
# The worker waits for its runs' processes (worker.STOP_SECONDS).
WORKER_STOP_SECONDS, SERVER_STOP_SECONDS, READER_STOP_SECONDS = 60.0, 15.0, 5.0
_PAUSE_SECONDS = 0.2
# As the chart has it.
_READER_PATH = "/reader"


class CannotContinue(Exception):
    """Why everything is to end."""


def serve(folder: Path | None, port: int, reader_port: int) -> int:
    """Serve the project of the folder until SIGTERM or Ctrl-C; the exit code is 1 where it could not continue."""
    here = place.enter(folder)
    if not here.prefect_yaml.is_file():
        raise SettingsError(f"There is no {here.prefect_yaml}, which says what runs when: `dbtpod init` writes one.")
    given = settings.from_environment()
    kept = warehouse.of(given)
    kept.volume.check(writes=True)
    url = f"http://127.0.0.1:{port}"
    with served.hold(here, url):
        _check_port(port, "--port")
        # What is built in place has no generations to read.
        reader_url = f"http://127.0.0.1:{reader_port}{_READER_PATH}" if kept.publishes else ""
        if reader_url:
            _check_port(reader_port, "--reader-port")
        place.prepare(warehouse.project(given))
        settings.add_to_environment(_environment(here, port, url) | {reader_links.ADDRESS: reader_url})
        data = "in the database of the profile's target" if kept.volume.is_remote else str(kept.readable)
        return Service(here, url, data, reader_url).run()


def _check_port(port: int, option: str) -> None:
    try:
        with socket.socket() as free:
            # As the server does: connections of one that has just ended are no obstacle.
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(("127.0.0.1", port))
    except OSError as error:
        raise SettingsError(
            f"Port {port} of this machine cannot be used ({error.strerror}): end the program that has it, or give "
            f"another port with {option}."
        ) from error


def _environment(here: Place, port: int, url: str) -> dict[str, str]:
    given = settings.environment()
    return {
        "PREFECT_API_URL": f"{url}/api",
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_LOGGING_LEVEL": given.get("PREFECT_SERVER_LOGGING_LEVEL", "WARNING"),
        # Relative, so that the UI works through a forwarded port too.
        "PREFECT_SERVER_UI_API_URL": "/api",
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(here.prefect / "ui"),
        # Of the queues' limits, which must outlive a restart.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        # The server is of the same installation and asks for no token; each client would ask it for both.
        "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
        "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false",
        # A server that is started again is away for seconds.
        "PREFECT_CLIENT_MAX_RETRIES": given.get("PREFECT_CLIENT_MAX_RETRIES", "9"),
        "PREFECT_WORKER_QUERY_SECONDS": given.get("PREFECT_WORKER_QUERY_SECONDS", "5"),
    }


class Service:
    """The processes of one `dbtpod serve`."""

    def __init__(self, here: Place, url: str, data: str, reader_url: str) -> None:
        self._here, self._url, self._data, self._reader_url = here, url, data, reader_url
        self._stop = threading.Event()
        self._deaths: dict[str, list[float]] = {}
        self._server: Child | None = None
        self._registration: Child | None = None
        # The file as it was registered, and the work pool that it named.
        self._registered: tuple[int, int] | None = None
        self._pool = ""
        self._worker: Child | None = None
        self._worker_since = 0.0
        self._rounds: Rounds | None = None
        self._reader: Child | None = None

    def run(self) -> int:
        """Keep everything going until a signal; the exit code."""
        with _signals(self._stop), self._ending():
            self._start_server()
            self._register()
            if self._reader_url:
                self._start_reader()
            next_round = Timeout(0)
            while not self._stop.wait(_PAUSE_SECONDS):
                try:
                    self._keep_alive()
                    if next_round.is_over and self._rounds:
                        self._round(self._rounds)
                        next_round = Timeout(ROUND_SECONDS)
                except CannotContinue as error:
                    print(error, file=sys.stderr, flush=True)
                    return 1
        return 0

    def _keep_alive(self) -> None:
        if self._server and self._server.code is not None:
            self._mourn(self._server, is_first=self._worker is None)
            self._start_server()
        if self._worker and self._worker.code is not None:
            self._mourn(self._worker)
            self._start_worker()
        if self._reader and self._reader.code is not None:
            self._restart_reader(self._reader)
        if self._registration and self._registration.code is not None:
            self._end_registration(self._registration.code)

    def _round(self, rounds: Rounds) -> None:
        for line in rounds.round(self._worker_since):
            _say(line)
        if not self._registration and self._registered != _look(self._here.prefect_yaml):
            _say(f"{self._here.prefect_yaml} has changed.")
            self._register()

    def _register(self) -> None:
        self._registered = _look(self._here.prefect_yaml)
        module = ["-m", "dbtpod.laptop.registration", str(self._here.prefect_yaml), str(self._pool_file)]
        self._registration = Child("The registration", [sys.executable, "-P", *module], settings.environment())

    def _end_registration(self, code: int) -> None:
        self._registration = None
        if code and not self._worker:
            raise CannotContinue(f"{self._here.prefect_yaml} could not be registered: the reason is above.")
        if code:
            _say("It could not be registered, so what was registered before stays: the reason is above.")
            return
        pool, before = self._pool_file.read_text(), self._pool
        if pool != before:
            self._pool = pool
            self._rounds = Rounds(settings.environment(), pool, self._here.volume.runs)
            if self._worker:
                self._worker.stop(WORKER_STOP_SECONDS)
            self._start_worker()
        if not before:
            self._greet()

    @property
    def _pool_file(self) -> Path:
        return self._here.prefect / "registered-pool"

    def _start_server(self) -> None:
        command = [sys.executable, "-P", "-m", "prefect", "--no-prompt", "server", "start"]
        # Its banner is nothing for a log; what is wrong with it, it says on standard error.
        self._server = Child("Prefect's server", command, settings.environment(), silent=True)

    def _start_worker(self) -> None:
        self._worker_since = time.time()
        command = [sys.executable, "-P", "-m", "dbtpod.laptop.worker", self._pool]
        self._worker = Child("The worker", command, settings.environment())

    def _start_reader(self) -> None:
        address = urlsplit(self._reader_url)
        program = str(Path(sys.executable).with_name("dbtpod"))
        command = [program, "reader", "--host", str(address.hostname), "--port", str(address.port)]
        environment = settings.environment() | {"DBTPOD_READER_PATH": address.path, "PREFECT_UI_URL": self._url}
        self._reader = Child("The reader", command, environment)

    def _restart_reader(self, reader: Child) -> None:
        """Start it again, or do without: the runs need it not."""
        try:
            self._mourn(reader)
        except CannotContinue as error:
            _say(f"{error} It is not started again; runs continue.")
            self._reader = None
        else:
            self._start_reader()

    def _mourn(self, child: Child, *, is_first: bool = False) -> None:
        """Say that what died is started again; CannotContinue where that does not help."""
        if is_first:
            raise CannotContinue(f"{child.name} {child.end} before it was of use: the reason is above.")
        now = time.monotonic()
        recent = [at for at in self._deaths.get(child.name, []) if now - at < DEATHS_SECONDS]
        self._deaths[child.name] = [*recent, now]
        if len(recent) + 1 >= MOST_DEATHS:
            raise CannotContinue(f"{child.name} {child.end}, {MOST_DEATHS} times in {DEATHS_SECONDS / 60:.0f} minutes.")
        _say(f"{child.name} {child.end}, and is started again.")

    def _greet(self) -> None:
        _say(f"The schedules of {self._here.prefect_yaml} run on this machine now.")
        _say(f"  Prefect UI     {self._url}")
        if self._reader_url:
            _say(f"  the reader     {self._reader_url}/")
        _say(f"  the warehouse  {self._data}")
        _say("Ctrl-C ends it; a run that is under way then continues when it is started again.")
        _notify(f"READY=1\nSTATUS=Prefect UI at {self._url}")

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """End the worker first: its runs are sent back to their queues, for which the server must be there."""
        try:
            yield
        finally:
            _notify("STOPPING=1")
            if self._registration:
                self._registration.kill()
            if self._reader:
                self._reader.stop(READER_STOP_SECONDS)
            if self._worker:
                self._worker.stop(WORKER_STOP_SECONDS)
            if self._server:
                self._server.stop(SERVER_STOP_SECONDS)


@contextmanager
def _signals(stop: threading.Event) -> Iterator[None]:
    """Have a first signal end everything in order, and a second one at once."""

    def on_signal(number: int, _frame: object) -> None:
        if stop.is_set():
            sys.exit(128 + number)
        stop.set()

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _look(path: Path) -> tuple[int, int] | None:
    """Return what is another after each change of a file."""
    if not path.is_file():
        return None
    found = path.stat()
    return found.st_mtime_ns, found.st_size


def _notify(text: str) -> None:
    """Notify systemd, where it asks for that (Type=notify)."""
    address = settings.environment().get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out, suppress(OSError):
            out.connect(address.replace("@", "\0", 1) if address.startswith("@") else address)
            out.send(text.encode())


def _say(text: str) -> None:
    print(text, flush=True)
