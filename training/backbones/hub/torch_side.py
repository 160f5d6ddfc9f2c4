"""All that touches torch: load safetensors into a network, run it, write it as ONNX.

The exporter is the one that traces (`dynamo=False`): the newer one needs packages that Durian does not.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from models.runtime import Features
from training.backbones.bert import FEWEST
from training.backbones.forms import distinct
from training.backbones.graph import OPSET, serialise
from training.backbones.graph import count_parameters as count_parameters
from training.backbones.hub.files import refused

Forward = Callable[..., Sequence[Any]]
"""`forward(model, *inputs)`: the taps' features [N, dim], from the bottom to the top."""

_HEADS = """
    classifier pre_classifier cls_classifier distillation_classifier cls lm_head qa_outputs pooler score
    vocab_transform vocab_layer_norm vocab_projector discriminator_predictions generator_predictions
    generator_lm_head predictions sop_classifier quantizer project_q project_hid projector layer_weights
"""
HEADS = frozenset(_HEADS.split())
"""Parts of published weights above the encoder, which a backbone leaves out."""

KALDI_FLOOR = float(np.finfo(np.float32).eps)

UNUSED = ("pooler.", "mask_token", "masked_spec_embed")
"""Parts of a network that no tap depends on: published weights may lack them."""


def load(folder: Path) -> Any:
    """The encoder in evaluation mode, float32. Raises InvalidInput (code `weights`)."""
    from transformers import AutoModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with _quiet():
            model, info = AutoModel.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                attn_implementation="eager",
                output_loading_info=True,
            )
    except Exception:  # whatever a malformed config or file of weights sets off
        message = "The weights cannot be read, or their shapes are not those that config.json tells."
        raise refused(message, "weights") from None
    _check_keys(info)
    return model.eval()


def _check_keys(info: Mapping[str, Iterable[str]]) -> None:
    missing = [key for key in info["missing_keys"] if not any(part in key for part in UNUSED)]
    extra = [key for key in info["unexpected_keys"] if not _of_head(key)]
    for what, keys in (("lack", missing), ("have unknown", extra)):
        if keys:
            shown = ", ".join(sorted(keys)[:5])
            message = f"The weights {what} {len(keys)} parts of this network, as {shown}: check the files."
            raise refused(message, "missing_keys" if keys is missing else "extra_keys")


def _of_head(key: str) -> bool:
    return bool(HEADS.intersection(key.split(".")[:2])) or key.endswith("position_ids")


