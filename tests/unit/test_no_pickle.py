"""Nothing that is read can bring code along: no pickles, of any library that reads them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for name in ("app", "models", "training") for path in (ROOT / name).rglob("*.py"))
BANNED = {"pickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
HARMLESS = {"pickle.UnpicklingError"}
"""To name the exception is to load nothing."""

SAFE = {"torch.load": ("weights_only", True, False), "np.load": ("allow_pickle", False, True)}
"""Call: the argument that makes it safe, its safe value, and whether that is the default."""


def findings(source: str) -> Iterator[str]:
    """What in a module could load a pickle."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in BANNED:
            yield f"from {node.module} import"
        text = _text(node)
        if text.split(".")[0] in BANNED and isinstance(node, ast.Attribute) and text not in HARMLESS:
            yield text
        if isinstance(node, ast.Call) and _text(node.func) in SAFE:
            argument, safe, default = SAFE[_text(node.func)]
            given = [keyword.value for keyword in node.keywords if keyword.arg == argument]
            values = [value.value if isinstance(value, ast.Constant) else None for value in given]
            if values != [safe] and not (default and not values):
                yield f"{_text(node.func)} without {argument}={safe}"


def _text(node: ast.AST) -> str:
    return ast.unparse(node) if isinstance(node, (ast.Attribute, ast.Name)) else ""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_reads_a_pickle(path: Path) -> None:
    assert list(findings(path.read_text())) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.loads(data)",
        "from pickle import loads",
        "import joblib\njoblib.load(file)",
        "import torch\ntorch.load(file)",
        "import torch\ntorch.load(file, weights_only=False)",
        "import torch\ntorch.load(file, weights_only=flag)",
        "import numpy as np\nnp.load(file, allow_pickle=True)",
    ],
)
def test_what_would_read_one_is_found(source: str) -> None:
    assert list(findings(source))
