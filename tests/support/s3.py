"""A real S3 server in a container, for tests."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import containers
from prefect_server import free_port
from waiting import until

IMAGE = "versity/versitygw:v1.8.0"
KEY, SECRET = "backup", "s3cret-s3cret"
BUCKET = "backups"


@dataclass
class S3:
    """A server with one bucket; it can be stopped and started, and its port stays the same."""

    container: str
    port: int

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self, prefix: str) -> Mapping[str, str]:
        """Return what the commands read."""
        return {
            "DBTPOD_BACKUP_BUCKET": BUCKET,
            "DBTPOD_BACKUP_PREFIX": prefix,
            "DBTPOD_BACKUP_ENDPOINT": self.endpoint,
            "NO_PROXY": "127.0.0.1",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }

    def kill(self) -> None:
        """End it as a lost machine does."""
        containers.docker("kill", self.container)

    def start(self) -> None:
        """Start it again, and wait until it answers."""
        containers.docker("start", self.container)
        self.wait()

    def wait(self) -> None:
        """Wait until it takes connections."""
        until(self._answers, 30, "the S3 server")

    def files(self) -> list[str]:
        """Return what is in its folder, parts of uploads too."""
        found = containers.docker("exec", self.container, "find", f"/data/{BUCKET}", "-type", "f")
        return sorted(found.splitlines())

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                # Docker's proxy takes the connection before the server does.
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                return connection.recv(4) == b"HTTP"
        except OSError:
            return False


@contextmanager
def running(megabytes: int | None = None) -> Iterator[S3]:
    """Run a server for a while, with room for so many megabytes if that is given; see `containers.started`."""
    port = free_port()
    small = ("--tmpfs", f"/data:size={megabytes}m,uid=1000,gid=1000") if megabytes else ()
    options = (
        *("--memory", "256m", "--env", f"ROOT_ACCESS_KEY={KEY}", "--env", f"ROOT_SECRET_KEY={SECRET}"),
        *("--publish", f"127.0.0.1:{port}:7070", *small),
    )
    with containers.started("S3", IMAGE, options) as name:
        server = S3(name, port)
        server.wait()
        containers.docker("exec", name, "mkdir", f"/data/{BUCKET}")
        yield server
