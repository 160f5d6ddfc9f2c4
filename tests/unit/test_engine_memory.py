"""Who stays in memory, who goes first, and who may not go."""

from __future__ import annotations

import weakref
from pathlib import Path

import pytest

from app.engine.limit import memory_limit
from app.engine.memory import Memory, Slot, Use
from app.settings import Settings
from models.errors import InvalidInput

MIB = 1024 * 1024


class Thing:
    def __init__(self, nbytes: int = 1) -> None:
        self.nbytes = nbytes


def filled(memory: Memory, count: int) -> list[Slot[Thing]]:
    slots = [memory.slot("head") for _ in range(count)]
    for slot in slots:
        slot.put(Thing())
    return slots


def held(slots: list[Slot[Thing]]) -> list[int]:
    return [i for i, slot in enumerate(slots) if slot.peek() is not None]


def test_the_least_recently_used_goes_first() -> None:
    memory = Memory(3)
    slots = filled(memory, 3)
    assert held(slots) == [0, 1, 2]
    slots[0].get()
    slots += filled(memory, 1)
    assert held(slots) == [0, 2, 3]
    slots += filled(memory, 1)
    assert held(slots) == [0, 3, 4]
    assert memory.use() == [Use("backbone", 0, 0, 0), Use("head", 3, 3, 2)]


def test_looking_without_using_changes_no_order() -> None:
    memory = Memory(2)
    slots = filled(memory, 2)
    assert slots[0].peek() is not None
    slots += filled(memory, 1)
    assert held(slots) == [1, 2]


def test_without_a_budget_nothing_goes() -> None:
    assert held(filled(Memory(), 50)) == list(range(50))


def test_what_is_in_use_stays_and_an_idle_one_goes_in_its_place() -> None:
    memory = Memory(2)
    slots = filled(memory, 2)
    in_use = slots[0].get()
    slots[1].get()
    slots += filled(memory, 1)
    assert held(slots) == [0, 2]
    assert slots[0].get() is in_use


def test_what_is_in_use_beyond_the_budget_goes_when_its_last_user_is_done() -> None:
    memory = Memory(1)
    slots = filled(memory, 1)
    in_use = slots[0].get()
    slots += filled(memory, 1)
    assert slots[0].get() is in_use  # asked for again meanwhile, it is the same one
    assert memory.use()[1] == Use("head", 2, 2, 1)
    del in_use
    assert held(slots) == [1]


def test_what_has_to_stay_stays() -> None:
    memory = Memory(2)
    pinned: Slot[Thing] = memory.slot("head", stays=lambda: True)
    pinned.put(Thing())
    slots = filled(memory, 5)
    assert pinned.peek() is not None
    assert held(slots) == [4]


def test_the_last_used_of_each_kind_is_kept_whatever_its_size() -> None:
    memory = Memory(10)
    large: Slot[Thing] = memory.slot("backbone")
    large.put(Thing(25))
    heads = filled(memory, 3)
    assert large.peek() is not None
    assert held(heads) == [2]
    small: Slot[Thing] = memory.slot("backbone")
    small.put(Thing(5))
    assert large.peek() is None


def test_room_is_made_before_a_load_and_kept_during_it() -> None:
    memory = Memory(10)
    first: Slot[Thing] = memory.slot("backbone")
    first.put(Thing(6))
    with memory.room("backbone", 4):
        assert first.peek() is not None
    with memory.room("backbone", 5):
        assert first.peek() is None
        heads = filled(memory, 6)
        assert len(held(heads)) == 5
    assert len(held(heads + filled(memory, 5))) == 10


def test_what_grows_makes_others_go() -> None:
    memory = Memory(4)
    slots = filled(memory, 4)
    grown = slots[3].get()
    assert grown is not None
    grown.nbytes = 3
    memory.trim()
    assert held(slots) == [2, 3]
    assert memory.use()[1].nbytes == 4


def test_a_slot_is_forgotten_with_its_owner() -> None:
    memory = Memory(5)
    slots = filled(memory, 2)
    freed = weakref.ref(slots[0].peek())
    del slots[0]
    assert freed() is None
    assert memory.use()[1] == Use("head", 1, 1, 0)


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"memory.max": "max\n"}, None),
        ("0::/\n", {"memory.max": f"{5 * MIB}\n"}, 5 * MIB),
        ("0::/a/b\n", {"a/memory.max": f"{7 * MIB}", "a/b/memory.max": "max"}, 7 * MIB),
        ("3:cpu:/\n4:memory:/job\n0::/\n", {"memory/job/memory.limit_in_bytes": f"{6 * MIB}"}, 6 * MIB),
        ("4:memory:/docker/x\n", {"memory/memory.limit_in_bytes": f"{8 * MIB}"}, 8 * MIB),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712"}, None),
        ("", {}, None),
    ],
)
def test_the_limit_is_the_least_of_machine_and_groups(
    tmp_path: Path, own: str, files: dict[str, str], expected: int | None
) -> None:
    groups = tmp_path / "groups"
    groups.write_text(own)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    machine = memory_limit(tmp_path / "none", tmp_path / "none")
    assert machine > 64 * MIB
    assert memory_limit(tmp_path, groups) == (expected or machine)


def test_the_settings_are_read_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (Settings().memory_budget, Settings().pinned) == (None, ())
    monkeypatch.setenv("DURIAN_MEMORY_BUDGET", "2GiB")
    monkeypatch.setenv("DURIAN_PINNED", "text/minilm-l6, image/durian-small")
    assert Settings().memory_budget == 2 * 1024 * MIB
    assert Settings().pinned == ("text/minilm-l6", "image/durian-small")
    monkeypatch.setenv("DURIAN_MEMORY_BUDGET", "1000000")
    monkeypatch.setenv("DURIAN_PINNED", "")
    assert (Settings().memory_budget, Settings().pinned) == (1_000_000, ())
    monkeypatch.setenv("DURIAN_MEMORY_BUDGET", "0")
    with pytest.raises(InvalidInput, match="MEMORY_BUDGET"):
        Settings()
