"""Limits on the bodies of requests: size of one, bytes of all together, and the time in which one arrives."""

import asyncio
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mammo.serving.settings import MEGABYTE, ServiceSettings


class BodyLimits:
    """ASGI middleware: 413 for a body too large, 408 for one too slow, 429 while all together are too large."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings):
        self.app = app
        self.settings = settings
        self.in_flight_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request whose body is counted while it arrives."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if _declared_length(scope) > self.settings.max_body_bytes:
            refusal = self._too_large()
            await JSONResponse({"detail": refusal.detail}, refusal.status_code)(scope, receive, send)
            return
        body = _Body(self, receive)
        try:
            await self.app(scope, body.receive, send)
        finally:
            self.in_flight_bytes -= body.size

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f"the body has more than {self.settings.max_body_bytes // MEGABYTE} MB")

    def count(self, body: "_Body", size: int) -> None:
        """Add bytes of a body; raises HTTPException where they are too many."""
        body.size += size
        self.in_flight_bytes += size
        if body.size > self.settings.max_body_bytes:
            raise self._too_large()
        if self.in_flight_bytes > self.settings.max_in_flight_bytes:
            raise HTTPException(429, "too many bytes are being read; try again", {"Retry-After": "1"})


class _Body:
    """The body of one request as it arrives."""

    def __init__(self, limits: BodyLimits, receive: Receive):
        self.limits, self._receive = limits, receive
        self.size = 0
        self.complete = False
        self.deadline = asyncio.get_running_loop().time() + limits.settings.read_timeout_s

    async def receive(self) -> Message:
        """Return the next message, raising HTTPException where the body is too large or too slow."""
        if self.complete:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self.deadline):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, f"the body took more than {self.limits.settings.read_timeout_s:g} s") from None
        self.complete = not message.get("more_body", False)
        self.limits.count(self, len(message.get("body", b"")))
        return message


def _declared_length(scope: Scope) -> int:
    headers: dict[bytes, Any] = dict(scope["headers"])
    length = headers.get(b"content-length", b"0")
    return int(length) if length.isdigit() else 0
