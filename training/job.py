"""What a job is to the code that trains: its data and features, and the result that it owes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.backbone import read_card, split_tap
from models.base import sha256
from models.dataset import Pack
from models.errors import CorruptArtefact, JobFailed
from models.fitspec import BackboneChoice, FitSpec
from models.manifest import Manifest, read_manifest
from models.report import Adaptation, Baseline, Candidate, Estimate
from training.deep.graft import Graft
from training.evaluate import Evidence
from training.features import FeatureSource
from training.folds import Folds, make_folds
from training.heads import Head
from training.methods.base import Problem, Setting
from training.phases import Phases
from training.problem import check_trainable, encode, label_names, labelled_rows
from training.several import Answer, SeveralHeads
from training.source import Source

if TYPE_CHECKING:
    from training.stage import Stage


@dataclass(frozen=True, eq=False)
class Data:
    """The examples, as read.

    `pack` holds the labelled ones; those that came with the unlabelled file are of the target domain
    (`in_target` [n]). `target` holds the unlabelled ones, None where there are none.
    """

    pack: Pack
    names: tuple[str, ...]
    y: NDArray[Any]
    in_target: NDArray[np.bool_]
    target: Pack | None
    unlabelled: int

    @property
    def examples(self) -> Pack:
        """Inputs to prove a graph with: the labelled ones, or unlabelled ones where no label is needed."""
        return self.pack if len(self.pack) or self.target is None else self.target


@dataclass(frozen=True, eq=False)
class Job:
    """Everything that a fit may use."""

    spec: FitSpec
    data: Data
    features: FeatureSource
    phases: Phases

    @cached_property
    def sources(self) -> list[Source]:
        """Features of every candidate backbone and tap."""
        return self._sources(self.spec.backbones)

    @cached_property
    def rivals(self) -> list[Source]:
        """Features of the declared baselines that are not candidates anyway."""
        used = {choice.digest for choice in self.spec.backbones}
        return self._sources([choice for choice in self.spec.baselines if choice.digest not in used])

    @cached_property
    def folds(self) -> Folds:
        """Who is predicted by whom; the same for everything that is tried."""
        return make_folds(self.sources[0].problem)

    def embed(self, choice: BackboneChoice, pack: Pack) -> dict[str, NDArray[np.float32]]:
        """float32 [len(pack), dim] of each of the choice's taps, from the cache or computed now."""
        return self.features.features(choice, pack, partial(_tell, self.phases, choice.id))

    def embed_at(self, choice: BackboneChoice, tap: str, pack: Pack) -> NDArray[np.float32]:
        """The same of one tap: float32 [len(pack), dim]."""
        return self.embed(choice.model_copy(update={"taps": (tap,)}), pack)[tap]

    def with_method(self, name: str, hyperparameters: dict[str, Any]) -> Job:
        """The same job for another method; what has been gathered is kept."""
        return self._changed(method=name, hyperparameters=hyperparameters)

    def from_the_backbone(self) -> Job:
        """The same job without a model to go on from."""
        return self._changed(parent=None)

    def _changed(self, **update: Any) -> Job:
        other = replace(self, spec=self.spec.model_copy(update=update))
        vars(other).update(
            {key: vars(self)[key] for key in ("sources", "rivals", "folds") if key in vars(self)}
        )
        return other

    def read_pack(self, path: str) -> Pack:
        """Another pack that the spec names. Raises JobFailed when it is gone."""
        return read_pack(path)

    def _sources(self, choices: Sequence[BackboneChoice]) -> list[Source]:
        found = []
        data, named = self.data, self.data.pack.label_names()
        for choice in choices:
            names = {} if not named else self.embed(choice, named)
            target = {} if data.target is None else self.embed(choice, data.target)
            labelled = self.embed(choice, data.pack) if data.pack else {t: X[:0] for t, X in target.items()}
            for tap, X in labelled.items():
                problem = self.problem(X, target.get(tap))
                found.append(Source(choice, tap, problem, names.get(tap), widths=_widths(choice, tap)))
        return found

    def problem(self, X: NDArray[np.float32], target: NDArray[np.float32] | None) -> Problem:
        """The examples with features [n, D], and those of the target that have no label [m, D]."""
        data, marks = self.data, self.data.in_target if self.spec.unlabelled_pack else None
        return Problem(X, data.y, self.spec.task, data.names, self.spec.seed, target, marks)


def _widths(choice: BackboneChoice, tap: str) -> tuple[int, ...]:
    """The dimensions of a joined tap's parts; empty for a plain one."""
    if len(split_tap(tap)) == 1:
        return ()
    card = read_card(Path(choice.folder))
    return tuple(card.tap(part).dim for part in split_tap(tap))


