"""Labelled examples as they are stored: a pack is one immutable file of validated, canonical inputs."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import orjson

from models.base import Label, TaskName, sha256
from models.errors import CorruptArtefact
from models.manifest import InputSpec

_SEPARATORS = re.compile(r"[\W_]+")


def example_digest(content: bytes) -> str:
    """Identity of one canonical input."""
    return sha256(content)


_LEAST_EXAMPLES: dict[TaskName, int] = {"classification": 2, "multilabel": 2, "regression": 3}
_LEAST_CLASSES: dict[TaskName, int] = {"classification": 2, "multilabel": 1, "regression": 0}


def shortage(task: TaskName, labelled: int, classes: int) -> tuple[str, str] | None:
    """Why no model can be fitted to so little: a code and what there is and is needed; None if it can.

    One rule for both sides: a job is refused before it is queued, and a replayed one fails as it should.
    """
    if labelled < (least := _LEAST_EXAMPLES[task]):
        return "too_few_examples", f"{labelled} labelled examples, and {task} needs at least {least}"
    if classes < (least := _LEAST_CLASSES[task]):
        has = "only one class" if classes else "no class"
        return "too_few_classes", f"{has}, and {task} needs at least {least}"
    return None


def plain_text(name: str) -> str:
    """A class name as a person would say it: `reset_password` reads "reset password"."""
    return _SEPARATORS.sub(" ", name).strip() or name


@dataclass(frozen=True)
class Pack:
    """Canonical inputs with their labels, in upload order. Labels are None where unlabelled."""

    task: TaskName
    input: InputSpec
    contents: tuple[bytes, ...]
    labels: tuple[Label, ...]
    warnings: tuple[str, ...] = field(default=(), compare=False)

    def __len__(self) -> int:
        return len(self.contents)

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """SHA-256 of each canonical input."""
        return tuple(map(example_digest, self.contents))

    def counts(self) -> dict[str, int]:
        """Examples a class (classification, multilabel), most frequent first; empty for regression."""
        names: Counter[str] = Counter()
        for label in self.labels:
            if isinstance(label, str):
                names[label] += 1
            elif isinstance(label, list):
                names.update(label)
        return dict(names.most_common())

    @property
    def unlabelled(self) -> int:
        return sum(label is None for label in self.labels)

    def label_names(self) -> Pack | None:
        """The class names, in sorted order, as texts of their own; None where they are no evidence.

        Only texts with one class each have use for it.
        """
        if self.input.modality != "text" or self.task != "classification":
            return None
        contents = tuple(plain_text(name).encode() for name in sorted(self.counts()))
        return Pack(self.task, self.input, contents, (None,) * len(contents))

    def select(self, rows: Sequence[int]) -> Pack:
        """The given rows as a pack of their own."""
        return Pack(
            self.task,
            self.input,
            tuple(self.contents[i] for i in rows),
            tuple(self.labels[i] for i in rows),
        )

    def joined(self, other: Pack) -> Pack:
        """These examples and behind them the other's, of the same task and kind of input."""
        return Pack(self.task, self.input, self.contents + other.contents, self.labels + other.labels)

    def to_bytes(self) -> bytes:
        """Deterministic npz: `blob` uint8, `ends` int64, `labels` and `meta` as JSON bytes."""
        meta = {"format": 1, "task": self.task, "input": self.input.model_dump(mode="json")}
        buffer = io.BytesIO()
        np.savez(
            buffer,
            blob=np.frombuffer(b"".join(self.contents), np.uint8),
            ends=np.cumsum([len(c) for c in self.contents], dtype=np.int64),
            labels=np.frombuffer(orjson.dumps(list(self.labels)), np.uint8),
            meta=np.frombuffer(orjson.dumps(meta, option=orjson.OPT_SORT_KEYS), np.uint8),
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Pack:
        """Inverse of `to_bytes`. Raises CorruptArtefact."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as npz:
                blob = npz["blob"].tobytes()
                ends = npz["ends"].tolist()
                labels = orjson.loads(npz["labels"].tobytes())
                meta = orjson.loads(npz["meta"].tobytes())
            starts = [0, *ends[:-1]]
            contents = tuple(blob[a:b] for a, b in zip(starts, ends, strict=True))
            return cls(meta["task"], InputSpec.model_validate(meta["input"]), contents, tuple(labels))
        except (ValueError, KeyError, OSError) as error:
            raise CorruptArtefact("A stored dataset cannot be read.") from error
