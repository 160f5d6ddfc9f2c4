import numpy as np
import pytest

from models.backbone import SignalPreprocess
from models.errors import InvalidInput, TooLarge
from models.manifest import InputSpec, SignalGrid
from models.modalities import modality, preprocessor
from models.modalities.signal import reference_grid
from tests.media import card

FIVE = InputSpec(modality="signal", grid=SignalGrid(length=5, lo=0, hi=4))


def canonical(value: object, spec: InputSpec = FIVE) -> list[float]:
    data = modality("signal").canonical(value, spec, "row 7")
    return np.frombuffer(data, "<f4").tolist()


def error(value: object) -> InvalidInput:
    with pytest.raises(InvalidInput, match=r"^row 7: ") as caught:
        canonical(value)
    return caught.value


def gridded(grid: list[float], values: list[float]) -> dict[str, list[float]]:
    return {"grid": grid, "values": values}


def test_a_plain_list_is_kept():
    assert canonical([1, 2.5, 3, 4, -5]) == [1, 2.5, 3, 4, -5]
    assert canonical(np.array([1, 2, 3, 4, 5], np.int16)) == [1, 2, 3, 4, 5]


def test_another_length_is_told_the_expected_one_and_the_remedy():
    refused = error([1, 2, 3])
    assert refused.code == "signal_length"
    assert "expected 5 values, got 3" in refused.message
    assert "grid" in refused.message


def test_a_grid_is_interpolated_onto_the_reference():
    assert canonical(gridded([0, 2, 4], [0, 20, 0])) == [0, 10, 20, 10, 0]
    assert canonical(gridded([-1, 0, 1, 2, 3, 4, 9], [9, 0, 1, 2, 3, 4, 9])) == [0, 1, 2, 3, 4]


def test_a_falling_grid_is_turned_round():
    assert canonical(gridded([4, 2, 0], [40, 20, 0])) == [0, 10, 20, 30, 40]


def test_a_grid_may_miss_one_step_at_an_end():
    assert canonical(gridded([1, 3], [1, 3])) == [1, 1, 2, 3, 3]
    assert error(gridded([1.1, 4], [1, 3])).code == "grid_coverage"
    assert error(gridded([0, 2.9], [1, 3])).code == "grid_coverage"


@pytest.mark.parametrize(
    "value",
    [
        gridded([0, 1, 1, 4], [1, 2, 3, 4]),
        gridded([0, 2, 1, 4], [1, 2, 3, 4]),
        gridded([0, 4], [1, 2, 3]),
        {"values": [1, 2]},
        {"grid": [0, 4], "values": [1, 2], "more": 1},
        [1, 2, "3", 4, 5],
        [1, 2, True, 4, 5],
        [1, 2, None, 4, 5],
        [[1, 2, 3, 4, 5]],
        np.zeros((5, 1)),
        np.zeros(5, complex),
        "1,2,3,4,5",
        5,
        None,
        [],
    ],
)
def test_what_is_no_signal(value):
    assert error(value).code == "bad_signal"


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e39, 10**400])
def test_non_finite_values_are_refused(bad):
    assert error([1, 2, 3, 4, bad]).code == "non_finite"


def test_a_million_values_is_the_limit():
    spec = InputSpec(modality="signal")
    assert len(canonical(np.zeros(1_000_000), spec)) == 1_000_000
    with pytest.raises(TooLarge, match="row 7"):
        canonical(np.zeros(1_000_001), spec)


def test_without_a_reference_a_signal_has_its_own_grid():
    spec = InputSpec(modality="signal")
    assert canonical([1, 2, 3], spec) == [1, 2, 3]
    assert canonical(gridded([0, 1, 4], [0, 1, 4]), spec) == [0, 2, 4]


def test_the_reference_of_plain_signals_is_their_index():
    assert reference_grid([("row 1", [1, 2, 3]), ("row 2", [4, 5, 6])]) == SignalGrid(length=3, lo=0, hi=2)


def test_plain_signals_of_two_lengths_name_the_second():
    with pytest.raises(InvalidInput, match="row 2: the signal has 2 values but row 1 has 3") as caught:
        reference_grid([("row 1", [1, 2, 3]), ("row 2", [4, 5])])
    assert caught.value.code == "signal_length"


def test_the_reference_of_grids_is_what_they_share():
    rows = [
        ("row 1", gridded([0, 1, 2, 3], [0] * 4)),
        ("row 2", gridded([5, 3, 1], [0] * 3)),
        ("row 3", gridded([0.5, 1, 2, 3, 4], [0] * 5)),
    ]
    assert reference_grid(rows) == SignalGrid(length=4, lo=1, hi=3)


def test_grids_that_do_not_overlap_name_both_rows():
    with pytest.raises(InvalidInput, match=r"^row 2: .* row 1 ") as caught:
        reference_grid([("row 1", gridded([0, 1], [0, 0])), ("row 2", gridded([2, 3], [0, 0]))])
    assert caught.value.code == "grid_coverage"


def test_signals_with_and_without_grids_do_not_mix():
    with pytest.raises(InvalidInput, match=r"^row 2: ") as caught:
        reference_grid([("row 1", [1, 2]), ("row 2", gridded([0, 1], [0, 0]))])
    assert caught.value.code == "mixed_grids"


def test_prepare_resamples_from_end_to_end():
    processor = preprocessor(card("signal", SignalPreprocess(points=5), "signal"), {})
    content = modality("signal").canonical([0, 2, 4], InputSpec(modality="signal"), "row 1")
    prepared = processor.prepare(content)
    assert prepared.dtype == np.float32
    assert prepared.tolist() == [0, 1, 2, 3, 4]
    assert processor.prepare(prepared.tobytes()).tolist() == [0, 1, 2, 3, 4]
    assert processor.collate([prepared, prepared])["signal"].shape == (2, 5)
    assert processor.size(prepared) == 1