@dataclass(frozen=True, eq=False)
class Result:
    """A fitted model, taking raw features at `tap`, with the evidence for it.

    `labels` name its scores: those of the examples, or others where the method can name the unseen.
    `setting` has every `auto` resolved. `evidence` was made with `folds`, by models like this one that had
    not seen the rows they predicted.
    """

    method: str
    setting: Setting
    backbone: BackboneChoice
    tap: str
    head: Head | Graft
    labels: tuple[str, ...]
    evidence: Evidence
    folds: Folds
    candidates: tuple[Candidate, ...] = ()
    adaptation: Adaptation | None = None
    warnings: tuple[str, ...] = ()
    estimate: Estimate | None = None
    """Where the usual one does not apply, as with classes that have no example."""
    baselines: tuple[Baseline, ...] | None = None
    """Likewise: what it is fair to compare with; None is the usual ones."""
    answers: tuple[Answer, ...] = ()
    """What the model answers beside the job's task, in the order of its head."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """What else was measured out of fold, by name."""
    stage: Stage | None = None
    """The part of a parent that its head stands on, as it was."""
    apart: NDArray[np.float64] | None = None
    """Of a trained tail: how far each tested row [m] lay from the nearest that its network had known."""

    @property
    def whole(self) -> Head | Graft:
        """Everything that the model answers: the graph to export."""
        heads = [answer.head for answer in self.answers if answer.head is not None]
        return SeveralHeads((self.head, *heads)) if heads and not isinstance(self.head, Graft) else self.head

    def renamed(self, method: str) -> Result:
        """The same, as the result of a method that used another one."""
        lines = (c.model_copy(update={"method": method}) if c.chosen else c for c in self.candidates)
        return replace(self, method=method, candidates=tuple(lines))

    def features(self, job: Job, pack: Pack) -> NDArray[np.float32]:
        """float32 [len(pack), D]: what the model's head sees of examples."""
        if self.stage is not None:
            return self.stage.features(job, pack)
        if isinstance(self.head, Graft):
            return self.head.run(pack.contents)[1]
        return job.embed_at(self.backbone, self.tap, pack)

    def logits(self, job: Job, pack: Pack) -> NDArray[np.float64]:
        """float64 [len(pack), C]."""
        if isinstance(self.head, Graft):
            return self.head.logits(pack.contents)
        return self.head.logits(self.features(job, pack))


@dataclass(frozen=True)
class Parent:
    """The model that a job starts from."""

    folder: Path
    manifest: Manifest


def load_data(spec: FitSpec, *, labels_optional: bool = False) -> Data:
    """Read the packs. Raises JobFailed, CorruptArtefact."""
    pack = read_pack(spec.training_pack, spec.training_digest)
    more = read_pack(spec.unlabelled_pack) if spec.unlabelled_pack else None
    if not labels_optional:
        check_trainable(pack)
    labelled = pack.select(labelled_rows(pack))
    names = label_names(labelled)
    in_target = np.zeros(len(labelled), bool)
    if more is not None:
        known = more.select(_answerable(more, names))
        labelled = labelled.joined(known)
        in_target = np.concatenate([in_target, np.ones(len(known), bool)])
    y = encode(spec.task, labelled.labels, names)
    unlabelled = pack.unlabelled + (more.unlabelled if more is not None else 0)
    return Data(labelled, names, y, in_target, _target(pack, more), unlabelled)


def _answerable(pack: Pack, names: Sequence[str]) -> list[int]:
    """Labelled rows. Raises JobFailed when one has a class that the training data lacks."""
    rows = labelled_rows(pack)
    strange = sorted(set(pack.select(rows).counts()) - set(names)) if pack.task != "regression" else []
    if strange:
        raise JobFailed(
            f"The unlabelled file's labels name {len(strange)} classes that the training file lacks: "
            "the target may not have classes that the source has not.",
            code="unknown_target_classes",
        )
    return rows


def _target(pack: Pack, more: Pack | None) -> Pack | None:
    """The unlabelled rows of the file given for them, or else of the training data itself."""
    holder = pack if more is None else more
    rows = [row for row, label in enumerate(holder.labels) if label is None]
    return holder.select(rows) if rows else None


def read_pack(path: str, digest: str | None = None) -> Pack:
    """A stored pack. Raises JobFailed when it is gone, CorruptArtefact when it is not what it was."""
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise JobFailed("The job's data is gone; it was deleted.", code="data_gone") from None
    if digest is not None and sha256(content) != digest:
        raise CorruptArtefact("The training data does not match its digest.")
    return Pack.from_bytes(content)


def read_parent(spec: FitSpec) -> Parent | None:
    """The model that the job starts from. Raises CorruptArtefact."""
    if spec.parent is None:
        return None
    folder = Path(spec.parent)
    return Parent(folder, read_manifest((folder / "manifest.json").read_bytes()))


def _tell(phases: Phases, backbone: str, done: int, total: int) -> None:
    phases.progress(done / total, f"Computing features with {backbone}: {done} of {total}.")
