from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.engine.engine import Engine
from app.engine.memory import Memory
from app.engine.model import LoadedModel
from app.services.catalogue import Catalogue, Load, Reference
from app.services.serving import Serving
from models.errors import Conflict, CorruptArtefact, NotFound
from tests.trunks import FakeShelf, FakeTrunk, card, head_onnx, loaded, manifest

MADE_FOR = manifest(card())
HEAD = head_onnx(MADE_FOR)


def loads(version: int) -> Load:
    return lambda: LoadedModel.load(MADE_FOR, version, HEAD)


@pytest.fixture
def catalogue() -> Catalogue:
    catalogue = Catalogue()
    for version in (1, 2):
        catalogue.put_version("acme", "colours", version, loads(version), created=7.0)
    catalogue.set_alias("acme", "colours", "live", 1)
    catalogue.set_alias("acme", "colours", "next", 2)
    return catalogue


@pytest.mark.parametrize(
    ("ref", "version", "expected"),
    [
        ("colours", None, 1),
        ("colours@live", None, 1),
        ("colours@next", None, 2),
        ("colours:2", None, 2),
        ("colours", 2, 2),
        ("colours:2", 2, 2),
        ("colours@next", 2, 2),
    ],
)
def test_references(catalogue: Catalogue, ref: str, version: int | None, expected: int) -> None:
    assert catalogue.resolve("acme", ref, version).version == expected


@pytest.mark.parametrize(
    "ref",
    [
        *("", "shapes", "@live", ":1", "colours@", "colours@no", "colours@live@live", "colours@live:1"),
        *("colours:", "colours:3", "colours:x", "colours:-1", "colours:1 ", "colours:²", "colours:1:1"),
        "colours:" + "9" * 5000,
    ],
)
def test_what_is_not_there(catalogue: Catalogue, ref: str) -> None:
    with pytest.raises(NotFound):
        catalogue.resolve("acme", ref)


def test_a_reference_and_a_version_must_agree(catalogue: Catalogue) -> None:
    for ref in ("colours:1", "colours@live"):
        with pytest.raises(NotFound):
            catalogue.resolve("acme", ref, 2)
    assert Reference.parse("colours").bare
    assert not Reference.parse("colours@live").bare


def test_another_tenants_model_is_as_absent_as_none(catalogue: Catalogue) -> None:
    messages = []
    for tenant, name in (("other", "colours"), ("acme", "shapes")):
        with pytest.raises(NotFound) as caught:
            catalogue.resolve(tenant, name)
        messages.append((caught.value.message, caught.value.code, caught.value.param))
    assert messages[0] == messages[1]


def test_a_model_without_live_is_reached_by_version_only() -> None:
    catalogue = Catalogue()
    catalogue.put_version("acme", "new", 1, loads(1))
    assert catalogue.resolve("acme", "new:1").version == 1
    with pytest.raises(NotFound):
        catalogue.resolve("acme", "new")


def test_a_version_loads_once_when_it_is_first_asked_for() -> None:
    catalogue, calls, gate = Catalogue(), [], threading.Event()

    def load() -> LoadedModel:
        calls.append(1)
        gate.wait(10)
        return loaded(MADE_FOR)

    catalogue.put_version("acme", "slow", 1, load)
    assert calls == []
    assert catalogue.find("acme", "slow:1").loaded is None
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(catalogue.resolve, "acme", "slow:1") for _ in range(4)]
        gate.set()
        models = [future.result(10) for future in asked]
    assert calls == [1]
    assert all(model is models[0] for model in models)
    assert catalogue.find("acme", "slow:1").loaded is models[0]


def test_a_failed_load_may_be_tried_again() -> None:
    catalogue, calls = Catalogue(), []

    def load() -> LoadedModel:
        calls.append(1)
        if len(calls) == 1:
            raise CorruptArtefact("the disk was away")
        return loaded(MADE_FOR)

    catalogue.put_version("acme", "m", 1, load)
    with pytest.raises(CorruptArtefact):
        catalogue.resolve("acme", "m:1")
    assert catalogue.resolve("acme", "m:1").version == 1


def test_a_version_that_is_there_stays(catalogue: Catalogue) -> None:
    before = catalogue.resolve("acme", "colours:1")
    catalogue.put_version("acme", "colours", 1, loads(9))
    assert catalogue.resolve("acme", "colours:1") is before


def test_removal(catalogue: Catalogue) -> None:
    with pytest.raises(Conflict, match="move it first"):
        catalogue.remove_version("acme", "colours", 2)
    catalogue.drop_alias("acme", "colours", "next")
    catalogue.remove_version("acme", "colours", 2)
    for ref in ("colours@next", "colours:2"):
        with pytest.raises(NotFound):
            catalogue.resolve("acme", ref)
    with pytest.raises(NotFound):
        catalogue.drop_alias("acme", "colours", "next")
    with pytest.raises(NotFound):
        catalogue.set_alias("acme", "colours", "next", 2)
    with pytest.raises(NotFound):
        catalogue.remove_version("acme", "colours", 2)
    kept = catalogue.resolve("acme", "colours")
    catalogue.remove_model("acme", "colours")
    assert kept.version == 1
    with pytest.raises(NotFound):
        catalogue.resolve("acme", "colours")
    with pytest.raises(NotFound):
        catalogue.remove_model("acme", "colours")


