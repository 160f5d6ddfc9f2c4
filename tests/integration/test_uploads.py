"""Hostile uploads over HTTP: what is refused with which code, what is kept, and what comes back."""

from __future__ import annotations

import asyncio
import io
import struct
import subprocess
import sys
import tarfile
import time
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from app.decoding.decoders import Decoders
from app.decoding.nursery import Nursery
from app.health import BEAT
from tests.integration.test_bad_input import error_of
from tests.media import encoded, picture, png_header, zipped
from tests.support import Job, jsonl, png

Upload = Callable[..., Any]
CAT, DOG = png(90), png(10)


def tree(folder: Path) -> list[str]:
    """What lies there, but for the database and the worker's sign of life."""
    found = (path for path in folder.rglob("*") if "sqlite" not in path.name and path.name != BEAT)
    return sorted(map(str, found))


# --- archives -----------------------------------------------------------------------------------

NAMES = (
    "../x.png",
    "cat/../../x.png",
    "/x.png",
    "//host/x.png",
    "C:\\x.png",
    "C:/x.png",
    "c:x.png",
    "cat\\x.png",
    "\\\\host\\x.png",
    "..",
    "cat/..",
    "cat/x\0.png",
)


@pytest.mark.parametrize("name", NAMES)
def test_names_that_leave_the_archive_leave_no_trace(upload: Upload, service_folder: Path, name: str) -> None:
    before = tree(service_folder)
    stand_in = name.replace("\0", "?")
    data = zipped({"cat/1.png": CAT, stand_in: DOG}).replace(stand_in.encode(), name.encode())
    error = error_of(upload("a.zip", data), 422)
    assert error["code"] == "archive_path"
    assert name not in error["message"]
    assert tree(service_folder) == before


def test_links_and_tapes(upload: Upload) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo("cat/1.png")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    assert error_of(upload("a.zip", buffer.getvalue()), 422)["code"] == "archive_link"
    for mode in ("w", "w:gz"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=mode) as tape:
            tape.addfile(tarfile.TarInfo("cat/1.png"))
        assert error_of(upload("a.tar", buffer.getvalue()), 415)["code"] == "unsupported_media"


def overlapping(count: int, size: int) -> bytes:
    """One compressed body that so many entries of the directory claim for theirs (Fifield 2019)."""
    with zipfile.ZipFile(buffer := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cat/00000.png", CAT + bytes(1000))
    data = buffer.getvalue()
    start = data.index(b"PK\1\2")
    end = data.index(b"PK\5\6")
    record = data[start:end]
    record = record[:24] + struct.pack("<I", size) + record[28:]
    directory = b"".join(record.replace(b"00000", b"%05d" % i) for i in range(count))
    tail = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(directory), start, 0)
    return data[:start] + directory + tail


def test_entries_that_overlap(upload: Upload) -> None:
    data = overlapping(800, 12_500_000)
    assert len(data) < 55_000
    assert sum(entry.file_size for entry in zipfile.ZipFile(io.BytesIO(data)).infolist()) == 10**10
    assert error_of(upload("a.zip", data), 422)["code"] == "archive_unsupported"


def test_too_many_members_and_archives_in_archives(upload: Upload) -> None:
    many = zipped({f"a/{i}.txt": b"" for i in range(5_001)}, zipfile.ZIP_STORED)
    assert error_of(upload("a.zip", many), 422)["code"] == "too_many_members"
    flood = zipped({"a/1.txt": b"PK\1\2" * 65_000}, zipfile.ZIP_STORED)
    assert error_of(upload("a.zip", flood), 422)["code"] == "too_many_members"
    nested = zipped({"a/1.zip": zipped({"b/1.png": CAT})})
    assert error_of(upload("a.zip", nested), 422)["code"] == "archive_unsupported"


# --- pictures -----------------------------------------------------------------------------------


def test_a_pixel_bomb_is_refused_by_its_header(upload: Upload) -> None:
    error = error_of(upload("a.zip", zipped({"cat/1.png": png_header(30_000, 10_000)})), 422)
    assert (error["code"], error["param"]) == ("image_too_large", "cat/1.png")


