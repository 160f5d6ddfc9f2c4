"""Hostile requests as bytes: some written by hand, many made from a seed out of right ones."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator, Mapping
from typing import Any

from tests.support import jsonl, signal

MARK = "@@here@@"
BOUNDARY = "bOuNdArY"

TOKENS = [
    "NaN", "-Infinity", "1e999", "-1e999", "1e-999", "9223372036854775808", "-9223372036854775809",
    "18446744073709551616", "1" * 400, "0.1", "-1", "0", "1e3", "true", "null", "[]", "{}", '""', "[[]]",
    '"\\ud800"', '"\\udfff\\ud800"', '"\\u0000"', '"a\\u0000b"', '"\\uffff"', '"NaN"', '"' + "x" * 70_000 + '"',
    '"../../etc/passwd"', '"file:///etc/passwd"', '"http://169.254.169.254/"', '"%00"', '"\'; DROP TABLE jobs;--"',
    '"data:image/png;base64,AAAA"', '"data:;base64,!!!"', '"=cmd|calc"', '"\u202e\u0000"'.replace("\u0000", ""),
    "[" * 200 + "]" * 200, '{"a":' * 40 + "1" + "}" * 40, "[NaN]", "[1e308, 1e308]", "[null]", '["a", 1, null]',
    '{"grid": [0, 1], "values": [1]}', '{"grid": [], "values": []}', '{"grid": [1e308, -1e308], "values": [1, 2]}',
    '{"grid": [1, 1], "values": [1, 1]}', '{"a": 1, "a": 2}', "[" + "0," * 3_000 + "0]", "1.7976931348623157e308",
    "3.5e38", "'single'", "undefined", "0x10", "01", "+1", ".5", "[1,]", '{"a" 1}', "tru", '"unfinished', "/*c*/1",
]  # fmt: skip
"""JSON texts, right and wrong, that go in the place of a value."""

PIECES = [
    "..", "%2e%2e", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "%00", "a%00b", "%ff%fe", "%c0%ae%c0%ae", "%", "%zz", "~", "*",
    "a" * 300, "a" * 9_000, "%F0%9F%8D%88", "\\..\\..", ";", "'", "%22", "<script>", "a:99999999999999999999",
    "a:-1", "a:0", "m:9223372036854775808", "m@", "@", ":", "m:1:1", "m@live@live", "9" * 40, "-1", "1e9", "%0d%0aX:%20y",
]  # fmt: skip

QUERIES = [
    "limit=0", "limit=-1", "limit=9223372036854775808", "limit=NaN", "limit=1e3", "limit=", "after=", "after=%00",
    "after=" + "a" * 5_000, "after=audit-9999999999999999999", "after=ftevent-99999999999999999999", "after=-1",
    "limit=1&limit=2", "metadata[a]=b", "metadata[]=", "metadata[%00]=%00", "metadata[a%22]=b", "metadata[$.a]=b",
    "metadata[" + "a" * 3_000 + "]=b", "label=%ff", "purpose=%00", "&&&=&", "a=%ud800", "model=m&top_k=-1",
    "model=m&top_k=99999999999999999999", "model=%00", "task=none", "modality=none", "backbone=../..",
]  # fmt: skip

HEADERS = [
    "content-type: application/json; charset=utf-16", "content-type: text/plain", "content-type: ", "content-type: *",
    "content-type: multipart/form-data", "content-type: multipart/form-data; boundary=", "content-type: " + "a" * 4_000,
    "content-encoding: gzip", "content-encoding: br", "transfer-encoding: gzip, chunked", "transfer-encoding: identity",
    "accept: text/event-stream", "accept: text/html", "accept: " + ",".join(["a/b;q=0.1"] * 500), "range: bytes=0-",
    "range: bytes=" + ",".join(f"{i}-" for i in range(500)), "prefer: wait=-1", "prefer: wait=0", "prefer: " + "wait" * 50,
    "idempotency-key: ", "idempotency-key: " + "k" * 300, "idempotency-key: \xff\xfe", "last-event-id: -1",
    "last-event-id: 99999999999999999999", "inference-header-content-length: -1", "inference-header-content-length: 10",
    "inference-header-content-length: 99999999999", "inference-header-content-length: 0", "host: ", "host: a\tb",
    "x-forwarded-for: " + "1.2.3.4, " * 200, "x-forwarded-for: \xff", "x-forwarded-proto: javascript", "expect: 200-ok",
    "connection: upgrade\r\nupgrade: websocket", "connection: upgrade\r\nupgrade: h2c", "authorization: Bearer " + "a" * 5_000,
    "authorization: Basic \xff", "x-api-key: dk_\x80_\x80", "cookie: " + "a=b; " * 1_000, "if-none-match: *", "te: trailers",
    "x-http-method-override: DELETE", "x-" + "a" * 3_000 + ": b", "trailer: content-length",
]  # fmt: skip

BY_HAND = [
    b"\x00" * 100,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET / HTTP/0.9\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/9.9\r\nhost: t\r\n\r\n",
    b"get /health HTTP/1.1\r\nhost: t\r\n\r\n",
    b"\r\n\r\nGET /health HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n",
    b"GET /health HTTP/1.1\nhost: t\nconnection: close\n\n",
    b"GET /health HTTP/1.1\r\n host: t\r\n\r\n",
    b"GET /health HTTP/1.1\r\nhost : t\r\n\r\n",
    b"GET /health HTTP/1.1\r\nhost: t\r\nx: a\r\n b\r\n\r\n",
    b"GET /health HTTP/1.1\r\nhost: t\x00\r\n\r\n",
    b"GET /health HTTP/1.1\r\n: empty\r\n\r\n",
    b"GET http://[::1 HTTP/1.1\r\nhost: t\r\n\r\n",
    b"GET http://a:99999999/ HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n",
    b"GET http://user:pw@other/v1/files HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n",
    b"CONNECT a:443 HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n",
    b"TRACE /v1/files HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n",
    b"PROPFIND /v1/files HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n",
    b"FOO /v1/files HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n",
    b"GET /a b HTTP/1.1\r\nhost: t\r\n\r\n",
    b"GET //// HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n",
    b"GET /../../etc/passwd HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n",
    b"GET /docs-assets/../../../etc/passwd HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n",
    b"GET /docs-assets/%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n",
    b"GET /docs-assets/a%00b HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n",
    b"GET /docs-assets/ HTTP/1.1\r\nhost: t\r\nrange: bytes=0-0,1-1\r\nconnection: close\r\n\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nhost: t\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000 + b"\r\n",
    b"POST /v1/predictions HTTP/1.1\r\nhost: t\r\ncontent-length: -1\r\n\r\n",
    b"POST /v1/predictions HTTP/1.1\r\nhost: t\r\ncontent-length: 1e3\r\n\r\n",
    b"POST /v1/predictions HTTP/1.1\r\nhost: t\r\ncontent-length: 99999999999999999999\r\n\r\n",
    b"POST /v1/predictions HTTP/1.1\r\nhost: t\r\ncontent-length: 99999999999\r\n\r\n{}",
    b"POST /v1/predictions HTTP/1.1\r\nhost: t\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    b"POST /v1/predictions HTTP/1.1\r\nhost: t\r\ncontent-length: 2, 2\r\n\r\n{}",
    b"POST /v1/predictions HTTP/1.1\r\nhost: t\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /v1/predictions HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    b"POST /v1/predictions HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    b"POST /v1/predictions HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n",
    b"POST /v1/predictions HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n2;" + b"e" * 70_000 + b"\r\n{}\r\n0\r\n\r\n",
    b"POST /v1/predictions HTTP/1.1\r\nhost: t\r\ntransfer-encoding: xchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"GET /health HTTP/1.1\r\nhost: t\r\ncontent-length: 5\r\nconnection: close\r\n\r\nabcde",
]  # fmt: skip


def right_ones(ids: Mapping[str, str]) -> list[tuple[str, str, Any]]:
    """Requests that are right: method, path, body (JSON, the parts of a form, or None)."""
    model, file, dataset, job = (ids[kind] for kind in ("model", "file", "dataset", "job"))
    tensor = {"name": "signal", "datatype": "FP32", "shape": [1, 50], "data": signal(0, 1)}
    infer = {
        "id": "1",
        "inputs": [tensor],
        "outputs": [{"name": "scores", "parameters": {"classification": 2}}],
    }
    fit = {
        "model": "signal/raw",
        "training_file": file,
        "suffix": "s",
        "method": {"type": "logistic"},
        "seed": 1,
    }
    deep = {
        **fit,
        "method": {"type": "ridge", "ridge": {"hyperparameters": {"alpha": 1.0}}},
        "metadata": {"a": "b"},
    }
    example = [{"input": signal(0, 5), "label": "0"}]
    rows = jsonl([{"input": signal(0, i), "label": str(i % 2)} for i in range(4)])
    form = {"file": rows, "purpose": b"fine-tune", "modality": b"signal", "task": b"classification"}
    return [
        ("POST", "/v1/predictions", {"model": model, "input": signal(0, 2), "top_k": 2}),
        ("POST", "/v1/predictions", {"model": model, "input": [signal(0, 2)], "return_embedding": True}),
        ("POST", "/v1/embeddings", {"model": "signal/raw", "input": [signal(0, 2)], "encoding_format": "float"}),
        ("POST", f"/v2/models/{model}/infer", infer),
        ("POST", f"/v2/models/{model}/versions/1/infer", infer),
        ("POST", "/v2/repository/index", {"ready": True}),
        ("POST", "/v1/fine_tuning/jobs", fit),
        ("POST", "/v1/fine_tuning/jobs", deep),
        ("POST", f"/v1/fine_tuning/jobs/{job}/cancel", None),
        ("POST", "/v1/recommendations", {"training_file": "file-0", "unlabelled_file": "file-1"}),
        ("POST", "/v1/datasets", {"name": "n", "modality": "signal", "task": "classification"}),
        ("POST", f"/v1/datasets/{dataset}/examples", example),
        ("POST", f"/v1/models/{model}-x/examples?modality=signal", example),
        ("PUT", f"/v1/models/{model}/aliases/a", {"version": 1}),
        ("POST", "/v1/files", form),
        ("GET", f"/v1/files/{file}", None),
        ("GET", f"/v1/files/{file}/content", None),
        ("GET", "/v1/files", None),
        ("GET", f"/v1/datasets/{dataset}/examples", None),
        ("GET", "/v1/fine_tuning/jobs", None),
        ("GET", f"/v1/fine_tuning/jobs/{job}/events", None),
        ("GET", f"/v1/fine_tuning/jobs/{job}/report", None),
        ("GET", f"/v1/models/{model}", None),
        ("GET", f"/v2/models/{model}/versions/1", None),
        ("GET", f"/v2/models/{model}/stats", None),
        ("GET", "/v1/audit", None),
        ("GET", "/v1/backbones/signal/raw", None),
        ("DELETE", f"/v1/models/{model}/aliases/a", None),
        ("DELETE", f"/v1/models/{model}:7", None),
        ("DELETE", "/v1/files/file-0", None),
        ("DELETE", f"/v1/datasets/{dataset}/examples/ex-0", None),
    ]  # fmt: skip


def corpus(seed: int, count: int, ids: Mapping[str, str]) -> Iterator[bytes]:
    """Those written by hand, then `count` made ones."""
    yield from BY_HAND
    rng = random.Random(seed)
    right = right_ones(ids)
    for i in range(count):
        yield _made(rng, *right[i % len(right)])


def _made(rng: random.Random, method: str, path: str, body: Any) -> bytes:
    """A right request with one thing about it wrong, or two."""
    headers: list[str] = []
    content, kind = _encoded(body, rng if rng.random() < 0.6 else None)
    if kind:
        headers.append(f"content-type: {kind}")
    if not body or rng.random() < 0.4:
        choice = rng.randrange(4)
        if choice == 0:
            parts = path.split("/")
            parts[rng.randrange(1, len(parts))] = rng.choice(PIECES)
            path = "/".join(parts)
        elif choice == 1:
            path += ("&" if "?" in path else "?") + rng.choice(QUERIES)
        elif choice == 2:
            headers.append(rng.choice(HEADERS))
        else:
            method = rng.choice(
                ["PATCH", "PUT", "POST", "HEAD", "OPTIONS", "DELETE" if "0" in path else "GET"]
            )
    length = len(content) + (rng.choice([-1, 1, 10_000]) if content and rng.random() < 0.05 else 0)
    if content or rng.random() < 0.1:
        headers.append(f"content-length: {length}")
    head = "\r\n".join([f"{method} {path} HTTP/1.1", "host: t", *headers, "connection: close"])
    return _bent(rng, head.encode("latin-1", "replace") + b"\r\n\r\n" + content)


def _bent(rng: random.Random, request: bytes) -> bytes:
    """Now and then cut short, or with some bytes changed."""
    if rng.random() < 0.05:
        return request[: rng.randrange(len(request))]
    if rng.random() < 0.1:
        changed = bytearray(request)
        for _ in range(rng.randrange(1, 6)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        return bytes(changed)
    return request


def _encoded(body: Any, rng: random.Random | None) -> tuple[bytes, str]:
    """The body and its content type; with `rng`, something in it is not what it should be."""
    if body is None:
        return b"", ""
    if isinstance(body, dict) and isinstance(body.get("file"), bytes):
        return _form(body, rng), f"multipart/form-data; boundary={BOUNDARY}"
    text = json.dumps(body)
    if rng is not None:
        changed = copy.deepcopy(body)
        text = json.dumps(_marked(rng, changed)).replace(f'"{MARK}"', rng.choice(TOKENS), 1)
    return text.encode("utf-8", "surrogatepass"), "application/json"


def _marked(rng: random.Random, value: Any) -> Any:
    """The value with a mark in the place of some part of it, or of one more key."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice([*value, "extra"])
        value[key] = _marked(rng, value.get(key)) if key in value else MARK
        return value
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        value[at] = _marked(rng, value[at])
        return value
    return MARK


def _form(fields: Mapping[str, bytes], rng: random.Random | None) -> bytes:
    parts = []
    for name, content in fields.items():
        filename = '; filename="r.jsonl"' if name == "file" else ""
        if rng is not None and rng.random() < 0.4:
            content = rng.choice(
                [b"", b"\x00", b"\xff\xfe", b"a" * 5_000, rng.choice(TOKENS).encode()[:900], content[:20]]
            )
        if rng is not None and rng.random() < 0.3:
            filename = (
                f'; filename="{rng.choice(["../../x.zip", "a.npz", "a.csv", "a" * 5_000, "", "x.parquet"])}"'
            )
        parts.append(
            f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="{name}"{filename}\r\n\r\n'.encode()
            + content
        )
    return b"\r\n".join([*parts, f"--{BOUNDARY}--\r\n".encode()])
