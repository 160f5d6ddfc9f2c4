"""A recommendation from its spec: read, sample, gather features, rank."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.dataset import Pack
from models.features import FeatureCache
from models.recommendation import Recommendation, RecommendationSpec, TapCandidate
from training.features import FeatureSource
from training.job import read_pack
from training.methods.base import Problem
from training.problem import encode, label_names, labelled_rows
from training.relatedness.adistance import Distance, proxy_a_distance
from training.relatedness.advice import advise
from training.relatedness.rank import rank
from training.relatedness.sample import affordable, silent
from training.relatedness.setting import Facts, setting_of
from training.source import Source


def run(spec: RecommendationSpec) -> Recommendation:
    """Rank every tap of every backbone of the spec on a sample of its examples, and name the setting.

    Raises JobFailed (`data_gone`, `backbone_changed`, `non_finite`), CorruptArtefact.
    """
    started = time.perf_counter()
    pack = read_pack(spec.training_pack, spec.training_digest)
    labelled = pack.select(labelled_rows(pack))
    other = read_pack(spec.unlabelled_pack) if spec.unlabelled_pack else None
    features = FeatureSource(FeatureCache(Path(spec.features)), spec.threads)
    sources = _sources(spec, labelled, features)
    ranked = rank(sources, spec.default_taps) or _unranked(spec)
    distance = _distance(spec, _source_of(sources, ranked[0]), other, features)
    counts = tuple(labelled.counts().values())
    looked_at = len(sources[0].raw) if sources else 0
    facts = Facts(spec.task, len(labelled), counts, len(other) if other else 0, distance, looked_at)
    return Recommendation(
        setting=setting_of(facts),
        candidates=tuple(ranked),
        a_distance=None if distance is None else distance.value,
        advice=tuple(advise(facts, spec.modality, ranked, spec.default_taps)),
        examples=looked_at,
        seconds=time.perf_counter() - started,
    )


def _sources(spec: RecommendationSpec, labelled: Pack, features: FeatureSource) -> list[Source]:
    """A source a tap, of as many labelled examples as time allows; none without labels."""
    if not len(labelled):
        return []
    pack = affordable(labelled, spec.backbones, features, spec.most, spec.seconds, spec.seed)
    names = label_names(pack)
    y = encode(spec.task, pack.labels, names)
    return [
        Source(choice, tap, Problem(X, y, spec.task, names, spec.seed))
        for choice in spec.backbones
        for tap, X in features.features(choice, pack, silent).items()
    ]


def _unranked(spec: RecommendationSpec) -> list[TapCandidate]:
    """The default taps, pretrained backbones first."""
    return [
        TapCandidate(backbone=choice.id, tap=spec.default_taps[choice.id], baseline=choice.baseline)
        for choice in sorted(spec.backbones, key=lambda choice: choice.baseline)
    ]


def _source_of(sources: Sequence[Source], best: TapCandidate) -> Source | None:
    return next((s for s in sources if (s.backbone.id, s.tap) == (best.backbone, best.tap)), None)


def _distance(
    spec: RecommendationSpec, best: Source | None, other: Pack | None, features: FeatureSource
) -> Distance | None:
    """How far the unlabelled file's domain is from that of the labelled examples, seen from the best tap."""
    if best is None or other is None:
        return None
    most = spec.most // 2
    choice = best.backbone.model_copy(update={"taps": (best.tap,)})
    pack = affordable(other, [choice], features, most, spec.seconds / 2, spec.seed)
    rows = np.random.default_rng(spec.seed).permutation(len(best.raw))[:most]
    return proxy_a_distance(best.raw.X[rows], features.features(choice, pack, silent)[best.tap], spec.seed)