OTHERS = {
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(file) run",
    "EPS with a preview": b"\xc5\xd0\xd3\xc6" + bytes(60),
    "PSD": b"8BPS\0\1" + bytes(60),
    "PDF": b"%PDF-1.7\n",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    "XML": b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
    "HTML": b"<!doctype html><script>alert(1)</script>",
    "ICO": b"\0\0\1\0\1\0" + bytes(60),
    "ICNS": b"icns" + bytes(60),
    "PPM": b"P6 1 1 255\n\0\0\0",
    "PCX": b"\x0a\5\1\x08" + bytes(128),
    "SGI": b"\x01\xda\x01\x01" + bytes(60),
    "TGA": bytes(18) + b"TRUEVISION-XFILE.\0",
    "DDS": b"DDS " + bytes(124),
    "FITS": b"SIMPLE  =                    T" + bytes(50),
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40),
    "AVIF": b"\0\0\0\x1cftypavif" + bytes(40),
    "WMF": b"\xd7\xcd\xc6\x9a" + bytes(60),
    "XPM": b"/* XPM */\nstatic char *x[] = {",
    "BigTIFF": b"II+\0\x08\0\0\0" + bytes(40),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_formats_under_the_name_of_a_picture(upload: Upload, kind: str) -> None:
    assert len(OTHERS) == 20
    error = error_of(upload("a.zip", zipped({"cat/1.png": OTHERS[kind]})), 415)
    assert (error["code"], error["param"]) == ("unsupported_media", "cat/1.png")


@pytest.mark.parametrize("container", ["PNG", "TIFF", "WEBP"])
def test_eight_orientations_have_one_embedding(client: TestClient, container: str) -> None:
    upright = picture(48, 32)
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transpositions that undo each
    inputs = []
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = upright.transpose(Image.Transpose(turns[orientation])) if orientation > 1 else upright
        options = {"lossless": True, "exact": True} if container == "WEBP" else {}
        inputs.append(_base64(encoded(stored, container, exif=exif, **options)))
    body = {"model": "image/durian-small", "input": inputs}
    rows = client.post("/v1/embeddings", json=body).json()["data"]
    vectors = np.array([row["embedding"] for row in rows])
    np.testing.assert_allclose(vectors, vectors[:1].repeat(8, 0), atol=1e-5)


def _base64(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode()


# --- what comes back ----------------------------------------------------------------------------

SCRIPT = b"<script>alert(document.domain)</script>"
POLYGLOTS = {
    "a.html": jsonl([{"input": SCRIPT.decode(), "label": "a"}]),
    "b.svg": b'{"input": "<svg onload=alert(1)>", "label": "a"}',
    "c.jsonl": b'{"input": "x", "label": "a", "<script>": 1}',
    "d.csv": b"text,label\n=HYPERLINK(0),a\n" + SCRIPT + b",b\n",
    "e.zip": zipped({"cat/1.png": CAT + SCRIPT, "dog/2.png": DOG}),
    "f.zip": b"" + zipped({"cat/1.gif": encoded(picture(), "GIF", comment=SCRIPT), "dog/2.png": DOG}),
}


@pytest.mark.parametrize("name", POLYGLOTS)
def test_content_comes_back_as_a_download_of_no_type(client: TestClient, upload: Upload, name: str) -> None:
    file = upload(name, POLYGLOTS[name])
    assert file.status_code == 200, file.text
    back = client.get(f"/v1/files/{file.json()['id']}/content")
    assert back.content == POLYGLOTS[name]
    assert back.headers["x-content-type-options"] == "nosniff"
    assert back.headers["content-type"] == "application/octet-stream"
    assert back.headers["content-disposition"].startswith("attachment;")


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("../../etc/cron.d/x.jsonl", "x.jsonl"),
        ("C:\\temp\\x.jsonl", "x.jsonl"),
        ("x" * 3_000 + ".jsonl", "x" * 200),
        ("e\u0301te\u0301.jsonl", "\xe9t\xe9.jsonl"),
        ("\u202egnp.jsonl", "gnp.jsonl"),
        ("a\r\nSet-Cookie: b.jsonl", "aSet-Cookie: b.jsonl"),
        ("..", ".."),
        ("", "upload"),
    ],
)
def test_a_file_name_is_only_a_label(client: TestClient, sent: str, shown: str) -> None:
    escaped = sent.replace("\r", "%0D").replace("\n", "%0A").encode()
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="' + escaped + b'"\r\n\r\n'
    body = part + POLYGLOTS["c.jsonl"] + b"\r\n--b--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=b"}
    response = client.post("/v1/files", content=body, headers=headers)
    assert response.status_code == 200, response.text
    name = response.json()["filename"]
    assert unicodedata.is_normalized("NFC", name)
    assert not any(unicodedata.category(c)[0] == "C" for c in name)
    assert name == shown.replace("aSet", "a%0D%0ASet")
    back = client.get(f"/v1/files/{response.json()['id']}/content")
    assert back.status_code == 200
    assert "set-cookie" not in back.headers


