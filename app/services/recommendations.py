"""Before training: which backbone and tap suit some examples. The training side knows; here it is asked."""

from __future__ import annotations

import threading
import time
from typing import Any

from app.db.database import Database
from app.runners.base import Advisor, Run
from app.services.data import DataSource, Source
from app.services.features import candidates
from app.settings import Settings
from models.backbone import BackboneCard
from models.errors import DeadlineExceeded, InvalidInput, JobFailed, RateLimited
from models.fitspec import BackboneChoice
from models.recommendation import Recommendation, RecommendationSpec
from models.shelf import Shelf
from models.store import BlobStore

SECONDS = 120.0
_BUSY_SECONDS = 30.0
_POLL_SECONDS = 0.5
_OUR_FAULT = frozenset({"internal", "oom", "corrupt_artefact"})


class Recommendations:
    """One at a time: each takes a core, and jobs and predictions need the others."""

    def __init__(
        self,
        settings: Settings,
        db: Database,
        data: DataSource,
        blobs: BlobStore,
        shelf: Shelf,
        runner: Advisor,
    ) -> None:
        self.settings = settings
        self.db = db
        self.data = data
        self.blobs = blobs
        self.shelf = shelf
        self.runner = runner
        self._turn = threading.Lock()

    def recommend(self, tenant: str, training_file: str, unlabelled_file: str | None) -> Recommendation:
        """Rank every tap of every backbone for these examples.

        Raises NotFound or InvalidInput naming the field, RateLimited while another is being made,
        DeadlineExceeded after `SECONDS`.
        """
        spec = self._spec(*self._open(tenant, training_file, unlabelled_file))
        if not self._turn.acquire(timeout=_BUSY_SECONDS):
            raise RateLimited("Another recommendation is being made; try again soon.", code="busy")
        try:
            return _answer(self.runner.recommend(spec))
        finally:
            self._turn.release()

    def _open(
        self, tenant: str, training_file: str, unlabelled_file: str | None
    ) -> tuple[Source, Source | None]:
        with self.db.read() as session:
            training = self.data.open(session, tenant, training_file, "training_file")
            training.check_trainable(self.settings.max_classes, labels_optional=not training.labelled)
            if unlabelled_file is None:
                return training, None
            unlabelled = self.data.open(session, tenant, unlabelled_file, "unlabelled_file")
        _check_match(training, unlabelled)
        return training, unlabelled

    def _spec(self, training: Source, unlabelled: Source | None) -> RecommendationSpec:
        modality = training.input.modality
        cards = candidates(self.shelf, modality)
        if not cards:
            raise InvalidInput(
                f"There is no backbone for {modality}: `durian backbones setup` makes the embedded ones.",
                code="no_backbone",
                param="training_file",
            )
        return RecommendationSpec(
            task=training.task,
            modality=modality,
            training_pack=self._path(training),
            training_digest=training.digest,
            unlabelled_pack=None if unlabelled is None else self._path(unlabelled),
            backbones=tuple(map(self._choice, cards)),
            default_taps={card.id: card.default_tap for card in cards},
            features=str(self.settings.features.resolve()),
        )

    def _path(self, source: Source) -> str:
        return str(self.blobs.local(source.digest).resolve())

    def _choice(self, card: BackboneCard) -> BackboneChoice:
        """With every tap: a recommendation is there to choose among them."""
        return BackboneChoice(
            id=card.id,
            digest=card.digest,
            folder=str(self.shelf.get(card.id)[1].resolve()),
            taps=tuple(tap.name for tap in card.taps),
            baseline=card.baseline,
        )


def _check_match(training: Source, unlabelled: Source) -> None:
    """Raises InvalidInput unless both hold inputs of one kind and, where both have labels, one task."""
    unlabelled.must_match(training, "unlabelled_file")
    if unlabelled.input != training.input:
        raise InvalidInput(
            f"unlabelled_file holds {unlabelled.input.modality}, and the training file "
            f"{training.input.modality}: both must hold inputs of one kind (signals: on one grid).",
            code="file_mismatch",
            param="unlabelled_file",
        )


def _answer(run: Run) -> Recommendation:
    """Wait for the one message. Raises DeadlineExceeded, and what the training side says went wrong."""
    deadline = time.monotonic() + SECONDS
    try:
        while time.monotonic() < deadline:
            alive = run.alive()  # before reading: what a child said last is then never missed
            for message in run.messages(_POLL_SECONDS):
                return _parsed(message)
            if not alive:
                raise JobFailed("The training process ended without an answer.", code="process_died")
    finally:
        run.kill()
    raise DeadlineExceeded(
        f"The features of these examples take longer than {SECONDS:.0f} s. Those computed so far are kept: "
        "ask again, or give fewer examples."
    )


def _parsed(message: dict[str, Any]) -> Recommendation:
    if "recommendation" in message:
        return Recommendation.model_validate(message["recommendation"])
    code, text = message["failed"]["code"], message["failed"]["message"]
    raise (
        JobFailed(text, code=code)
        if code in _OUR_FAULT
        else InvalidInput(text, code=code, param="training_file")
    )
