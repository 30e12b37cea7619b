"""The size of a request, bounded before anything parses it."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import ProblemError

MAX_BODY_BYTES = 2_097_152
MAX_DIGITS = 20  # of a declared size; Python itself refuses to read a number of more than 4300
MAX_SEQUENCE = 2**53
"""The most a numeric cursor may say: a larger one would not fit the database's integers."""


class BodyLimit:
    """ASGI middleware that answers 413 to a body over `MAX_BODY_BYTES`, declared or streamed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or len(declared) > MAX_DIGITS or int(declared) > MAX_BODY_BYTES:
            await _refuse(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            return message if read <= MAX_BODY_BYTES else {"type": "http.disconnect"}

        async def unless_too_large(message: Message) -> None:
            if read <= MAX_BODY_BYTES:
                await send(message)

        try:
            await self._app(scope, counted, unless_too_large)
        except Exception:
            if read <= MAX_BODY_BYTES:
                raise
        if read > MAX_BODY_BYTES:
            await _refuse(scope, receive, send)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    await ProblemError("body_too_large", limit=MAX_BODY_BYTES).response()(scope, receive, send)
