"""A line with delay between an ssh client and its server: every byte arrives so much later, in both directions."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from typing import Self


class SlowLine:
    """Listens on a port of 127.0.0.1 and passes on to `target`; `down` counts bytes from there."""

    def __init__(self, target: tuple[str, int], delay: float) -> None:
        self._target = target
        self._delay = delay
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.down = 0
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for sock in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._open += (client, server)
                for sock in (client, server):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._carry(client, server, counted=False)
                self._carry(server, client, counted=True)

    def _carry(self, source: socket.socket, sink: socket.socket, *, counted: bool) -> None:
        under_way: queue.Queue[tuple[float, bytes]] = queue.Queue()

        def take() -> None:
            data = b"."
            while data:
                with contextlib.suppress(OSError):
                    data = b""
                    data = source.recv(65536)
                self.down += len(data) if counted else 0
                under_way.put((time.monotonic() + self._delay, data))

        def give() -> None:
            with contextlib.suppress(OSError):
                while True:
                    due, data = under_way.get()
                    time.sleep(max(due - time.monotonic(), 0))
                    if not data:
                        sink.shutdown(socket.SHUT_WR)
                        return
                    sink.sendall(data)

        for work in (take, give):
            threading.Thread(target=work, daemon=True).start()
