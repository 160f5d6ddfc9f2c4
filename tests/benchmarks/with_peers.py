"""`python -m tests.benchmarks.with_peers [--quick]`: the benchmark `peers`, with everything that it needs.

Each other server is installed in an environment of its own under `build/peers`, started on the core that the
service under test will have, and ended when the measuring is over.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

from app.settings import PROJECT
from models.backbone import GRAPH
from models.graphs import prune
from models.modalities.base import Feeds
from models.runtime import Backbone
from models.shelf import Shelf
from tests.benchmarks.__main__ import main as measure
from tests.benchmarks.examples import texts
from tests.benchmarks.service import MINILM
from tests.benchmarks.serving import Cores, pinned
from tests.ports import free_port
from training.backbones.hub import text as hub_text
from training.backbones.hub.torch_side import load, to_onnx
from training.backbones.minilm import model_folder
from training.backbones.variants.int8 import quantise
from training.backbones.variants.make import CALIBRATED

_FOLDER = PROJECT / "build" / "peers"
_SCRIPTS = Path(__file__).parent / "peers"
_TAP = "sentence"
_TOKENIZER = "tokenizer.json"
_START_SECONDS = 120.0
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    # Triton's own process embeds Python: the library must be that of the modules which it then imports.
    "LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR")),
}
PADDED, OURS = "padded", "ours"


@dataclass(frozen=True)
class Other:
    """Another server: its package, and where its adapter in `peers/` takes requests."""

    name: str
    package: str
    release: str
    script: str
    path: str

    @property
    def title(self) -> str:
        return f"{self.name} {self.release}"


OTHERS = (
    Other("PyTriton", "nvidia-pytriton", "0.7.0", "pytriton_server.py", "/v2/models/text/infer"),
    Other("MLServer", "mlserver", "1.7.1", "mlserver_server.py", "/v2/models/text/infer"),
    Other("LitServe", "litserve", "0.2.19", "litserve_server.py", "/predict"),
)
_RUNS = (*((other, PADDED) for other in OTHERS), (OTHERS[0], OURS))


def main(arguments: Sequence[str]) -> int:
    """What `tests.benchmarks peers` says."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    write_graphs(_FOLDER)
    pythons = {other: environment(other, _FOLDER) for other in OTHERS}
    with ExitStack() as stack:
        named: list[str] = []
        for other, graph in _RUNS:
            running = stack.enter_context(started(other, pythons[other], _FOLDER / f"{graph}.onnx"))
            named += ["--peer", f"{other.title}, {graph}", *running]
        return measure(["peers", *arguments, *named])


def environment(other: Other, folder: Path) -> Path:
    """The Python of an environment that has the other server, and ONNX Runtime and tokenizers as we have."""
    root = folder / other.package
    python = root / "bin" / "python"
    done = root / f".{other.release}"
    if not done.exists():
        venv.create(root, with_pip=True, clear=True)
        ours = (f"onnxruntime=={version('onnxruntime-gpu')}", f"tokenizers=={version('tokenizers')}")
        wanted = (f"{other.package}=={other.release}", *ours)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *wanted], check=True)
        done.touch()
    return python


def write_graphs(folder: Path) -> None:
    """`padded.onnx` as torch exports the encoder, `ours.onnx` as we write it, both in int8 by one rule."""
    _, shipped = Shelf([PROJECT / "build" / "backbones"]).get(MINILM)
    preprocessor = Backbone(shipped).preprocessor
    sample = [preprocessor.prepare(str(text).encode()) for text in texts().inputs[:CALIBRATED]]
    feeds = [preprocessor.collate([one]) for one in sample]
    exports: dict[str, Callable[[], bytes]] = {
        PADDED: lambda: _traced(preprocessor.collate(sample[:2])),
        OURS: lambda: prune((shipped / GRAPH).read_bytes(), [_TAP]),
    }
    for name, export in exports.items():
        target = folder / f"{name}.onnx"
        if not target.exists():
            target.with_suffix(f".{_TOKENIZER}").write_bytes((shipped / _TOKENIZER).read_bytes())
            target.write_bytes(quantise(export(), feeds))


def _traced(pair: Feeds) -> bytes:
    """The encoder with its pooling, by torch's exporter, as model hubs publish it."""
    head = hub_text.read_head(model_folder())

    def forward(model: Any, ids: Any, mask: Any) -> list[Any]:
        return hub_text.pooled(model, ids, mask, steps=[0], head=head)[-1:]

    return to_onnx(load(model_folder()), forward, dict(pair), [_TAP], {0: "N", 1: "L"})


@contextmanager
def started(other: Other, python: Path, graph: Path) -> Iterator[tuple[str, str, str]]:
    """The server's URL, file of bodies and process id; it has answered once."""
    port = free_port()
    url = f"http://127.0.0.1:{port}{other.path}"
    bodies = graph.with_name(f"{other.package}-{graph.stem}.jsonl")
    command = [str(python), str(_SCRIPTS / other.script), str(graph), str(port), str(bodies)]
    log = bodies.with_suffix(".log")
    with log.open("wb") as out, pinned(Cores.split().serving):
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env=os.environ | _ENVIRONMENT, start_new_session=True
        )
    try:
        _wait(process, url, bodies, log)
        yield url, str(bodies), str(process.pid)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, bodies: Path, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if bodies.exists() and bodies.stat().st_size and _answers(url, bodies):
            return
        time.sleep(0.5)
    raise SystemExit(f"{url} does not answer; what it said is in {log}")


def _answers(url: str, bodies: Path) -> bool:
    headers = {"content-type": "application/json"}
    try:
        body = bodies.read_bytes().split(b"\n", 1)[0]
        return httpx.post(url, content=body, headers=headers, timeout=10, trust_env=False).is_success
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
