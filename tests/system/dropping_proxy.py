"""A TCP proxy in front of a hub that swallows answers: the request goes through, is committed, and nobody hears."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

HTTP2_HEADER_BYTES = 9
DATA_FRAME = 0


@dataclass(slots=True)
class DroppingProxy:
    """Passes everything on until `drop_next`; then the next answer and its connection are gone.

    An answer is known by its frame: a server sends HTTP/2 DATA only with a response, and this hub writes one after the
    commit.
    """

    target: tuple[str, int]
    listener: socket.socket
    dropped: int = 0
    _armed: threading.Event = field(default_factory=threading.Event)
    _open: list[socket.socket] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.listener.getsockname()[1]}"

    def drop_next(self) -> None:
        self._armed.set()

    @property
    def is_armed(self) -> bool:
        return self._armed.is_set()

    def serve(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                client, _ = self.listener.accept()
                try:
                    server = socket.create_connection(self.target, 5.0)
                    server.settimeout(None)
                except OSError:
                    client.close()
                    continue
                self._open += [client, server]
                threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answer, args=(server, client), daemon=True).start()

    def close(self) -> None:
        self.listener.close()
        for one in self._open:
            _end(one)

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while octets := client.recv(65_536):
                server.sendall(octets)
        _end(client)
        _end(server)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        frames = _Frames()
        with suppress(OSError):
            while octets := server.recv(65_536):
                if frames.has_data(octets) and self._armed.is_set():
                    self._armed.clear()
                    self.dropped += 1
                    break
                client.sendall(octets)
        _end(server)
        _end(client)


class _Frames:
    """Finds DATA frames in what a server sends, however it is cut."""

    def __init__(self) -> None:
        self._pending = b""
        self._skip = 0

    def has_data(self, octets: bytes) -> bool:
        found = False
        self._pending += octets
        while True:
            skipped = min(self._skip, len(self._pending))
            self._pending, self._skip = self._pending[skipped:], self._skip - skipped
            if self._skip or len(self._pending) < HTTP2_HEADER_BYTES:
                return found
            length = int.from_bytes(self._pending[:3])
            found = found or (self._pending[3] == DATA_FRAME and length > 0)
            self._skip = HTTP2_HEADER_BYTES + length


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextmanager
def dropping_proxy(address: str) -> Iterator[DroppingProxy]:
    """A proxy to this hub on a free port, as long as the context."""
    host, _, port = address.rpartition(":")
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = DroppingProxy((host, int(port)), listener)
    thread = threading.Thread(target=proxy.serve, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        # Closing alone does not wake a thread in accept().
        _end(listener)
        proxy.close()
        thread.join(5.0)
