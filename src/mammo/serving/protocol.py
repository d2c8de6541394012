"""HTTP as uvicorn speaks it, but a connection on which no request arrives in time is closed."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_TIMEOUT_S = 10.0


class PunctualProtocol(H11Protocol):
    """uvicorn's protocol, which waits for ever for a request's headers; such connections would use all there are."""

    header_timeout_s = HEADER_TIMEOUT_S

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to watch a new connection."""
        super().connection_made(transport)
        self.loop.call_later(self.header_timeout_s, self._close_if_idle, self.cycle)

    def _close_if_idle(self, last_request: object) -> None:
        """Close the connection if no request has come since the last look, and none is being answered."""
        if self.transport.is_closing():
            return
        answering = self.cycle is not None and not self.cycle.response_complete
        if self.cycle is last_request and not answering:
            self.transport.close()
        else:
            self.loop.call_later(self.header_timeout_s, self._close_if_idle, self.cycle)
