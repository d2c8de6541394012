"""A web server on loopback that speaks as much S3 as the sources ask for, and fails on demand."""

import base64
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PIECE_BYTES = 1 << 16
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


@dataclass
class Fault:
    """What one request gets instead of its answer.

    status: an error without content. body: other content. cut_after: so many bytes, then the connection ends.
    stall_after: so many bytes, then silence until the server closes. pause_s: between two pieces of 64 KiB.
    """

    status: int = 200
    body: bytes | None = None
    cut_after: int | None = None
    stall_after: int | None = None
    pause_s: float = 0


@dataclass
class Server:
    """files: content by path, for S3 `/<bucket>/<key>`. faults: by path, one per request, in order; then all is well.

    asked: (path, Range header) of every request for a file, and (path, prefix) of every listing.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    listed_at_once: int = 1000
    multipart_etags: bool = False
    ranges: bool = True
    url: str = ""
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def etag(self, path: str) -> str:
        digest = hashlib.md5(self.files[path]).hexdigest()
        return f"{digest}-2" if self.multipart_etags else digest

    def times_asked(self, path: str) -> int:
        return sum(asked == path for asked, _ in self.asked)

    def next_fault(self, path: str) -> Fault | None:
        with self.lock:
            waiting = self.faults.get(path)
            return waiting.pop(0) if waiting else None


@contextmanager
def running() -> Iterator[Server]:
    """A server that answers until the block ends."""
    server = Server()

    class Handler(_Handler):
        state = server

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.daemon_threads = True
    server.url = f"http://127.0.0.1:{web.server_port}"
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        web.shutdown()
        web.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Server

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client is killed, or has enough
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: pytest's output stays readable."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        query = parse_qs(address.query)
        listing = "list-type" in query
        asked = query.get("prefix", [""])[0] if listing else self.headers.get("Range", "")
        with self.state.lock:
            self.state.asked.append((address.path, asked))
        fault = self.state.next_fault(address.path) or Fault()
        if fault.status != 200:
            self._answer(fault.status, b"")
        elif address.path in self.state.redirects:
            self._answer(302, b"", {"Location": self.state.redirects[address.path]})
        elif listing and fault.body is not None:
            self._answer(200, fault.body)
        elif listing:
            self._answer(200, self._list(address.path, asked, int(query.get("continuation-token", ["0"])[0])))
        elif address.path not in self.state.files:
            self._answer(404, b"")
        else:
            self._send_file(address.path, asked, fault)

    def _send_file(self, path: str, asked: str, fault: Fault) -> None:
        content = self.state.files[path] if fault.body is None else fault.body
        status, start, end = 200, 0, len(content)
        if asked and self.state.ranges:
            first, last = asked.removeprefix("bytes=").split("-")
            status, start, end = 206, int(first), min(end, int(last) + 1) if last else end
            if start >= len(content):
                return self._answer(416, b"")
        digest = base64.b64encode(hashlib.md5(self.state.files[path]).digest()).decode()
        headers = {
            "ETag": f'"{self.state.etag(path)}"',
            "Accept-Ranges": "bytes" if self.state.ranges else "none",
            "x-goog-hash": f"crc32c=AAAAAA==,md5={digest}",
        }
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        self._answer(status, content[start:end], headers, fault)

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None, fault: Fault | None = None):
        fault = fault or Fault()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if fault.pause_s:
            for start in range(0, len(content), PIECE_BYTES):
                self.wfile.write(content[start : start + PIECE_BYTES])
                self.state.closing.wait(fault.pause_s)
            return
        if fault.cut_after is None and fault.stall_after is None:
            self.wfile.write(content)
            return
        self.wfile.write(content[: fault.cut_after if fault.stall_after is None else fault.stall_after])
        self.wfile.flush()
        if fault.stall_after is not None:
            self.state.closing.wait(60)
        self.close_connection = True

    def _list(self, bucket: str, prefix: str, start: int) -> bytes:
        keys = sorted(path.removeprefix(f"{bucket}/") for path in self.state.files if path.startswith(f"{bucket}/"))
        keys = [key for key in keys if key.startswith(prefix)]
        page, end = keys[start : start + self.state.listed_at_once], start + self.state.listed_at_once
        entries = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(self.state.files[f'{bucket}/{key}'])}</Size>"
            f"<ETag>&quot;{self.state.etag(f'{bucket}/{key}')}&quot;</ETag></Contents>"
            for key in page
        )
        more = f"<NextContinuationToken>{end}</NextContinuationToken>" if end < len(keys) else ""
        return f'<ListBucketResult xmlns="{NAMESPACE}">{entries}{more}</ListBucketResult>'.encode()
