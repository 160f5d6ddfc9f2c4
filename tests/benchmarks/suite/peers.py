"""Other servers over the same int8 graph, in the same run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from app.demo.service import temporary_service
from tests.benchmarks.examples import texts
from tests.benchmarks.registry import Setup, Skipped, benchmark
from tests.benchmarks.results import Row
from tests.benchmarks.service import MINILM
from tests.benchmarks.serving import Bare, Cores, Slice, durian, peer, pinned, with_int8
from tests.benchmarks.suite.throughput import contents, open_backbone, rows_of, slices

ASKED = {32: 0.85, 128: 0.88}
_BETTER = 1.5
_CLASSES = 10
_SHOTS = 5
_OUR_GRAPH = ", ours"


@benchmark("Peers: other servers over the same graph", needs_peers=True)
def peers(setup: Setup) -> Iterator[Row]:
    """MiniLM in int8 and a head of 10 classes, one text a request over HTTP, by Durian and by other servers
    (`tests/benchmarks/peers/`: batches of 32 at most, one inference thread), each on one and the same core,
    the clients on another; all in slices that take turns. Padded: the graph as encoders are exported
    everywhere, in the same int8; ours: our exported graph, free of padding, which shows what of the distance
    is the graph and what the server. The best peer is one that serves what it would without us. CPU ratio as
    in `throughput`. `python -m tests.benchmarks.with_peers` installs and starts them.
    """
    if not setup.peers:
        raise Skipped("Other servers are needed: `python -m tests.benchmarks.with_peers` brings some.")
    examples = texts().classes(_CLASSES)
    chosen, rest = examples.split(_SHOTS, seed=0)
    with ExitStack() as stack:
        root, int8 = stack.enter_context(with_int8(MINILM, texts()))
        cores = Cores.split()
        with pinned(cores.serving):
            client = stack.enter_context(temporary_service())
            bare = Bare(open_backbone(root, int8), contents(chosen, rest.inputs))
        servers = [durian(client, int8, chosen, rest.inputs), *map(peer, setup.peers)]
        found = slices(bare, servers, ASKED, setup)
    yield from rows_of("text int8", bare, found, ASKED, servers[0].name)
    yield from _margins(found, servers[0].name)


def _margins(found: dict[tuple[int, str], list[Slice]], ours: str) -> Iterator[Row]:
    """Our requests per CPU second over those of each peer; of the best one more is asked."""
    for clients in ASKED:
        served = {name: _mean(pieces) for (count, name), pieces in found.items() if count == clients}
        own = served.pop(ours)
        best = max((name for name in served if not name.endswith(_OUR_GRAPH)), key=served.__getitem__)
        for name, other in served.items():
            asked = _BETTER if name == best else None
            what = f"{clients} clients, {ours} over {name}"
            how = "the best peer" if name == best else ""
            yield Row(what=what, value=own / other, digits=2, at_least=asked, how=how)


def _mean(pieces: list[Slice]) -> float:
    return sum(piece.ratio for piece in pieces) / len(pieces)
