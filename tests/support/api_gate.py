"""The way to a Prefect server, which can be shut as an outage shuts it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class ApiGate:
    """A port that passes on to the server, refuses connections, or answers each request with a status of its own."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream_port = upstream_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
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
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
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
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=self._answer, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        if self._status:
            self.refused += 1
            with client, suppress(OSError):
                client.recv(65536)
                client.sendall(f"HTTP/1.1 {self._status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            return
        server = socket.create_connection(("127.0.0.1", self._upstream_port))
        self._open |= {client, server}
        for source, sink in ((client, server), (server, client)):
            threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        finally:
            self._open -= {source, sink}
            for end in (source, sink):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
