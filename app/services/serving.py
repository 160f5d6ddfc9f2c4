"""Predictions: a reference and raw inputs in, answers out. Both protocols, /v1 and /v2, come through here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from app.engine.heads import Outputs
from app.engine.model import LoadedModel, Prediction
from app.engine.predictor import Predictor
from app.engine.queue import DEFAULT
from app.engine.stats import Counters
from app.services.catalogue import Catalogue, Entry, Reference, ServedVersion
from models.backbone import BackboneCard
from models.errors import DurianError, NotFound
from models.manifest import InputSpec, Manifest
from models.modalities import modality
from models.runtime import Features
from models.sets import leading

MULTILABEL_THRESHOLD = 0.5
_DECIMALS = 6
_FEW_SCORES = 256
"""Lists are faster than arrays for so many: an array costs microseconds for each thing that is done to it."""

_INLINE = 64
_INLINE_LETTERS = 256 * 1024
"""So many inputs, and so much text or base64 in all, are checked in the event loop: a few microseconds each,
below a thread's price."""


class Answer(NamedTuple):
    """Which version of which model answered, and one row an input."""

    model: str
    version: int
    digest: str
    rows: list[dict[str, Any]]


class Serving:
    """What the routes need of the models: find them, ask them."""

    def __init__(
        self, engine: Predictor, catalogue: Catalogue, refresh: Callable[[], None] = lambda: None
    ) -> None:
        self.engine = engine
        self.catalogue = catalogue
        self._refresh = refresh

    async def resolve(self, tenant: str, ref: str, version: int | None = None) -> LoadedModel:
        """The model `ref` means (`name`, `name:3`, `name@alias`). Raises NotFound, CorruptArtefact."""
        try:
            found = self.catalogue.find(tenant, ref, version)
        except NotFound:  # another process may have published it just now
            found = await asyncio.to_thread(self._find_anew, tenant, ref, version)
        loaded = found.loaded
        return loaded if loaded is not None else await asyncio.to_thread(found.model)

    def _find_anew(self, tenant: str, ref: str, version: int | None) -> ServedVersion:
        with suppress(DurianError):  # without the database, what is known is all there is
            self._refresh()
        return self.catalogue.find(tenant, ref, version)

    async def loaded(self, tenant: str, ref: str, version: int | None = None) -> tuple[LoadedModel, Counters]:
        """`resolve`, with the model in the engine's memory; and its counters."""
        model = await self.resolve(tenant, ref, version)
        return model, model.stats.snapshot()

    async def counters(self, tenant: str, entries: Sequence[Entry]) -> list[tuple[str, int, Counters]]:
        """Name, number and counters of every version of some models that has ever been loaded."""
        return [
            (entry.name, number, version.stats.snapshot())
            for entry in entries
            for number, version in sorted(entry.versions.items())
            if version.stats is not None
        ]

    def entry(self, tenant: str, ref: str) -> Entry:
        """All versions and aliases of the model that `ref` names. Raises NotFound."""
        return self.catalogue.entry(tenant, Reference.parse(ref).name)

    def health(self) -> dict[str, Any]:
        """Whether predictions are served, on what device, and how many inputs wait."""
        stats = self.engine.stats()
        return {"ready": not self.engine.closing, "device": stats.device, "waiting": stats.waiting}

    def models(self, tenant: str) -> list[Entry]:
        """Everything a tenant can ask, by name."""
        snapshot = self.catalogue.snapshot(tenant)
        return [snapshot[name] for name in sorted(snapshot)]

    async def infer(
        self,
        model: LoadedModel,
        inputs: Sequence[object],
        *,
        embedding: bool = False,
        unknown: bool = False,
        deadline: float | None = None,
        priority: int = DEFAULT,
    ) -> Prediction:
        """Arrays for raw inputs. Raises what the modality (naming the input) and the engine raise."""
        ready = await _contents(model.manifest.input, inputs)
        return await self.engine.predict(
            model,
            ready,
            embedding=embedding,
            unknown=unknown,
            deadline=deadline,
            priority=priority,
        )

    async def predict(
        self,
        tenant: str,
        ref: str,
        inputs: Sequence[object],
        *,
        top_k: int = 5,
        return_embedding: bool = False,
        deadline: float | None = None,
    ) -> Answer:
        """Rows as `/v1/predictions` gives them. Raises as `resolve` and `infer`."""
        model = await self.resolve(tenant, ref)
        prediction = await self.infer(
            model, inputs, embedding=return_embedding, unknown=True, deadline=deadline
        )
        return Answer(ref, model.version, model.digest, rows(model.manifest, prediction, top_k))

    async def embed(
        self,
        tenant: str,
        card: BackboneCard,
        inputs: Sequence[object],
        tap: str | None,
        *,
        deadline: float | None = None,
    ) -> Features:
        """A backbone's features [n, D] of raw inputs. Raises as `infer`, and InvalidRequest for the tap."""
        ready = await _contents(InputSpec(modality=card.modality), inputs)
        return await self.engine.embed(card.id, ready, tap=tap, tenant=tenant, deadline=deadline)