def test_a_file_name_of_five_kilobytes_is_refused(client: TestClient) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="' + b"x" * 5_000 + b'"\r\n\r\n'
    body = part + POLYGLOTS["c.jsonl"] + b"\r\n--b--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=b"}
    error_of(client.post("/v1/files", content=body, headers=headers), 400)


LABELS = (
    "=cmd|' /C calc'!A0",
    "<script>alert(1)</script>",
    "\u202ednob",
    "a\u0301\U0001f469\u200d\U0001f680",
)


def test_labels_are_data_wherever_they_go(
    client: TestClient, fit: Callable[..., Job], caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"input": [i, k, 1.0, 2.0 * k], "label": name} for k, name in enumerate(LABELS) for i in range(5)]
    job = fit("labels.jsonl", jsonl(rows), suffix="odd-labels")
    assert job["status"] == "succeeded", job
    assert set(client.get(f"/v1/files/{job['training_file']}").json()["labels"]) == set(LABELS)
    answer = client.post("/v1/predictions", json={"model": "odd-labels", "input": [0, 1, 1, 2]}).json()
    assert {score["label"] for score in answer["data"][0]["scores"]} == set(LABELS)
    page = client.get(f"/v1/fine_tuning/jobs/{job['id']}/report", headers={"accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")
    assert "<script>alert(1)" not in page.text
    assert "&lt;script&gt;alert(1)" in page.text
    assert all("\n" not in record.getMessage() for record in caplog.records)


def test_labels_that_would_break_a_line_are_refused(upload: Upload) -> None:
    for label in ("a\r\nb", "a\nb", "a\u2028b", "\x1b[2J", "", " ", True, {"a": 1}):
        error = error_of(upload("a.jsonl", jsonl([{"input": "x", "label": label}])), 422)
        assert error["code"] == "bad_label"


# --- repeats ------------------------------------------------------------------------------------


def test_repeats_cannot_make_a_score_look_better(fit: Callable[..., Job], upload: Upload) -> None:
    """Noise with random labels, each row ten times: no copy of a row judges what another one taught."""
    rng = np.random.default_rng(0)
    rows = [{"input": rng.normal(size=12).tolist(), "label": "ab"[i % 2]} for i in range(24)]
    once, often = (upload("noise.jsonl", jsonl(rows * times)).json() for times in (1, 10))
    assert often["examples"] == once["examples"] == 24
    assert often["digest"] == once["digest"]
    job = fit("noise.jsonl", jsonl(rows * 10), suffix="noise")
    assert job["result"]["metrics"]["accuracy"] < 0.85


def test_one_content_with_two_labels(upload: Upload) -> None:
    rows = [{"input": "x", "label": "a"}, {"input": "y", "label": "b"}, {"input": "x", "label": "b"}]
    error = error_of(upload("a.jsonl", jsonl(rows)), 422)
    assert error["code"] == "conflicting_labels"
    assert "line 3" in error["message"]
    assert "line 1" in error["message"]


# --- floods of parts ----------------------------------------------------------------------------


def parts(count: int, head: bytes, body: bytes = b"x") -> bytes:
    return b"".join(b"--b\r\n" + head + b"\r\n\r\n" + body + b"\r\n" for _ in range(count)) + b"--b--\r\n"


FILE = b'Content-Disposition: form-data; name="file"; filename="a.jsonl"'
FIELD = b'Content-Disposition: form-data; name="purpose"'
FLOODS = {
    "files": parts(5_000, FILE),
    "fields": parts(100_000, FIELD),
    "a field of 4 MB": parts(1, FIELD, b"x" * 4_000_000),
    "a header of 4 MB": parts(1, FILE + b"; x=" + b"y" * 4_000_000),
    "100,000 headers": parts(1, FILE + b"\r\nX-A: b" * 100_000),
    "no end": parts(1, FILE, POLYGLOTS["c.jsonl"])[:-6] + b"\r\n--b" * 200_000,
    "line ends before the start": b"\r\n" * 1_000_000 + parts(1, FIELD),
    "no name": parts(10, b"Content-Disposition: form-data"),
    "no boundary at all": b"x" * 4_000_000,
    "nothing": b"",
}


@pytest.fixture
def lag(client: TestClient) -> Iterator[list[float]]:
    """CPU seconds that the event loop's thread spent between two chances for other requests."""
    seen: list[float] = []
    going = True

    async def watch() -> None:
        last = time.thread_time()
        while going:
            await asyncio.sleep(0.001)
            now = time.thread_time()
            seen.append(now - last)
            last = now

    assert client.portal is not None
    task = client.portal.start_task_soon(watch)
    yield seen
    going = False
    task.result(10)


@pytest.mark.parametrize("name", FLOODS)
@pytest.mark.parametrize("path", ["/v1/files", "/v1/models/flood/examples", "/v1/predictions"])
def test_floods_of_parts_are_refused_and_hold_nobody_up(
    client: TestClient, lag: list[float], path: str, name: str
) -> None:
    data = FLOODS[name]
    chunks = (data[at : at + 65_536] for at in range(0, len(data), 65_536))
    headers = {"content-type": "multipart/form-data; boundary=b"}
    response = client.post(path, content=chunks, headers=headers)
    assert response.status_code in (400, 413, 415, 422), response.text
    assert max(lag, default=0) < 0.1


# --- containment --------------------------------------------------------------------------------


def test_a_decoder_that_crashes_leaves_the_service_up(client: TestClient, upload: Upload) -> None:
    files = client.app.state.services.files  # type: ignore[attr-defined]
    nursery, calm = Nursery("tests.hostile_decoders"), files.decoders
    files.decoders = Decoders(1, nursery=nursery)
    try:
        error = error_of(upload("a.zip", zipped({"cat/1.png": CAT, "dog/2.png": DOG + b"SEGV"})), 422)
        assert (error["code"], error["param"]) == ("undecodable", "dog/2.png")
        assert upload("a.zip", zipped({"cat/1.png": CAT, "dog/2.png": DOG})).status_code == 200
    finally:
        files.decoders.close()
        files.decoders = calm
        nursery.close()
    assert client.get("/health").status_code == 200


_SERVICE = """
import base64, sys
from pathlib import Path
from app.main import build
from app.services.datasets import NewExample
from app.settings import Settings
folder = Path(sys.argv[1])
process = build(Settings(data=folder / "data", lanes=1))
services, engine = process.services, process.engine
services.files.stored = services.datasets.stored = lambda pack: None
for path in (folder / "uploads").iterdir():
    services.files.create("t", path.name, path.read_bytes(), "fine-tune", None, None)
for name, kind in (("one.png", "image"), ("one.wav", "audio")):
    data = (folder / name).read_bytes()
    assert len(engine.embed_sync(f"{kind}/durian-small", [data])) == 1
    dataset = services.datasets.create("t", kind, kind, "classification").row.id
    services.datasets.add("t", dataset, [NewExample(base64.b64encode(data).decode(), "a")])
loaded = {module.split(".")[0] for module in sys.modules}
print(*sorted({"PIL", "soundfile", "soxr", "pyarrow"} & loaded))
process.embedder.close()
engine.close()
"""


def test_the_service_itself_never_loads_a_decoder(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tests.media import clip, npz, tone

    folder = tmp_path / "uploads"
    folder.mkdir()
    sound = clip(tone())
    (tmp_path / "one.png").write_bytes(CAT)
    (tmp_path / "one.wav").write_bytes(sound)
    (folder / "a.zip").write_bytes(zipped({"cat/1.png": CAT, "dog/1.png": DOG}))
    (folder / "b.zip").write_bytes(
        zipped({"cat/1.wav": sound, "dog/1.flac": clip(tone(0.2), container="FLAC")})
    )
    (folder / "c.npz").write_bytes(npz(x=np.arange(40, dtype=np.uint8).reshape(2, 4, 5)))
    pq.write_table(pa.table({"text": ["a", "b"], "label": ["x", "y"]}), folder / "d.parquet")
    command = [sys.executable, "-c", _SERVICE, str(tmp_path)]
    told = subprocess.run(command, capture_output=True, check=False, timeout=100)
    assert told.returncode == 0, told.stderr.decode()
    assert told.stdout.split() == []
