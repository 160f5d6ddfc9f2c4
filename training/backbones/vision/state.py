"""Weights from a file into a network: tensors only, and exactly those that the network has."""

from __future__ import annotations

import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from training.backbones.hub.files import refused

SHOWN = 5
COUNTER = "num_batches_tracked"  # old files lack it, and evaluation does not read it
HELPERS = ("aux1.", "aux2.", "AuxLogits.")  # outputs for training alone (Szegedy et al. 2015)
# DenseNet's official files are from when a module's name could hold a dot (norm.1 is norm1 today).
DOTTED = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")


def read_state(file: Path) -> Mapping[str, torch.Tensor]:
    """The named tensors of a state dict, by torch (tensors only, no code is run) or safetensors.

    Raises InvalidInput: `pickle` (it holds more than tensors), `weights` (no such file, or another
    format), `state_dict` (tensors, but not by name).
    """
    try:
        state = _read(file)
    except pickle.UnpicklingError:
        message = (
            "The file pickles a whole model or other objects, which Durian never loads: "
            "save model.state_dict() or use safetensors."
        )
        raise refused(message, "pickle") from None
    except Exception:  # the readers' errors share no base
        message = "The file of weights cannot be read: give a state dict saved by torch, or safetensors."
        raise refused(message, "weights") from None
    if not isinstance(state, Mapping) or not all(map(torch.is_tensor, state.values())):
        raise refused("The file holds no plain state dict: save model.state_dict() alone.", "state_dict")
    return state


def _read(file: Path) -> Any:
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of formats that are old, as the official files are
        return torch.load(file, map_location="cpu", weights_only=True)


def fit(net: Any, state: Mapping[str, torch.Tensor]) -> None:
    """Put the weights into the network. Raises InvalidInput: `missing_keys`, `extra_keys` or `shapes`."""
    given = OrderedDict((DOTTED.sub(r"\1\2", key), value) for key, value in state.items())
    given._metadata = getattr(state, "_metadata", {})  # type: ignore[attr-defined]  # versions of modules
    wanted = net.state_dict()
    _complain("missing_keys", "lack", _needed(wanted) - set(given))
    _complain("extra_keys", "have unknown", set(given) - set(wanted))
    other = {key for key in given if given[key].shape != wanted[key].shape}
    _complain("shapes", "have another shape in", other)
    net.load_state_dict(given, strict=False)


def _needed(wanted: Iterable[str]) -> set[str]:
    return {key for key in wanted if not key.endswith(COUNTER) and not key.startswith(HELPERS)}


def _complain(code: str, how: str, keys: set[str]) -> None:
    if keys:
        shown = ", ".join(repr(key[:80]) for key in sorted(keys)[:SHOWN])
        message = f"The weights {how} {len(keys)} parts of this network, as {shown}: check the file."
        raise refused(message, code)
