"""Bodies before routing: how large, of which type, and JSON read strictly, once and for every route."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope

from app.api.strict import strict_json
from models.errors import InvalidRequest, TooLarge, UnsupportedMedia

_UPLOADS = ("/v1/files", "/v1/datasets", "/v1/models")
_MEDIA = frozenset({"/v1/predictions", "/v1/files"})
_PREDICTIONS = frozenset({"/v1/predictions", "/v1/embeddings"})
_INFER = "/infer"
_LENGTH = b"inference-header-content-length"


def predicts(path: str) -> bool:
    """Whether requests to this path want an answer of the engine."""
    return path in _PREDICTIONS or path.endswith(_INFER)


class Bodies:
    """`max_json` bounds JSON, `max_upload` the bodies of upload routes, `max_body` others; in bytes."""

    def __init__(self, max_json: int, max_upload: int, max_body: int) -> None:
        self.max_json = max_json
        self.max_upload = max_upload
        self.max_body = max_body

    async def checked(self, scope: Scope, fields: Mapping[bytes, bytes], receive: Receive) -> Receive:
        """`receive`, bounded; bodies of JSON and of predictions are read here, and JSON is checked. The value
        of one that is JSON alone is kept in the scope's state, as `json`.

        Raises UnsupportedMedia, TooLarge, InvalidRequest, and InvalidInput for text that cannot be stored.
        """
        if fields.get(b"content-encoding", b"identity") != b"identity":
            raise UnsupportedMedia("Compressed bodies are not read; send the body as it is.")
        length = _length(fields)
        if length == 0:
            return receive
        path: str = scope["path"]
        is_json = _is_json(fields.get(b"content-type", b""))
        if not is_json and path.startswith("/v1") and not (path in _MEDIA or path.endswith("/examples")):
            raise UnsupportedMedia("Send JSON, with the content type application/json.", param="content-type")
        limit = self._limit(path, is_json)
        if length is not None and length > limit:
            raise _too_large(limit)
        if not (is_json or predicts(path)):
            return _limited(receive, limit)
        body = await _read(receive, limit)
        if path.endswith(_INFER):
            self._check(fields, body)
        elif is_json and body:
            scope["state"]["json"] = strict_json(body)
        return replayed(body, receive)

    def _limit(self, path: str, is_json: bool) -> int:
        if path.endswith(_INFER):
            return self.max_body
        if is_json:
            return self.max_json
        return self.max_upload if path.startswith(_UPLOADS) else self.max_body

    def _check(self, fields: Mapping[bytes, bytes], body: bytes) -> None:
        """The JSON at the head of an infer request."""
        end = _json_end(fields, body)
        if end > self.max_json:
            raise _too_large(self.max_json)
        if end and body:
            strict_json(body[:end])


def _json_end(fields: Mapping[bytes, bytes], body: bytes) -> int:
    """Where the JSON of an infer request ends; what the header says wrongly is refused by the codec."""
    stated = fields.get(_LENGTH, b"")
    return min(int(stated), len(body)) if stated.isdigit() and len(stated) < 12 else len(body)


def _is_json(content_type: bytes) -> bool:
    """Raises UnsupportedMedia for JSON in another character set than UTF-8."""
    if content_type == b"application/json":
        return True
    kind, _, parameters = content_type.lower().partition(b";")
    if kind.strip() != b"application/json":
        return False
    charset = parameters.partition(b"charset=")[2].strip(b' "')
    if charset and charset.partition(b";")[0].strip(b' "') not in (b"utf-8", b"utf8", b"us-ascii"):
        raise UnsupportedMedia("JSON is read as UTF-8 only.", param="content-type")
    return True


def _length(fields: Mapping[bytes, bytes]) -> int | None:
    """What Content-Length says; None for a body in chunks, 0 for none. Raises InvalidRequest."""
    stated = fields.get(b"content-length")
    if stated is None:
        return None if b"transfer-encoding" in fields else 0
    if not stated.isdigit() or len(stated) > 18:
        raise InvalidRequest("The Content-Length header is not a number.")
    return int(stated)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(
        f"The body is larger than the {limit} bytes allowed here. Send less at a time, or files as multipart."
    )


async def _read(receive: Receive, limit: int) -> bytes:
    """The whole body. Raises TooLarge, ClientDisconnect."""
    message = await receive()
    parts, size = [], 0
    while message["type"] == "http.request":
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)
        message = await receive()
    raise ClientDisconnect


def replayed(body: bytes, receive: Receive) -> Receive:
    """`receive` again, from the start of a body that was read."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return left.pop() if left else await receive()

    return again


def _limited(receive: Receive, limit: int) -> Receive:
    """`receive`, refusing a body that turns out to be over `limit` bytes."""
    seen = 0

    async def limited() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise _too_large(limit)
        return message

    return limited
