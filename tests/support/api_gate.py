"""The way to a Prefect server, which can be made slow, or shut as an outage shuts it."""

import errno
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class ApiGate:
    """A port that passes on to the server, refuses connections, or answers each request with a status of its own.

    `delay` is how many seconds each answer of the server is held back.
    """

    def __init__(self, upstream_port: int) -> None:
        self._upstream_port = upstream_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.delay = 0.0
        self.refused = 0
        self._status = ""
        self._open: set[socket.socket] = set()
        self._serve(self._listener)

    @contextmanager
    def away(self, status: str = "") -> Iterator[None]:
        """Refuse connections, or answer with that status line, until the block ends."""
        self._status = status
        if not status:
            # The waiting accept() would take one more connection from a socket that is only closed.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        for connection in list(self._open):
            _shut(connection)
        try:
            yield
        finally:
            self._status = ""
            if not status:
                self._listener = socket.create_server(("127.0.0.1", self.port))
                self._serve(self._listener)

    def close(self) -> None:
        self._listener.close()

    def _serve(self, listener: socket.socket) -> None:
        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:  # closed: the only way in which this loop ends
                    return
                threading.Thread(target=self._answer, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        if self._status:
            self._refuse(client)
            return
        server = socket.create_connection(("127.0.0.1", self._upstream_port))
        self._open |= {client, server}
        for source, sink, held in ((client, server, False), (server, client, True)):
            threading.Thread(target=self._pass, args=(source, sink, held), daemon=True).start()

    def _refuse(self, client: socket.socket) -> None:
        self.refused += 1
        answer = f"HTTP/1.1 {self._status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        with client:
            try:
                client.recv(65536)
                client.sendall(answer.encode())
            except ConnectionError:
                return  # the client did not wait for its answer

    def _pass(self, source: socket.socket, sink: socket.socket, held: bool) -> None:
        try:
            while data := source.recv(65536):
                if held:
                    time.sleep(self.delay)
                sink.sendall(data)
        except ConnectionError:
            pass  # one end is gone, in the middle too; below the other end learns of it
        finally:
            self._open -= {source, sink}
            for end in (source, sink):
                _shut(end)


def _shut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError as error:
        # Its peer was quicker.
        if error.errno != errno.ENOTCONN:
            raise
