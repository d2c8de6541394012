"""What is kept of each request, and what each answer carries: an id, headers of safety, metrics, a line of the log."""

import json
import logging
import time
import uuid

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mammo.serving.service import format_now
from mammo.serving.service_metrics import ServiceMetrics

REQUEST_ID = "X-Request-ID"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
}
log = logging.getLogger(__name__)


class Observation:
    """ASGI middleware; no name and no pixel is logged.

    FastAPI's own kind of middleware passes each message through a queue, which costs more than an answer's HTTP.
    """

    def __init__(self, app: ASGIApp, metrics: ServiceMetrics):
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request under a new id, and note how it ended."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state.update(id=uuid.uuid4().hex, user=None)
        start, status = time.perf_counter(), 500

        async def send_observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(HEADERS | {REQUEST_ID: state["id"]})
            await send(message)

        try:
            await self.app(scope, receive, send_observed)
        finally:
            self._note(scope, status, time.perf_counter() - start)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route, state = getattr(scope.get("route"), "path", "unknown"), scope["state"]
        self.metrics.requests.labels(route, status).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        event = {"time": format_now(), "request_id": state["id"], "user": state["user"], "route": route}
        log.info(json.dumps(event | {"status": status, "seconds": round(seconds, 4)}))
