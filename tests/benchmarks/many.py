"""A data folder with many published models over one backbone, made without running a job for each."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.db.database import Database
from app.db.tables import Alias, Model, Version
from app.engine.blas import use_one_thread
from app.services.artefacts import Artefacts
from app.services.ids import new_id, now
from app.services.keys import DEFAULT_TENANT
from app.settings import Settings
from models.backbone import BackboneCard
from models.base import sha256
from models.manifest import HEAD, MANIFEST, BackboneRef, Head, InputSpec, Manifest
from models.novelty import NOVELTY
from models.runtime import Backbone
from models.shelf import Shelf
from tests.benchmarks.examples import texts
from tests.benchmarks.service import MINILM
from tests.trunks import affine_onnx
from training.novelty import Examples, fit_novelty

CLASSES = range(2, 21)
_SHOTS = 5
_SHARPNESS = 10.0


def name_of(number: int) -> str:
    """What the model of this number is called."""
    return f"m{number:04d}"


def classes_of(number: int) -> int:
    """How many classes it has."""
    return CLASSES[number % len(CLASSES)]


def publish_many(data: Path, count: int) -> None:
    """Fill a new data folder with so many text models of one version each, live."""
    use_one_thread()  # small products by the thousand
    settings = Settings(data=data)
    db, artefacts = Database(settings.database_url), Artefacts(settings.artefacts)
    db.migrate()
    with db.write() as session:
        for number, manifest in enumerate(_artefacts(artefacts, count)):
            model = Model(id=new_id("model"), tenant=DEFAULT_TENANT, name=name_of(number), created_at=now())
            model.last_version = 1
            session.add(model)
            session.flush()
            version = Version(model_id=model.id, version=1, artefact=manifest.digest, metrics={})
            version.manifest, version.job_id, version.created_at = (
                manifest.model_dump(mode="json"),
                new_id("ftjob"),
                now(),
            )
            session.add_all([version, Alias(model_id=model.id, alias="live", version=1)])
    db.close()


def _artefacts(artefacts: Artefacts, count: int) -> Iterator[Manifest]:
    card, folder = Shelf([Settings().embedded_backbones]).get(MINILM)
    contents = [text.encode() for text in texts().inputs]
    features = Backbone(folder).embed(contents, [card.default_tap])[card.default_tap]
    draws = np.random.default_rng(0)
    for number in range(count):
        rows = draws.choice(len(features), classes_of(number) * _SHOTS, replace=False)
        yield _artefact(artefacts, card, features[rows], number)


def _artefact(artefacts: Artefacts, card: BackboneCard, X: NDArray[np.float32], number: int) -> Manifest:
    """A head by class means, and a novelty, of `X` [5 C, D] in order of classes."""
    classes = classes_of(number)
    means = X.reshape(classes, _SHOTS, -1).mean(axis=1)
    files = {HEAD: affine_onnx(_SHARPNESS * means, np.zeros(classes, np.float32), "softmax")}
    y = np.repeat(np.arange(classes), _SHOTS)
    found = fit_novelty(Examples(X, y, _scores(X, means)))
    if found is not None:
        files[NOVELTY] = found[0].to_bytes()
    manifest = Manifest(
        task="classification",
        labels=tuple(f"intent {label} of {number}" for label in range(classes)),
        input=InputSpec(modality="text"),
        backbone=BackboneRef(id=card.id, digest=card.digest),
        tap=card.default_tap,
        head=Head(kind="affine", activation="softmax", in_dim=X.shape[1], out_dim=classes),
        method="prototypes",
        hyperparameters={},
        seed=number,
        dataset_digest=sha256(str(number).encode()),
        versions={},
        files={name: sha256(content) for name, content in files.items()},
    )
    folder = artefacts.folder(manifest.digest)
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text(manifest.model_dump_json())
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return manifest


def _scores(X: NDArray[np.float32], means: NDArray[np.float32]) -> NDArray[np.float32]:
    logits = np.exp(_SHARPNESS * X @ means.T)
    return np.asarray(logits / logits.sum(axis=1, keepdims=True), np.float32)


def requests_of(count: int, inputs: list[str], *, spread: bool) -> list[dict[str, object]]:
    """Prediction bodies, one a text: over all models in turn, or all to the first."""
    return [
        {"model": name_of(number if spread else 0), "input": text, "top_k": 1}
        for number, text in zip(range(count), cycle(inputs), strict=False)
    ]
