"""From a job's row to the FitSpec file that the training side reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.db.tables import Job
from app.services.artefacts import Artefacts
from app.services.data import DataSource
from app.settings import Settings
from models.backbone import BackboneCard
from models.dataset import Pack
from models.errors import JobFailed, NotFound
from models.fitspec import BackboneChoice, FitSpec
from models.shelf import Shelf
from models.store import BlobStore

SPEC = "fitspec.json"
CHOOSING = frozenset({"auto", "select_layer"})
"""Methods that choose among the taps of a backbone; others take the default one, or that asked for."""


class SpecBuilder:
    def __init__(
        self, settings: Settings, blobs: BlobStore, artefacts: Artefacts, shelf: Shelf, data: DataSource
    ) -> None:
        self.settings = settings
        self.blobs = blobs
        self.artefacts = artefacts
        self.shelf = shelf
        self.data = data

    def build(self, job: Job) -> FitSpec:
        """The job's spec with an empty output folder of its own (claims never share one)."""
        output = (self.settings.work / f"{job.id}-{job.fence}" / "output").resolve()
        output.mkdir(parents=True)
        packs = job.spec["packs"]
        return FitSpec(
            job_id=job.id,
            task=job.spec["task"],
            modality=job.spec["modality"],
            training_pack=self._path(packs["training"]),
            training_digest=packs["training"],
            validation_pack=self._optional(packs["validation"]),
            unlabelled_pack=self._optional(packs["unlabelled"]),
            backbones=self._choices(job.spec["backbones"], every=job.method in CHOOSING),
            baselines=self._choices(job.spec["baselines"]),
            method=job.method,
            hyperparameters=job.hyperparameters,
            parent=self._parent(job.spec.get("parent")),
            extra_packs={name: self._path(digest) for name, digest in job.spec.get("extras", {}).items()},
            text_backbone=next(
                iter(self._choices([job.spec["names"]] if job.spec.get("names") else [])), None
            ),
            seed=job.seed,
            features=str(self.settings.features.resolve()),
            output=str(output),
        )

    def write(self, spec: FitSpec) -> str:
        """Beside the output folder; returns the path."""
        path = Path(spec.output).parent / SPEC
        path.write_bytes(spec.canonical())
        return str(path)

    def packs(self, job: Job) -> list[Pack]:
        """Every pack whose features the job needs; class names may be one."""
        packs = [self.data.pack(digest) for digest in job.spec["packs"].values() if digest is not None]
        names = packs[0].label_names()
        return packs if names is None else [*packs, names]

    def _path(self, digest: str) -> str:
        return str(self.blobs.local(digest).resolve())

    def _parent(self, digest: str | None) -> str | None:
        return None if digest is None else str(self.artefacts.local(digest).resolve())

    def _optional(self, digest: str | None) -> str | None:
        return None if digest is None else self._path(digest)

    def _choices(
        self, backbones: Sequence[Sequence[str]], *, every: bool = True
    ) -> tuple[BackboneChoice, ...]:
        """`(id, digest)`, or with the tap that was asked for; `every`: the method chooses among taps."""
        return tuple(self._choice(*place, every=every) for place in backbones)

    def _choice(self, name: str, digest: str, tap: str | None = None, *, every: bool) -> BackboneChoice:
        try:
            card, folder = self.shelf.get(name)
        except NotFound:
            raise JobFailed(f"The backbone {name} is gone.", code="backbone_gone") from None
        if card.digest != digest:
            raise JobFailed(f"The backbone {name} changed since the job was made.", code="backbone_changed")
        return BackboneChoice(
            id=card.id,
            digest=card.digest,
            folder=str(folder.resolve()),
            taps=(tap,) if tap else _taps(card, every),
            baseline=card.baseline,
            variant_of=None if card.variant_of is None else card.variant_of.digest,
        )


def _taps(card: BackboneCard, every: bool) -> tuple[str, ...]:
    """The taps that a job may use. Those of a baseline are cheap, different views of the raw input."""
    return card.trial_taps() if every or card.baseline else (card.default_tap,)
