"""The benchmarks' frame: registry, runs that fail or are skipped, the kept results and their page."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.benchmarks import __main__ as command
from tests.benchmarks.drive import Drive, read_wrk
from tests.benchmarks.examples import Examples, errands, texts
from tests.benchmarks.page import page
from tests.benchmarks.registry import Benchmark, Broken, Setup, benchmark, load
from tests.benchmarks.results import Row, Section, read, write
from tests.benchmarks.run import run
from tests.benchmarks.service import processes

QUICK = Setup(quick=True)


@pytest.fixture
def registry() -> dict[str, Benchmark]:
    """Four benchmarks, one of each ending."""
    registry: dict[str, Benchmark] = {}

    @benchmark("Weight of fruit", registry=registry)
    def fruit(setup: Setup) -> Iterator[Row]:
        """How heavy | how many."""
        yield Row(what="durian", value=1234.56, unit="g", at_least=1000, how="a|b")
        yield Row(what="lychee", value=setup.amount(9, 2), unit="g", digits=0, at_most=1)

    @benchmark("Needs data", needs_data=True, registry=registry)
    def absent(setup: Setup) -> Iterator[Row]:
        """Reads a file."""
        setup.file("pomelo.csv")
        yield Row(what="never", value=0)

    @benchmark("Breaks half way", registry=registry)
    def halfway(setup: Setup) -> Iterator[Row]:
        """Raises."""
        yield Row(what="first", value=1)
        raise Broken("The basket fell.")

    @benchmark("Breaks strangely", registry=registry)
    def strange(setup: Setup) -> Iterator[Row]:
        """Raises."""
        yield Row(what="first", value=1)
        raise OSError("/a/private/path")

    return registry


def sections(registry: dict[str, Benchmark]) -> dict[str, Section]:
    return {name: run(entry, QUICK, lambda line: None) for name, entry in registry.items()}


def lines(text: str, start: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(start)]


def test_a_row_knows_whether_it_is_as_asked() -> None:
    assert Row(what="x", value=87.0, at_least=87.0).met is True
    assert Row(what="x", value=86.9, at_least=87.0).met is False
    assert Row(what="x", value=3.1, at_most=3.0).met is False
    row = Row(what="x", value=1234.5, unit="ms", digits=0)
    assert (row.met, row.asked, row.measured) == (None, "", "1,234 ms")


def test_a_name_is_registered_once(registry: dict[str, Benchmark]) -> None:
    with pytest.raises(ValueError, match="fruit is registered twice"):
        benchmark("Again", registry=registry)(registry["fruit"].measure)


def test_the_suite_is_found_and_described() -> None:
    found = load()
    assert {"examples", "fewshot", "footprint", "latency", "throughput"} <= set(found)
    assert all(entry.about and entry.title for entry in found.values())


def test_rows_are_said_as_they_are_measured(registry: dict[str, Benchmark]) -> None:
    said: list[str] = []
    run(registry["fruit"], QUICK, said.append)
    assert said == [
        "fruit: Weight of fruit",
        "  durian: 1,234.6 g  asked ≥ 1,000.0 g: met  (a|b)",
        "  lychee: 2 g  asked ≤ 1 g: MISSED",
        "  measured",
    ]


def test_endings(registry: dict[str, Benchmark], capsys: pytest.CaptureFixture[str]) -> None:
    found = sections(registry)
    endings = {name: (section.status, len(section.rows)) for name, section in found.items()}
    assert endings == {
        "fruit": ("measured", 2),
        "absent": ("skipped", 0),
        "halfway": ("failed", 1),
        "strange": ("failed", 1),
    }
    assert "--data" in found["absent"].reason
    assert found["halfway"].reason == "The basket fell."
    assert found["strange"].reason.startswith("OSError")
    assert "/a/private/path" in capsys.readouterr().err


def test_the_page_drops_nothing(registry: dict[str, Benchmark]) -> None:
    text = page(sections(registry))
    assert lines(text, "## ") == [
        "## Machine",
        "## Needs data",
        "## Weight of fruit",
        "## Breaks half way",
        "## Breaks strangely",
    ]
    assert "| [fruit](#weight-of-fruit) | Weight of fruit | measured | 1 of 2 |" in text
    assert "| durian | 1,234.6 g | ≥ 1,000.0 g | yes | a\\|b |" in text
    assert "| lychee | 2 g | ≤ 1 g | **no** |  |" in text
    assert "**Skipped**: pomelo.csv is not here" in text
    assert "**Failed**: The basket fell." in text
    assert "/a/private/path" not in text
    assert text.count("A quick run") == 4
    assert "tests.benchmarks absent --data FOLDER`" in text


def test_machines_are_told_apart(registry: dict[str, Benchmark]) -> None:
    found = sections(registry)
    assert " on machine " not in page(found)
    other = found["fruit"].machine.model_copy(update={"cpu": "Abacus"})
    found["fruit"] = found["fruit"].model_copy(update={"machine": other})
    assert len(lines(page(found), "Run ")) == 4
    assert [line for line in lines(page(found), "Run ") if "on machine 2" in line] == [
        line for line in lines(page(found), "Run ") if "tests.benchmarks fruit`" in line
    ]


def test_results_come_back_as_they_were_kept(registry: dict[str, Benchmark], tmp_path: Path) -> None:
    found = sections(registry)
    write(tmp_path / "kept.json", found)
    assert read(tmp_path / "kept.json") == found
    assert read(tmp_path / "none.json") == {}


def test_the_command_replaces_only_what_it_ran(
    registry: dict[str, Benchmark], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "load", lambda: registry)
    assert command.main(["--quick", "--output", str(tmp_path)]) == 1
    before = read(tmp_path / "benchmarks.json")
    assert command.main(["fruit", "--output", str(tmp_path)]) == 0
    after = read(tmp_path / "benchmarks.json")
    assert [row.value for row in after.pop("fruit").rows] == [1234.56, 9]
    assert after == {name: section for name, section in before.items() if name != "fruit"}
    assert "| lychee | 9 g |" in (text := (tmp_path / "benchmarks.md").read_text("utf-8"))
    assert text.count("A quick run") == 3


def test_an_unknown_name_is_refused(registry: dict[str, Benchmark], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "load", lambda: registry)
    with pytest.raises(SystemExit, match="2"):
        command.main(["mango"])


def test_benchmarks_of_other_servers_run_only_when_there_are_some(
    registry: dict[str, Benchmark], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @benchmark("Others", needs_peers=True, registry=registry)
    def others(setup: Setup) -> Iterator[Row]:
        """Counts them."""
        yield Row(what=setup.peers[0].name, value=setup.peers[0].pid)

    monkeypatch.setattr(command, "load", lambda: registry)
    command.main(["--quick", "--output", str(tmp_path)])
    assert "others" not in read(tmp_path / "benchmarks.json")
    peer = ["--peer", "Server 1", "http://127.0.0.1:1/predict", "bodies.jsonl", "42"]
    command.main(["others", "--quick", "--output", str(tmp_path), *peer])
    (row,) = read(tmp_path / "benchmarks.json")["others"].rows
    assert (row.what, row.value) == ("Server 1", 42)
    assert "--peer NAME URL BODIES PID`" in (tmp_path / "benchmarks.md").read_text("utf-8")


def test_what_stands_apart_runs_only_when_it_is_named(
    registry: dict[str, Benchmark], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @benchmark("A whole orchard", apart=True, registry=registry)
    def orchard(setup: Setup) -> Iterator[Row]:
        """Takes a year."""
        yield Row(what="trees", value=1)

    monkeypatch.setattr(command, "load", lambda: registry)
    command.main(["--quick", "--output", str(tmp_path)])
    assert "orchard" not in read(tmp_path / "benchmarks.json")
    command.main(["orchard", "--quick", "--output", str(tmp_path)])
    assert read(tmp_path / "benchmarks.json")["orchard"].status == "measured"
    assert {name for name, one in load().items() if one.apart} == {"images", "many_machines"}


def test_what_wrk_says_is_read_and_a_lost_request_breaks() -> None:
    line = '{"answered": 12, "failed": %d, "seconds": 1.5, "p50": 3.0, "p99": 7.5}'
    assert read_wrk(f"Running\n{line % 0}\n") == Drive(12, 1.5, 3.0, 7.5)
    for output in ("", line % 1, line.replace("12", "0") % 0):
        with pytest.raises(Broken):
            read_wrk(output)


def test_the_service_is_not_charged_for_what_else_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other servers are children of the benchmark too, and idle ones are not without their cost."""
    _forget_children(monkeypatch)
    waits = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with ExitStack() as stack:
        _started(stack, [*waits, "peer"])
        with pytest.raises(Broken, match="0 services"):
            processes()
        service = _started(stack, [*waits, "app", "serve"])
        assert [process.pid for process in processes()] == [service.pid]


def _forget_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of this process, as its other tests have left them: some share a service until all have run."""
    children = psutil.Process.children
    former = {child.pid for child in psutil.Process().children()}
    monkeypatch.setattr(
        psutil.Process,
        "children",
        lambda self, **options: [c for c in children(self, **options) if c.pid not in former],
    )


def _started(stack: ExitStack, command: list[str]) -> subprocess.Popen[bytes]:
    """A process that ends with the stack."""
    process = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE))
    stack.callback(process.communicate)
    return process


def test_draws_are_stratified_repeatable_and_leave_the_rest() -> None:
    whole = Examples("text", [f"text {i}" for i in range(12)], ["b", "a", "c"] * 4)
    chosen, rest = whole.split(2, seed=3)
    assert chosen.labels == ["a", "a", "b", "b", "c", "c"]
    assert sorted([*chosen.inputs, *rest.inputs]) == sorted(whole.inputs)
    assert whole.draw(2, seed=3) == whole.draw(2, seed=3) != whole.draw(2, seed=4)


def test_the_sets_have_the_sizes_that_titles_claim() -> None:
    assert len(set(errands().labels)) == 150
    assert len(set(errands().inputs)) == 1_500
    assert len(set(texts().classes(10).labels)) == 10
