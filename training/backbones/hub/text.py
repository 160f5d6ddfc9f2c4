"""Text encoders of the BERT kind, pooled as the model's own files say (Reimers & Gurevych 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from models.backbone import GRAPH, TextPreprocess
from models.graphs import prune
from training.backbones.bert import SENTENCE, BertConfig, write_bert
from training.backbones.draft import Draft, levels, list_taps
from training.backbones.forms import both_forms
from training.backbones.hub.files import read_any, read_json, refused
from training.backbones.hub.torch_side import (
    count_parameters,
    load_tokenizer,
    masked_mean,
    masked_mean_and_stat,
    run_taps,
    to_onnx,
)

FAMILIES = frozenset(
    {"albert", "bert", "camembert", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta"}
)
OFFSET_FAMILIES = frozenset({"camembert", "mpnet", "roberta", "xlm-roberta"})
TOKENIZER = "tokenizer.json"
VOCABULARIES = ("vocab.txt", "vocab.json", "*.model")
MOST_TOKENS = 512
LENGTHS = (5, 1, 12, 24)
Pooling = Literal["mean", "cls", "lasttoken"]


@dataclass(frozen=True)
class Head:
    """How token states become one vector: which ones count, and whether it is scaled to length 1."""

    pooling: Pooling = "mean"
    unit: bool = False


def draft(folder: Path, model: Any) -> Draft:
    """The backbone of a loaded text encoder. Raises InvalidInput (`pooling`, `tokenizer`, `config`)."""
    config = model.config
    head = read_head(folder)
    how = TextPreprocess(tokenizer=TOKENIZER, max_tokens=max_tokens(folder, config))
    plain = is_plain_bert(config, head)
    depth = config.num_hidden_layers
    steps = [*range(depth + 1)] if plain else levels(depth)
    names = [*both_forms("layer", steps), SENTENCE]
    examples = _examples(config, how.max_tokens)
    given = [(ids, np.ones_like(ids)) for ids in examples]
    expected, forward = run_taps(model, partial(pooled, steps=steps, head=head), names, given)
    traced = _traced(examples)
    graph = (
        prune(_write_plain(model), expected)
        if plain
        else to_onnx(model, forward, traced, [*expected], {0: "N", 1: "L"})
    )
    return Draft(
        files={GRAPH: graph, TOKENIZER: read_tokenizer(folder, config)},
        preprocess=how,
        input="input_ids",
        taps=list_taps(expected, {f"layer_{i}": i / depth for i in steps}),
        parameters=count_parameters(graph),
        examples=examples,
        expected=expected,
        padding_free=plain,
    )


def pooled(model: Any, ids: Any, mask: Any, *, steps: Sequence[int], head: Head) -> list[Any]:
    """Both forms of some layers over the tokens, and the last layer as `head` says [N, H]."""
    answer = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    states = [*answer.hidden_states[: max(steps)], answer.last_hidden_state]
    top = _pool(answer.last_hidden_state, mask, head.pooling)
    if head.unit:
        top = top / top.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return [*(tap for i in steps for tap in masked_mean_and_stat(states[i], mask)), top]


def _pool(states: Any, mask: Any, pooling: Pooling) -> Any:
    match pooling:
        case "cls":
            return states[:, 0]
        case "lasttoken":  # kept, and the next one is not: padding stands on the right
            following = mask.roll(-1, 1) * (mask.cumsum(1) < mask.sum(1, keepdim=True))
            return masked_mean(states, mask * (1 - following))
        case "mean":
            return masked_mean(states, mask)


def read_head(folder: Path) -> Head:
    """Pooling and scaling by modules.json and the pooling module's config; without them a plain mean.

    Raises InvalidInput for other modules and other pooling (code `pooling`), and for a model that puts
    words of its own before each text (code `prompt`).
    """
    _check_prompt(folder)
    kinds = _modules(folder)
    if unknown := sorted(set(kinds) - {"Transformer", "Pooling", "Normalize"}):
        message = f"modules.json has a module that Durian does not export: {unknown[0]}."
        raise refused(message, "pooling")
    pooling = read_json(folder / (kinds.get("Pooling") or "1_Pooling") / "config.json")
    return Head(_pooling(pooling), "Normalize" in kinds)


def _modules(folder: Path) -> dict[str, str]:
    """The kinds of modules.json, and the folder of each."""
    modules = read_any(folder / "modules.json") or []
    try:
        return {str(m["type"]).rpartition(".")[2]: Path(m.get("path", "")).name for m in modules}
    except (TypeError, KeyError, AttributeError):
        raise refused("modules.json is no list of modules with their types.", "config") from None


def _check_prompt(folder: Path) -> None:
    config = read_json(folder / "config_sentence_transformers.json")
    if (config.get("prompts") or {}).get(config.get("default_prompt_name")):
        message = "The model puts a prompt of its own before each text, which Durian does not."
        raise refused(message, "prompt")


def _pooling(config: dict[str, Any]) -> Pooling:
    prefix, suffix = "pooling_mode_", "_tokens"
    on = [
        key.removeprefix(prefix) for key, value in config.items() if key.startswith(prefix) and value is True
    ]
    named = config.get("pooling_mode") or [mode.removesuffix(suffix).removesuffix("_token") for mode in on]
    match named:
        case ["mean"] | "mean" | []:
            return "mean"
        case ["cls"] | "cls":
            return "cls"
        case ["lasttoken"] | "lasttoken":
            return "lasttoken"
    raise refused("The model pools its tokens neither by mean, CLS nor last token.", "pooling")


def max_tokens(folder: Path, config: Any) -> int:
    """The most tokens a text may have, special ones included: the least of what the files allow."""
    places = config.max_position_embeddings
    if config.model_type in OFFSET_FAMILIES:
        places -= config.pad_token_id + 1  # their positions begin after that of padding
    told = (
        read_json(folder / "sentence_bert_config.json").get("max_seq_length"),
        read_json(folder / "tokenizer_config.json").get("model_max_length"),
    )
    return int(min(places, MOST_TOKENS, *(n for n in told if isinstance(n, int) and n > 0)))


def is_plain_bert(config: Any, head: Head) -> bool:
    """Whether our own writer of BERT graphs (faster than a traced one) says the same."""
    absolute = getattr(config, "position_embedding_type", None) in (None, "absolute")
    return (
        config.model_type == "bert"
        and config.hidden_act == "gelu"
        and absolute
        and head == Head("mean", True)
    )


def _write_plain(model: Any) -> bytes:
    config = model.config
    numbers = BertConfig(
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        hidden=config.hidden_size,
        epsilon=config.layer_norm_eps,
    )
    return write_bert({name: tensor.numpy() for name, tensor in model.state_dict().items()}, numbers)


def read_tokenizer(folder: Path, config: Any) -> bytes:
    """tokenizer.json (made where the folder has only older files), with the model's padding, uncut.

    Raises InvalidInput (code `tokenizer`) where there is none or it knows more tokens than the network.
    """
    from tokenizers import Tokenizer
    from tokenizers.normalizers import Lowercase
    from tokenizers.normalizers import Sequence as Chain

    try:
        tokenizer = Tokenizer.from_str(_tokenizer_json(folder))
    except Exception:  # the libraries raise plain Exception for malformed files
        raise refused(
            "The folder has no readable tokenizer.json, nor files to make one.", "tokenizer"
        ) from None
    if max(tokenizer.get_vocab().values(), default=0) >= config.vocab_size:
        raise refused("The tokenizer knows more tokens than the network: it is another model's.", "tokenizer")
    if read_json(folder / "sentence_bert_config.json").get("do_lower_case"):
        inner = [tokenizer.normalizer] if tokenizer.normalizer else []
        tokenizer.normalizer = Chain([Lowercase(), *inner])
    tokenizer.no_truncation()
    pad = config.pad_token_id or 0
    tokenizer.enable_padding(pad_id=pad, pad_token=tokenizer.id_to_token(pad) or "[PAD]")
    return orjson.dumps(orjson.loads(tokenizer.to_str()))


def _tokenizer_json(folder: Path) -> str:
    if (folder / TOKENIZER).is_file():
        return (folder / TOKENIZER).read_text()
    if not any(path for kind in VOCABULARIES for path in folder.glob(kind)):
        raise FileNotFoundError  # transformers would make an empty tokenizer of nothing
    return load_tokenizer(folder)


def _examples(config: Any, most: int) -> list[NDArray[np.int64]]:
    """Token ids of several lengths, the longest allowed one among them."""
    draw = np.random.default_rng(0)
    lowest = min(config.vocab_size - 1, (config.pad_token_id or 0) + 1)
    return [
        draw.integers(lowest, config.vocab_size, size=n, dtype=np.int64)
        for n in sorted({min(n, most) for n in (*LENGTHS, most)})
    ]


def _traced(examples: Sequence[NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
    """Two padded texts: a batch and a mask with zeros, so that tracing sees both."""
    ids = np.ones((2, 7), np.int64) * examples[0][0]
    mask = np.ones_like(ids)
    mask[1, 4:] = 0
    return {"input_ids": ids, "attention_mask": mask}
