"""What to do about a recommendation, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from models.base import ModalityName
from models.recommendation import LeftOut, TapCandidate
from training.methods import METHODS, PROCEDURES
from training.relatedness.setting import FEW_SHOTS, Facts

_SHOWN = 6
ENOUGH_SHOTS = 5
ENOUGH_EXAMPLES = 500


def advise(
    facts: Facts, modality: ModalityName, ranked: Sequence[TapCandidate], default_taps: Mapping[str, str]
) -> Iterator[str]:
    """One sentence or two a thing worth knowing, the most important first."""
    if not facts.labelled:
        yield _methods("Without labels only these methods work", facts, modality, "labels_optional")
    elif ranked[0].score is None:
        yield "No class has two examples, so nothing can be compared: the order is the backbones' own."
    else:
        yield from _of_order(ranked, default_taps)
    if 0 < facts.looked_at < min(facts.labelled, ENOUGH_EXAMPLES):
        yield (
            f"Only {facts.looked_at} of {facts.labelled} examples were looked at, for features take long "
            "here. Those are kept: ask again for a closer look."
        )
    if facts.unlabelled and facts.labelled and facts.shifted:
        yield _methods("The domains differ: adapt, with one of", facts, modality, "transductive")
    if facts.counts and facts.labelled and min(facts.counts) < ENOUGH_SHOTS:
        few = sum(count < ENOUGH_SHOTS for count in facts.counts)
        yield (
            f"{few} of {len(facts.counts)} classes have fewer than {ENOUGH_SHOTS} examples: more of them are "
            f"worth most. Beyond {FEW_SHOTS} a class each adds little."
        )


def _of_order(ranked: Sequence[TapCandidate], default_taps: Mapping[str, str]) -> Iterator[str]:
    """What the order says, and how much of it is more than noise."""
    best, close = ranked[0], _close(ranked)
    if best.baseline:
        yield (
            f"A declared baseline, {best.backbone}, comes first: what the pretrained backbones know may not "
            "help here."
        )
    default = (best.backbone, default_taps[best.backbone])
    own = next((one for one in ranked if (one.backbone, one.tap) == default), best)
    if not best.baseline and _apart(best, own):
        yield f"Of {best.backbone} the tap {best.tap} suits these examples better than its default one."
    if close > 1:
        yield f"The first {close} candidates are too close for these examples to tell them apart."


def _methods(opening: str, facts: Facts, modality: ModalityName, wanted: str) -> str:
    infos = [entry.info for entry in (METHODS | PROCEDURES).values()]
    names = sorted(
        info.name
        for info in infos
        if (info.labels_optional if wanted == "labels_optional" else info.setting == wanted)
        and facts.task in info.tasks
        and modality in info.modalities
    )
    shown = ", ".join(names[:_SHOWN]) or "none that serves this task"
    return f"{opening}: {shown}."


def _close(ranked: Sequence[TapCandidate]) -> int:
    """How many from the top cannot be told from the first; of regression it is not known."""
    first = ranked[0].loo
    if first is None or first.metric == "rmse":
        return 1
    apart = (place for place, candidate in enumerate(ranked) if _apart(ranked[0], candidate))
    return next(apart, len(ranked))


def _apart(one: TapCandidate, other: TapCandidate) -> bool:
    """Whether leave-one-out tells two candidates apart by more than a standard error."""
    if one.loo is None or other.loo is None or one.loo.metric == "rmse":
        return one != other
    return abs(one.loo.value - other.loo.value) > _error(one.loo)


def _error(loo: LeftOut) -> float:
    """Standard error of a share of right answers, never quite 0."""
    share = (loo.value * loo.n + 1) / (loo.n + 2)
    return float(np.sqrt(share * (1 - share) / loo.n))
