"""Clients that upload, train, predict and cancel, and write down, durably, what was acknowledged."""

from __future__ import annotations

import http.client
import json
import os
import random
import threading
import time
import uuid
from pathlib import Path
from typing import Any

ENDED = ("succeeded", "failed", "cancelled")
_BOUNDARY = "durian-kill"
_FORM = {"content-type": f"multipart/form-data; boundary={_BOUNDARY}"}
_DATASET = {"name": "d", "modality": "signal", "task": "classification"}


class Acks:
    """One JSON line each, fsynced before the next request leaves."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lock = threading.Lock()
        self.count = 0

    def add(self, kind: str, **fields: Any) -> None:
        with self._lock:
            os.write(self._fd, json.dumps({"kind": kind, **fields}).encode() + b"\n")
            os.fsync(self._fd)
            self.count += 1

    @staticmethod
    def read(path: Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in path.read_text().splitlines()]


class Refused(Exception):
    """No answer, or none that acknowledges."""


class Client(threading.Thread):
    """One user. `unclean` are answers that nobody should get, kill or no kill."""

    def __init__(self, port: int, acks: Acks, seed: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.acks = acks
        self.random = random.Random(seed)
        self.stop = stop
        self.unclean: list[str] = []
        self.predictions = 0

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                self._round()
            except Refused:
                time.sleep(0.05)

    def _round(self) -> None:
        file = self._upload()
        self._dataset()
        job = self._submit(file)
        cancel = self.random.random() < 0.2
        if cancel:
            time.sleep(self.random.random() * 0.5)
            self._cancel(job)
        self._follow(job)
        if self.random.random() < 0.3:
            self._cancel(job)  # too late: it must stay as it is

    def _upload(self) -> str:
        body = self._multipart("rows.jsonl", "\n".join(map(json.dumps, self._rows(12))).encode())
        answer = self._ask(
            "POST", "/v1/files", body, {"content-type": f"multipart/form-data; boundary={_BOUNDARY}"}
        )
        self.acks.add("file", id=answer["id"], digest=answer["digest"])
        return str(answer["id"])

    def _dataset(self) -> None:
        dataset = self._json(
            "POST", "/v1/datasets", {"name": "d", "modality": "signal", "task": "classification"}
        )
        self.acks.add("dataset", id=dataset["id"])
        added = self._json("POST", f"/v1/datasets/{dataset['id']}/examples", self._rows(4))
        for row in added["data"]:
            self.acks.add("example", id=row["id"])

    def _submit(self, file: str) -> str:
        key = uuid.UUID(int=self.random.getrandbits(128)).hex
        body = {
            "model": "signal/raw",
            "training_file": file,
            "suffix": f"m{self.random.randrange(4)}",
            "method": {"type": "ridge"},
        }
        for _ in range(40):  # the answer may be lost: the same key gives the same job
            try:
                job = self._json("POST", "/v1/fine_tuning/jobs", body, {"idempotency-key": key})
            except Refused:
                if self.stop.is_set():
                    raise
                time.sleep(0.05)
                continue
            self.acks.add("job", id=job["id"], key=key)
            return str(job["id"])
        raise Refused

    def _follow(self, job: str) -> None:
        while not self.stop.is_set():
            try:
                seen = self._json("GET", f"/v1/fine_tuning/jobs/{job}")
            except Refused:
                time.sleep(0.05)
                continue
            if seen["status"] in ENDED:
                self.acks.add("end", id=job, status=seen["status"])
                if seen["status"] == "succeeded":
                    self._predict(seen["result"])
                return
            time.sleep(0.05)

    def _predict(self, result: dict[str, Any]) -> None:
        ask = {"model": f"{result['model']}:{result['version']}", "input": self._rows(1)[0]["input"]}
        answer = self._json("POST", "/v1/predictions", ask)
        self.predictions += 1
        if (answer["version"], answer["digest"]) != (result["version"], result["digest"]):
            self.unclean.append(f"another version answered: {answer['version']}")

    def _cancel(self, job: str) -> None:
        seen = self._json("POST", f"/v1/fine_tuning/jobs/{job}/cancel")
        if seen["status"] in ENDED:
            self.acks.add("end", id=job, status=seen["status"])

    def _rows(self, n: int) -> list[dict[str, Any]]:
        def row(kind: int) -> list[float]:
            return [round(kind + self.random.gauss(0, 0.3), 4) for _ in range(24)]

        return [{"input": row(i % 2), "label": f"class {i % 2}"} for i in range(n)]

    def _json(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        headers = {"content-type": "application/json", **(headers or {})}
        return self._ask(method, path, b"" if body is None else json.dumps(body).encode(), headers)

    def _ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Refused from error
        finally:
            connection.close()
        if response.status == 200:
            answer: dict[str, Any] = json.loads(text)
            return answer
        if response.status not in (429, 503):
            self.unclean.append(f"{method} {path.partition('?')[0]}: {response.status} {text[:200]!r}")
        raise Refused

    @staticmethod
    def _multipart(name: str, data: bytes) -> bytes:
        head, part = f"--{_BOUNDARY}\r\ncontent-disposition: form-data;", f'name="file"; filename="{name}"'
        purpose = f'{head} name="purpose"\r\n\r\nfine-tune\r\n'.encode()
        return purpose + f"{head} {part}\r\n\r\n".encode() + data + f"\r\n--{_BOUNDARY}--\r\n".encode()