def test_a_snapshot_stands_still(catalogue: Catalogue) -> None:
    before = catalogue.snapshot("acme")
    catalogue.put_version("acme", "colours", 3, loads(3))
    catalogue.set_alias("acme", "colours", "live", 3)
    catalogue.put_version("acme", "shapes", 1, loads(1))
    assert set(before) == {"colours"}
    assert before["colours"].created == 7.0
    assert (set(before["colours"].versions), before["colours"].aliases) == ({1, 2}, {"live": 1, "next": 2})
    assert catalogue.snapshot("nobody") == {}


def test_readers_see_whole_changes_while_an_alias_moves(catalogue: Catalogue) -> None:
    """Every version but the live one is removed in turn: `live` must always lead to one that is there."""
    stop, seen = threading.Event(), set()

    def read() -> None:
        while not stop.is_set():
            seen.add(catalogue.resolve("acme", "colours").version)

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        for version in range(3, 150):
            catalogue.put_version("acme", "colours", version, loads(version))
            catalogue.set_alias("acme", "colours", "live", version)
            if version > 3:
                catalogue.remove_version("acme", "colours", version - 1)
        stop.set()
        for reader in readers:
            reader.result(10)
    assert seen
    assert seen <= set(range(1, 150))
    assert catalogue.resolve("acme", "colours").version == 149


def test_thousands_of_models_cost_little_until_used() -> None:
    catalogue = Catalogue()
    for i in range(5_000):
        catalogue.put_version("acme", f"model-{i}", 1, loads(1))
        catalogue.set_alias("acme", f"model-{i}", "live", 1)
    entries = catalogue.snapshot("acme")
    assert len(entries) == 5_000
    assert all(entry.versions[1].loaded is None for entry in entries.values())


def counted(catalogue: Catalogue, name: str, seed: int) -> list[str]:
    """Add a model; the list grows by the loading thread's name with each load."""
    loads: list[str] = []

    def load() -> LoadedModel:
        loads.append(threading.current_thread().name)
        return loaded(MADE_FOR, seed)

    catalogue.put_version("acme", name, 1, load)
    catalogue.set_alias("acme", name, "live", 1)
    return loads


def test_the_least_recently_used_model_makes_room_and_comes_back() -> None:
    size = loaded(MADE_FOR).nbytes
    assert size == 3 * 7 * 4  # three classes, six features and a bias, float32
    catalogue = Catalogue(Memory(2 * size))
    loads = {name: counted(catalogue, name, seed) for seed, name in enumerate(("a", "b", "c"))}
    for name in ("a", "b", "a", "c", "a"):
        catalogue.resolve("acme", name)
    assert {name: len(made) for name, made in loads.items()} == {"a": 1, "b": 1, "c": 1}
    assert catalogue.find("acme", "b").loaded is None
    catalogue.resolve("acme", "b")
    assert {name: len(made) for name, made in loads.items()} == {"a": 1, "b": 2, "c": 1}
    assert catalogue.find("acme", "c").loaded is None


def test_a_model_that_a_request_holds_is_not_loaded_twice() -> None:
    catalogue = Catalogue(Memory(1))
    loads = counted(catalogue, "a", 0)
    counted(catalogue, "b", 1)
    held = catalogue.resolve("acme", "a")
    catalogue.resolve("acme", "b")
    assert catalogue.resolve("acme", "a") is held
    assert len(loads) == 1
    del held
    assert catalogue.find("acme", "a").loaded is None


def test_a_removed_model_leaves_the_memory() -> None:
    memory = Memory(1_000_000)
    catalogue = Catalogue(memory)
    for seed, name in enumerate("ab"):
        counted(catalogue, name, seed)
        catalogue.resolve("acme", name)
    assert memory.use()[1].loaded == 2
    catalogue.remove_model("acme", "a")
    assert memory.use()[1].loaded == 1


def test_answers_and_counters_outlive_a_models_unloading() -> None:
    """Two models in the room of one, asked in turn: each answer needs a load, off the event loop."""
    memory = Memory(1)
    catalogue = Catalogue(memory)
    loads = {name: counted(catalogue, name, seed) for seed, name in enumerate("ab")}
    shelf = FakeShelf(FakeTrunk(card()))
    engine = Engine(shelf, lanes=1, memory=memory, open_trunk=shelf.open)

    async def ask(name: str) -> object:
        return (await serving.predict("acme", name, ["red", "green"])).rows

    async def scenario() -> None:
        first = {name: await ask(name) for name in "ab"}
        assert first["a"] != first["b"]
        for name in "abab":
            assert await ask(name) == first[name]

    serving = Serving(engine, catalogue)
    try:
        asyncio.run(scenario())
    finally:
        engine.close()
    for name, made in loads.items():
        assert len(made) == 3
        assert threading.main_thread().name not in made
        stats = catalogue.find("acme", name).stats
        assert stats is not None
        assert (stats.snapshot().success.count, stats.snapshot().inferences) == (3, 6)


def test_eight_threads_share_a_catalogue_that_is_too_small() -> None:
    size = loaded(MADE_FOR).nbytes
    catalogue = Catalogue(Memory(2 * size))
    expected = []
    for seed in range(5):
        counted(catalogue, f"model-{seed}", seed)
        expected.append(loaded(MADE_FOR, seed).head.table)

    def ask(i: int) -> bool:
        seed = i * 7 % 5
        return bool((catalogue.resolve("acme", f"model-{seed}").head.table == expected[seed]).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(400)))
    entries = catalogue.snapshot("acme").values()
    assert sum(entry.versions[1].loaded is not None for entry in entries) <= 2
