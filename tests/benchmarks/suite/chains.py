"""What a stage of a chain has learnt from some classes is worth to others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from models.backbone import read_card
from models.fitspec import BackboneChoice, FitSpec
from models.modalities.image import encode_png
from models.shelf import SHIPPED
from tests.benchmarks.examples import Examples, stored
from tests.benchmarks.registry import Setup, Skipped, benchmark
from tests.benchmarks.results import Row
from tests.benchmarks.service import spread
from training.fit import run
from training.pretrain.image.evaluate import OMNIGLOT_SIDE, few_shot

_OMNIGLOT = "image/omniglot_small1.npz"
_HELD_OUT = ("Early_Aramaic", "Latin")
_SECONDS = 300.0
_BACKBONE = SHIPPED / "image" / "durian-small"


@benchmark("A stage on other classes: Omniglot, 20 ways, one shot", needs_data=True)
def chains(setup: Setup) -> Iterator[Row]:
    """Drawings of Balinese, Greek and Korean train the first job, `contrastive` with all blocks and light
    augmentation, for 300 s on one core in all (two trainings of the cross-validation and the model's). Each
    further job has it as its `model` and one drawing each of 20 characters of Early Aramaic and Latin; the
    19 others of each ask. Means of 10 draws, beside the same jobs on `image/durian-small` as it is. Koch et
    al. 2015 train on 30 alphabets: 92.0 %, on trials within an alphabet.
    """
    if find_spec("torch") is None:
        raise Skipped("torch is not here: `make setup-torch`.")
    whole, alphabets = _drawings(setup.file(_OMNIGLOT))
    held_out = np.isin(alphabets, _HELD_OUT)
    new = whole.take(np.flatnonzero(held_out))
    _, labels = np.unique(new.labels, return_inverse=True)
    splits = list(few_shot(labels, 20, 1))[: setup.amount(10, 2)]
    with TemporaryDirectory() as folder:
        jobs = _Jobs(Path(folder))
        seconds = float(setup.amount(int(_SECONDS), 6))
        given = {"blocks": "all", "augment": "light", "folds": 2, "steps": 3000, "time_budget_s": seconds}
        known = np.flatnonzero(~held_out)[:: setup.amount(1, 7)]
        stage = jobs.output("contrastive", whole.take(known), hyperparameters=given)
        for method in ("siamese", "prototypes"):
            pairs = [(new.take(support), new.take(query)) for support, query in splits]
            plain, after = (
                [jobs.accuracy(method, *pair, parent=parent) for pair in pairs] for parent in (None, stage)
            )
            before = float(np.mean(plain))
            yield Row(
                what=f"`{method}` after the stage",
                value=float(np.mean(after)),
                unit="%",
                digits=1,
                at_least=before,
                how=f"on the backbone as it is {before:.1f} %; {spread(after)}",
            )


def _drawings(file: Path) -> tuple[Examples, Any]:
    with np.load(file, allow_pickle=False) as npz:
        ink = np.unpackbits(npz["images"], axis=1)[:, : OMNIGLOT_SIDE**2]
        alphabets, names = npz["alphabet"], np.char.add(npz["alphabet"], npz["character"])
    pages = (255 * (1 - ink)).astype(np.uint8).reshape(-1, OMNIGLOT_SIDE, OMNIGLOT_SIDE)
    return Examples("image", [encode_png(page) for page in pages], names.tolist()), alphabets


@dataclass(frozen=True)
class _Jobs:
    """Jobs on pictures in a folder, as the service would run them."""

    root: Path

    def output(self, method: str, examples: Examples, **more: Any) -> str:
        """Where the job's artefact lies."""
        return self._run(method, examples, **more)[0]

    def accuracy(self, method: str, examples: Examples, asked: Examples, **more: Any) -> float:
        """In per cent, of other pictures."""
        validation = self._run(method, examples, validation_pack=str(stored(self.root, asked)), **more)[1]
        if validation is None:
            raise ValueError("the job had a validation file")
        return 100 * float(validation.metrics["accuracy"])

    def _run(self, method: str, examples: Examples, **more: Any) -> tuple[str, Any]:
        card, training = read_card(_BACKBONE), stored(self.root, examples)
        choice = BackboneChoice(
            id=card.id, digest=card.digest, folder=str(_BACKBONE), taps=(card.default_tap,)
        )
        spec = FitSpec(
            job_id="ftjob-bench",
            task="classification",
            modality="image",
            training_pack=str(training),
            training_digest=training.name,
            backbones=(choice,),
            method=method,
            features=str(self.root / "features.db"),
            output=str(self.root / f"output-{len(list(self.root.iterdir()))}"),
            **more,
        )
        return spec.output, run(spec, lambda event: None).report.validation
