"""When `auto` may take a smaller form of a backbone: only where the cross-validated task loses nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from training.evaluate import Evidence
from training.source import Source


def loses_nothing(variant: Evidence, original: Evidence) -> bool:
    """Whether the mean loss is not higher, and no fewer answers are right, on the same tested rows.

    Nothing is tested where no class has two examples: then there is no evidence, and the answer is no.
    """
    if not len(original.losses) or len(variant.losses) != len(original.losses):
        return False
    kept = variant.problem.task == "regression" or variant.hits.sum() >= original.hits.sum()
    return bool(kept and variant.losses.mean() <= original.losses.mean())


def apart(sources: Sequence[Source]) -> tuple[list[Source], list[Source]]:
    """The sources to choose among, and the variants, which stand in only for their own original.

    A variant whose original is no candidate was asked for by name, and is one to choose.
    """
    digests = {source.backbone.digest for source in sources}
    variants = [source for source in sources if source.backbone.variant_of in digests]
    return [source for source in sources if source not in variants], variants


def stand_ins(winner: Source, variants: Sequence[Source]) -> list[Source]:
    """The variants of the winner's backbone at its tap, with class names where it uses them."""
    return [
        replace(variant, uses_names=winner.uses_names)
        for variant in variants
        if variant.backbone.variant_of == winner.backbone.digest and variant.tap == winner.tap
    ]
