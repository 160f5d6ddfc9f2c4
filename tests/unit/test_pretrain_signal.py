"""The recipe of `signal/durian-small`: its physics, its generators, its training, and what was shipped."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from models.base import sha256
from models.runtime import Backbone
from training.pretrain.signal import absorption, curriculum, evaluate, exafs, mixtures, peaks, series, views
from training.pretrain.signal.made import PLACE, POINTS, Nuisance

torch = pytest.importorskip("torch")

from training.pretrain.signal import export, network, train  # noqa: E402 (they need torch)

SHIPPED = Path(__file__).parents[2] / "models/backbones/signal/durian-small"
FAMILIES = [pytest.param(family, id=family.name) for family in curriculum.FAMILIES]


def column(value: float) -> np.ndarray:
    return np.array([[value]])


def one_path(disorder: float = 0.005) -> tuple[exafs.Paths, exafs.Scatterer]:
    paths = exafs.Paths(number=column(6.0), length=column(2.5), disorder=column(disorder))
    element = {"height": 0.8, "narrowness": 0.2, "centre": 5.0, "phase0": 1.0, "phase1": -0.5, "phase2": 0.01}
    return paths, exafs.Scatterer(**{name: column(value) for name, value in element.items()})


def around(e0_shift: float = 0.0) -> exafs.Medium:
    return exafs.Medium(gamma=np.array([0.6]), eta=np.array([3.0]), e0_shift=np.array([e0_shift]))


def test_a_single_path_is_the_exafs_equation_by_hand():
    k = 7.0
    f = 0.8 / (1 + 0.2**2 * (k - 5.0) ** 2)
    mean_free_path = (k + (3.0 / k) ** 4) / 0.6
    damping = math.exp(-2 * 0.005 * k**2) * math.exp(-2 * 2.5 / mean_free_path)
    expected = 6.0 * f / (k * 2.5**2) * damping * math.sin(2 * k * 2.5 + 1.0 - 0.5 * k + 0.01 * k**2)
    assert exafs.chi(column(k), *one_path(), around()).item() == pytest.approx(expected, rel=1e-12)


def test_paths_add_up():
    paths, scatterer = one_path()
    twice = exafs.Paths(**{name: np.repeat(value, 2, axis=1) for name, value in vars(paths).items()})
    both = exafs.Scatterer(**{name: np.repeat(value, 2, axis=1) for name, value in vars(scatterer).items()})
    k = np.linspace(3, 12, 50)[None]
    single = exafs.chi(k, paths, scatterer, around())
    np.testing.assert_allclose(exafs.chi(k, twice, both, around()), 2 * single)


def test_disorder_is_the_slope_of_the_logarithmic_envelope_over_k_squared():
    k = np.array([[4.0, 12.0]])
    small, large = (exafs.envelope(k, *one_path(s), around())[0, 0] for s in (0.004, 0.010))
    np.testing.assert_allclose(np.log(large / small), -2 * 0.006 * k[0] ** 2)


def test_a_higher_edge_makes_the_wave_slower():
    # 10 eV of kinetic energy less: k² falls by 2 m_e / hbar² times 10 eV = 2.6247 Å⁻².
    assert exafs.true_k(column(5.0), np.array([10.0])).item() == pytest.approx(
        math.sqrt(25 - 2.6247), abs=1e-4
    )


def test_elements_held_out_are_never_trained_on():
    low, high = absorption.HELD_OUT
    rng = np.random.default_rng(0)
    trained = absorption.scatterers(2000, 3, rng).centre
    assert not ((trained > low) & (trained < high)).any()
    held_out = absorption.scatterers(2000, 3, rng, held_out=True).centre
    assert held_out.min() >= low
    assert held_out.max() <= high


@pytest.mark.parametrize("family", FAMILIES)
def test_generators_are_deterministic_finite_and_vary(family):
    first, again, other = (family.make(24, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.clean, again.clean)
    assert first.clean.shape == (24, POINTS)
    assert np.isfinite(first.clean).all()
    assert (first.clean.std(axis=1) > 0).all()
    assert not np.array_equal(first.clean, other.clean)
    for values in first.known.values():
        assert np.isfinite(values).any()
        assert not np.isinf(values).any()


def test_parts_of_a_mixture_add_up_to_one():
    for make in (mixtures.short, mixtures.long):
        known = make(50, np.random.default_rng(0)).known
        np.testing.assert_allclose(sum(known.values()), 1)


def test_the_greatest_peak_is_where_it_is_said_to_be():
    one = peaks.pseudo_voigt(column(0.3), column(0.05), column(2.0), column(0.4))
    assert PLACE[one.argmax()] == pytest.approx(0.3, abs=1 / POINTS)
    half = np.interp([0.275, 0.325], PLACE, one[0])
    np.testing.assert_allclose(half, 1.0, rtol=0.02)


def test_every_process_has_its_turn():
    made = series.series(3 * len(series.PROCESSES), np.random.default_rng(0))
    assert np.bincount(made.kind).tolist() == [3] * len(series.PROCESSES)


def test_siblings_share_all_but_one_local_event():
    made = series.siblings(8, np.random.default_rng(3))
    heights = made.known["event_height"]
    quiet = np.abs(made.clean[0] - made.clean[1]) < 0.01 * np.abs(heights).max()
    assert 0.2 < quiet.mean() < 1


def test_a_view_without_nuisance_is_the_signal_but_for_gain_and_offset():
    clean = np.random.default_rng(0).standard_normal((3, POINTS))
    seen = views.view(clean, Nuisance(noise=(1e-9, 1e-8)), np.random.default_rng(1))
    for one, other in zip(clean, seen, strict=True):
        assert np.corrcoef(one, other)[0, 1] == pytest.approx(1)


def test_moving_the_axis_moves_the_signal():
    ramp = np.tile(PLACE, (2, 1))
    seen = views.moved(ramp, np.full((2, POINTS), 0.1))
    np.testing.assert_allclose(seen[:, :200], ramp[:, :200] + 0.1)
    np.testing.assert_allclose(seen[:, -1], 1.0)


def test_equal_seeds_draw_equal_batches():
    names = curriculum.parameter_names()
    first, again = (curriculum.draw(names, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first.views, again.views)
    np.testing.assert_array_equal(first.known, again.known)
    assert first.views.shape == (2, curriculum.BATCH, POINTS)
    assert first.kind.min() == 0
    assert first.kind.max() < curriculum.KINDS


def test_views_of_one_signal_cost_less_than_views_of_two():
    codes = torch.eye(4)
    assert train.info_nce(codes, codes) < train.info_nce(codes, codes.roll(1, 0))
    # Four rows, all alike: the partner is one of four.
    assert train.info_nce(torch.ones(4, 3), torch.ones(4, 3)).item() == pytest.approx(math.log(4))


def test_unknown_parameters_cost_nothing():
    target = torch.tensor([[1.0, float("nan")], [float("nan"), float("nan")]])
    predicted = torch.tensor([[3.0, 9.0], [9.0, 9.0]])
    assert train.known_loss(predicted, target).item() == pytest.approx((4.0 + 0.0) / 2)


def test_plan_ends_by_steps_or_by_the_clock():
    plan = train.Plan(steps=10, minutes=1.0)
    assert plan.progress(5, 6.0) == 0.5
    assert plan.progress(1, 30.0) == 0.5
    assert plan.progress(1, 90.0) == 1.0
    assert plan.rate_at(1.0) == pytest.approx(0.0)
    assert plan.rate_at(0.05) == pytest.approx(plan.rate)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("signal")
    plan = train.Plan(steps=2, seed=1, calibration=2)
    first, again = (train.train(plan, folder / f"{name}.pt", lambda line: None) for name in ("one", "two"))
    return first, again, folder


def test_two_steps_train_the_same_network_twice(trained):
    first, again, folder = trained
    assert first.steps == 2
    saved = train.load(folder / "one.pt").state_dict()
    for name, value in again.network.state_dict().items():
        assert torch.equal(value, saved[name]), name


def test_what_was_trained_exports_with_parity(trained, tmp_path):
    exported = export.export(trained[0].network)
    graph = exported.files["model.onnx"]
    assert exported.card.files == {"model.onnx": sha256(graph)}
    assert len(graph) < 4_000_000
    assert {tap.name for tap in exported.card.taps} == set(export.DEPTHS)


def test_constant_and_extreme_signals_stay_finite():
    taps = network.SignalNetwork().eval()(torch.from_numpy(export.probes()))
    assert all(torch.isfinite(tap).all() for tap in taps.values())


def test_gain_and_offset_leave_the_code_as_it_is():
    model = network.SignalNetwork().eval()
    signal = torch.from_numpy(export.probes()[:6])
    with torch.no_grad():
        one, other = (model(x) for x in (signal, 250 * signal - 40))
    torch.testing.assert_close(one["code"], other["code"], atol=1e-3, rtol=1e-3)
    ends = [taps["embedding"][:, -network.AMPLITUDE :] for taps in (one, other)]
    assert not torch.allclose(*ends, atol=0.1)


def test_the_disorder_set_varies_in_disorder_and_repeats():
    (x, y), (again, _) = evaluate.disorder_set(40, 3), evaluate.disorder_set(40, 3)
    np.testing.assert_array_equal(x, again)
    assert x.shape == (40, POINTS)
    assert 0.002 <= y.min() < 0.006
    assert 0.016 < y.max() <= 0.02


@pytest.fixture(scope="module")
def shipped() -> Backbone:
    return Backbone(SHIPPED)


def test_the_shipped_backbone_answers_each_signal_alone(shipped):
    rows = list(export.probes())
    names = [tap.name for tap in shipped.card.taps]
    together = shipped.run(rows, names)
    alone = [shipped.run([row], names) for row in rows]
    for tap in shipped.card.taps:
        assert together[tap.name].shape == (len(rows), tap.dim)
        np.testing.assert_allclose(
            together[tap.name], np.concatenate([one[tap.name] for one in alone]), atol=1e-4
        )


def test_the_shipped_backbone_tells_disorder_from_spectra(shipped):
    tap = shipped.card.default_tap

    def extract(signals):
        return shipped.run(list(signals.astype(np.float32)), [tap])[tap]

    x, y = evaluate.disorder_set(400, 0)
    got = evaluate.ridge(extract(x[:300]), y[:300], extract(x[300:]))
    assert 1 - ((got - y[300:]) ** 2).mean() / y[300:].var() > 0.9
