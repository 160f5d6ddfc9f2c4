"""Tiny networks with random weights, saved as the model hub publishes them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the libraries are imported

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

_WORDS = "the a cat dog sat ran on under mat moon tea ship reads writes quickly slowly red blue"
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_WORDS.split()]
CONV = {"conv_dim": (8,) * 7, "num_feat_extract_layers": 7}
SMALL = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12}
TEXT = SMALL | {"vocab_size": 40, "max_position_embeddings": 34, "pad_token_id": 0}
PICTURE = SMALL | {"image_size": 16, "patch_size": 8}
STAGES = {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1], "layer_type": "basic"}
SPEECH = SMALL | CONV | {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "vocab_size": 8}
DISTILLED = {"dim": 8, "n_layers": 2, "n_heads": 2, "hidden_dim": 12}
NUMBERS: dict[str, dict[str, Any]] = {
    "Bert": TEXT,
    "Roberta": TEXT | {"pad_token_id": 1},
    "MPNet": TEXT | {"pad_token_id": 1},
    "DistilBert": {"vocab_size": 40, "max_position_embeddings": 34, **DISTILLED},
    "Electra": TEXT | {"embedding_size": 8},
    "Albert": TEXT | {"embedding_size": 8},
    "ViT": PICTURE,
    "DeiT": PICTURE,
    "Dinov2": PICTURE | {"image_size": 24},
    "ConvNext": {"hidden_sizes": [8, 12], "depths": [1, 1], "num_stages": 2},
    "ConvNextV2": {"hidden_sizes": [8, 12], "depths": [1, 1], "num_stages": 2},
    "ResNet": STAGES,
    "Wav2Vec2": SPEECH,
    "AST": SMALL
    | {"max_length": 40, "num_mel_bins": 32, "patch_size": 16, "frequency_stride": 8, "time_stride": 8},
    "Hubert": SPEECH | {"do_stable_layer_norm": True, "feat_extract_norm": "layer"},
}
SQUASH = {"size": {"height": 16, "width": 16}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2}
CROP = {"size": {"shortest_edge": 20}, "crop_size": {"height": 16, "width": 16}, "do_center_crop": True}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def save(folder: Path, family: str, model: str = "Model", **change: Any) -> Any:
    """Write a random network of `transformers.<family><model>` without its preprocessing; return it."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**(NUMBERS[family] | change))
    network = getattr(transformers, family + model)(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():  # far from the tiny initial values, so that errors show
            parameter.add_(torch.randn_like(parameter) * 0.2)
    network.save_pretrained(folder, safe_serialization=True)
    return network


def save_tokenizer(folder: Path) -> None:
    """A word-level tokenizer.json that also asks for truncation and padding of its own."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, "[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(folder / "tokenizer.json"))


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def sentence_files(folder: Path, pooling: str | None, *, unit: bool) -> None:
    """modules.json and its pooling, as sentence-transformers writes them."""
    kinds = ["Transformer", "Pooling", *(["Normalize"] if unit else [])]
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": f"{i}_{kind}" if i else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, kind in enumerate(kinds)
    ]
    write_json(folder / "modules.json", modules)
    names = ("cls_token", "mean_tokens", "max_tokens", "lasttoken")
    modes = {f"pooling_mode_{name}": name == pooling for name in names}
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 8, **modes})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 20, "do_lower_case": False})