@contextmanager
def _quiet() -> Any:
    """Tracing warns of every shape that it looks at; the gate tells whether one was frozen."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        yield


def run_each(model: Any, forward: Forward, examples: Sequence[Sequence[Any]]) -> list[Features]:
    """Each tap's features [len(examples), dim] by the original; every example (its inputs) goes alone.

    Raises InvalidInput (code `run`) where the network does not take what its files describe.
    """
    try:
        with _quiet():
            rows = [[tap.numpy() for tap in forward(model, *map(_batch_of_one, one))] for one in examples]
    except (RuntimeError, ValueError, TypeError, IndexError):
        message = "The network does not take the input that the other files of its folder describe."
        raise refused(message, "run") from None
    return [np.concatenate(tap).astype(np.float32) for tap in zip(*rows, strict=True)]


def run_taps(
    model: Any, forward: Forward, names: Sequence[str], examples: Sequence[Sequence[Any]]
) -> tuple[dict[str, Features], Forward]:
    """`run_each` by the taps' names, less those that are the last one already; and `forward` of the rest.

    Raises InvalidInput as `run_each`, and `non_finite`.
    """
    every = dict(zip(names, run_each(model, forward, examples), strict=True))
    if not all(np.isfinite(rows).all() for rows in every.values()):
        raise refused("The weights give NaN or infinity on ordinary input: check the file.", "non_finite")
    kept = distinct(every, names[-1])

    def forward_kept(model: Any, *inputs: Any) -> list[Any]:
        found = dict(zip(names, forward(model, *inputs), strict=True))
        return [found[name] for name in kept]

    return kept, forward_kept


def mean_and_stat(states: Any, space: tuple[int, ...]) -> list[Any]:
    """The two forms of a tap (`forms`), pooled over the axes of space: [N, C] and [N, 2C]."""
    mean = states.mean(space)
    return [mean, torch.cat([mean, deviation(states, space)], 1)]


def deviation(states: Any, space: tuple[int, ...]) -> Any:
    """Standard deviation from centred values: no cancellation where the mean is large."""
    centred = states - states.mean(space, keepdim=True)
    return (centred * centred).mean(space).sqrt()


def masked_mean_and_stat(states: Any, mask: Any) -> list[Any]:
    """The same over the tokens that the mask keeps: states [N, L, H], mask [N, L]."""
    mean = masked_mean(states, mask)
    keep = mask.unsqueeze(-1).to(states.dtype)
    spread = ((states - mean.unsqueeze(1)) * keep).norm(dim=1) / keep.sum(1).clamp(min=FEWEST).sqrt()
    return [mean, torch.cat([mean, spread], 1)]


def masked_mean(states: Any, mask: Any) -> Any:
    """Mean over the tokens that the mask keeps, [N, L, H] -> [N, H]."""
    keep = mask.unsqueeze(-1).to(states.dtype)
    return (states * keep).sum(1) / keep.sum(1).clamp(min=FEWEST)


def _batch_of_one(value: Any) -> torch.Tensor:
    return torch.from_numpy(np.asarray(value)[None])


def to_onnx(
    model: Any,
    forward: Forward,
    inputs: Mapping[str, Any],
    outputs: Sequence[str],
    dynamic: Mapping[int, str],
) -> bytes:
    """The network as ONNX: named inputs (arrays to trace with), one output a tap.

    `dynamic` names the input dimensions that vary. Raises InvalidInput (code `export`).
    """
    buffer = io.BytesIO()
    axes = {name: dict(dynamic) for name in inputs} | {name: {0: "N"} for name in outputs}
    try:
        with _quiet():
            torch.onnx.export(
                _Taps(model, forward),
                tuple(torch.from_numpy(array) for array in inputs.values()),
                buffer,  # type: ignore[arg-type]  # only the newer exporter needs a path
                dynamo=False,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_axes=axes,
            )
    except Exception:  # the exporter's errors share no base
        raise refused("torch cannot export this network to ONNX: choose another model.", "export") from None
    return _clean(onnx.load_model_from_string(buffer.getvalue()))


class _Taps(torch.nn.Module):
    def __init__(self, model: Any, forward: Forward) -> None:
        super().__init__()
        self.model = model
        self._forward = forward

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self._forward(self.model, *inputs))


def _clean(model: onnx.ModelProto) -> bytes:
    """Deterministic bytes, without notes of the machine that made them."""
    model.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
    onnx.checker.check_model(model)
    return serialise(model)


def load_tokenizer(folder: Path) -> str:
    """The content of a tokenizer.json, made from older files (vocab.txt, merges.txt, *.model)."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return str(tokenizer.backend_tokenizer.to_str())


def fix_positions(model: Any, height: int, width: int) -> None:
    """Stretch DINOv2's table of positions to one picture size now, in place of at each run."""
    patches = model.embeddings
    with torch.no_grad():
        count = (height // patches.patch_size) * (width // patches.patch_size)
        states = torch.empty(1, count + 1, model.config.hidden_size)
        table = patches.interpolate_pos_encoding(states, height, width)
    patches.position_embeddings = torch.nn.Parameter(table.detach().clone())
    patches.interpolate_pos_encoding = lambda *_: patches.position_embeddings


def join_weight_norm(model: Any) -> None:
    """Replace weights kept as direction and length (Salimans & Kingma 2016) by their product."""
    from torch.nn.utils import parametrize

    for module in model.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


def log_energies(
    wave: Any, kernel: NDArray[np.float64], filters: NDArray[np.float64], hop: int, length: int
) -> Any:
    """[N, samples] -> log mel energies [N, length, bins], zeros after the last frame.

    `kernel` [2 * frequencies, frame] makes the real and imaginary parts, `filters` is [frequencies, bins].
    """
    parts = torch.nn.functional.conv1d(wave[:, None], wave.new_tensor(kernel)[:, None], stride=hop)
    real, imaginary = parts[:, : len(filters)], parts[:, len(filters) :]
    energies = torch.matmul(wave.new_tensor(filters.T), real * real + imaginary * imaginary)
    frames = energies.clamp(min=KALDI_FLOOR).log().transpose(1, 2)[:, :length]
    return torch.nn.functional.pad(frames, (0, 0, 0, length - frames.shape[1]))
