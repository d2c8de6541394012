"""The HTTP service in a thread of this process, over real sockets."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
import uvicorn

from mammo.inference.predictor import Predictor
from mammo.serving.app import create_app
from mammo.serving.protocol import PunctualProtocol
from mammo.serving.settings import ServiceSettings


class Server:
    """A running service."""

    def __init__(self, url: str):
        self.url = url
        self.port = int(url.rpartition(":")[2])

    def post(self, path: str = "/v1/predict", **options: Any) -> requests.Response:
        return requests.post(self.url + path, timeout=60, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(self.url + path, timeout=60, **options)

    def raw(self, content: bytes, seconds: float = 10) -> bytes:
        """Send bytes over a socket and return what comes back until the server closes or `seconds` pass."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            connection.sendall(content)
            return connection.recv(65536)


class Impatient(PunctualProtocol):
    """Tests do not wait ten seconds."""

    header_timeout_s = 3.0


@contextmanager
def serving(predictor: Predictor, **settings: Any) -> Iterator[Server]:
    """Serve until the block ends."""
    app = create_app(predictor, ServiceSettings(**{"max_batch": 4, **settings}))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", http=Impatient))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 120
    while not server.started:
        assert thread.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Server(f"http://127.0.0.1:{port}")
    finally:
        server.should_exit = True
        thread.join(30)
