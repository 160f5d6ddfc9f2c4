"""A model hub on this machine: as much of its protocol as downloading a model takes."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LARGE = ".safetensors"
JSON = {"Content-Type": "application/json"}
REVISION = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def serving(folder: Path, name: str, digest: str | None = None) -> Iterator[str]:
    """The address of a hub whose one model is `name`, the files of `folder`.

    Weights are told by their SHA-256, as large files are there, or by `digest` in its place.
    """

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_HEAD(self) -> None:
            self._answer()

        def _answer(self) -> None:
            path = self.path.partition("?")[0]
            file = folder / path.rpartition("/")[2]
            if path.startswith(f"/api/models/{name}/revision/"):
                self._send(json.dumps(_about(folder, name)).encode(), JSON)
            elif path.startswith(f"/api/models/{name}/tree/"):
                self._send(json.dumps([_entry(file, digest) for file in _files(folder)]).encode(), JSON)
            elif path.startswith(f"/{name}/resolve/") and file.is_file():
                self._send(file.read_bytes(), _told(file, digest))
            else:
                self._send(b"{}", {"X-Error-Code": "RepoNotFound"}, 404)

        def _send(self, body: bytes, headers: dict[str, str], status: int = 200) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: tests read what is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.is_file())


def _about(folder: Path, name: str) -> dict[str, object]:
    return {"id": name, "sha": REVISION, "siblings": [{"rfilename": file.name} for file in _files(folder)]}


def _entry(file: Path, digest: str | None) -> dict[str, object]:
    about = {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": _git(file)}
    if file.suffix != LARGE:
        return about
    return about | {"lfs": {"oid": _sha256(file, digest), "size": about["size"], "pointerSize": 100}}


def _told(file: Path, digest: str | None) -> dict[str, str]:
    told = _sha256(file, digest) if file.suffix == LARGE else _git(file)
    return {"X-Repo-Commit": REVISION, "ETag": f'"{told}"'}


def _sha256(file: Path, digest: str | None) -> str:
    return digest or hashlib.sha256(file.read_bytes()).hexdigest()


def _git(file: Path) -> str:
    return hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest()