async def _contents(spec: InputSpec, inputs: Sequence[object]) -> list[bytes]:
    letters = sum(len(value) for value in inputs if isinstance(value, str))
    if len(inputs) <= _INLINE and letters <= _INLINE_LETTERS:
        return contents(spec, inputs)
    return await asyncio.to_thread(contents, spec, inputs)


def contents(spec: InputSpec, inputs: Sequence[object]) -> list[bytes]:
    """What the engine takes of each input: media have yet to meet their decoder, in a child of the engine's.

    Raises InvalidInput, UnsupportedMedia or TooLarge, naming the input.
    """
    kind = modality(spec.modality)
    return [kind.content(value, spec, f"input {i}") for i, value in enumerate(inputs)]


def rows(manifest: Manifest, prediction: Prediction, top_k: int) -> list[dict[str, Any]]:
    """One dict an input: `index`, what the task answers, `outputs` where the model answers more by name,
    `unknown` if told, `embedding` if asked for."""
    own, *others = [_answers(*part, top_k) for part in parts(manifest, prediction.outputs).values()]
    found = [{"index": i, **answer} for i, answer in enumerate(own)]
    if others:
        names = [output.name for output in manifest.outputs]
        _put(found, "outputs", [dict(zip(names, row, strict=True)) for row in zip(*others, strict=True)])
    if prediction.unknown is not None:
        _put(found, "unknown", prediction.unknown.tolist())
    if prediction.embedding is not None:
        _put(found, "embedding", prediction.embedding.tolist())
    return found


def parts(manifest: Manifest, outputs: Outputs) -> dict[str, tuple[Manifest, Outputs]]:
    """Each answer of a model, by name ("" is its own): a manifest of that alone, and its columns."""
    if not manifest.outputs:
        return {"": (manifest, outputs)}
    kinds = {"": manifest.alone(), **{output.name: manifest.alone(output) for output in manifest.outputs}}
    pairs = zip(kinds.items(), manifest.columns, strict=True)
    return {name: (alone, outputs[:, columns]) for (name, alone), columns in pairs}


def _answers(manifest: Manifest, outputs: Outputs, top_k: int) -> list[dict[str, Any]]:
    if manifest.task == "regression":
        return [_value_row(manifest, values) for values in outputs.tolist()]
    return _score_rows(manifest, outputs, top_k)


def _value_row(manifest: Manifest, values: list[float]) -> dict[str, Any]:
    half = manifest.interval
    value = values[0] if len(values) == 1 else values
    if half is None:
        return {"value": value}
    bounds = [[v - half, v + half] for v in values]
    return {"value": value, "interval": bounds[0] if len(values) == 1 else bounds}


def _score_rows(manifest: Manifest, scores: np.ndarray[Any, Any], top_k: int) -> list[dict[str, Any]]:
    labels, count, sets = manifest.labels, max(1, top_k), manifest.prediction_sets
    threshold = None if sets is None else _single(sets.threshold)
    values = scores.tolist()
    ranking = _ranked(values) if scores.size <= _FEW_SCORES else _ranked_by_array(scores)
    answers: list[dict[str, Any]] = []
    for places, row in zip(ranking, values, strict=True):
        listed = [{"label": labels[i], "score": round(row[i], _DECIMALS)} for i in places[:count]]
        answer: dict[str, Any] = {**listed[0], "scores": listed[:top_k]}
        if threshold is not None:
            answer["set"] = [labels[i] for i in leading(places, row, threshold)]
        answers.append(answer)
    if manifest.task == "multilabel":
        _put(answers, "label", labels_above(manifest, scores))
    return answers


@lru_cache(1_024)
def _single(value: float) -> float:
    """As scores hold it, in single precision."""
    return float(np.float32(value))


def _ranked(rows: list[list[float]]) -> list[list[int]]:
    """Places by falling score, the first of equal ones first."""
    return [sorted(range(len(row)), key=row.__getitem__, reverse=True) for row in rows]


def _ranked_by_array(scores: np.ndarray[Any, Any]) -> list[list[int]]:
    """`_ranked`, faster where there are many."""
    ranking: list[list[int]] = (-scores).argsort(axis=1, kind="stable").tolist()
    return ranking


def _put(answers: Sequence[dict[str, Any]], key: str, values: Sequence[Any]) -> None:
    for answer, value in zip(answers, values, strict=True):
        answer[key] = value


def labels_above(manifest: Manifest, scores: np.ndarray[Any, Any]) -> list[list[str]]:
    """Multilabel: the names of each row's labels with a score of at least one half, in label order."""
    return [
        [manifest.labels[place] for place in np.flatnonzero(row >= MULTILABEL_THRESHOLD)] for row in scores
    ]
