"""One vector an example, whatever shape a feature extractor gives."""

from __future__ import annotations

from models.errors import InvalidInput
from training.backbones.graph import FLOAT, Dims, GraphWriter
from training.backbones.spec import Pool


def pool_vector(
    g: GraphWriter, x: str, shape: Dims, pool: Pool | None, mask: str | None = None
) -> tuple[str, int]:
    """One vector an example: the tensor [N, D] and D."""
    match pool, len(shape):
        case (None, _):
            return _flat(g, x, shape)
        case ("channels_last", 3) if mask:
            return _masked_mean(g, x, mask), _width(shape[-1])
        case ("channels_last", rank) if rank >= 3:
            first = g.node("Transpose", x, perm=[0, rank - 1, *range(1, rank - 1)])
            return mean_rest(g, first), _width(shape[-1])
        case ("channels_first", rank) if rank >= 3:
            return mean_rest(g, x), _width(shape[1])
        case ("first", 3):
            return g.node("Flatten", g.node("Gather", x, g.ints(0), axis=1), axis=1), _width(shape[-1])
    message = f"The output is {show(shape)}, which pool {pool} does not fit: choose another or none."
    raise InvalidInput(message, code="pool", param="pool")


def _flat(g: GraphWriter, x: str, shape: Dims) -> tuple[str, int]:
    wide = [d for d in shape[1:] if d != 1]
    if len(shape) < 2 or len(wide) > 1:
        message = f"The output is {show(shape)}: give pool, channels_first or channels_last."
        raise InvalidInput(message, code="pool", param="pool")
    return g.node("Flatten", x, axis=1), _width(wide[0] if wide else 1)


def _width(dim: int | str) -> int:
    if isinstance(dim, int):
        return dim
    message = "The width of the output is not fixed in the model: export it with a fixed feature dimension."
    raise InvalidInput(message, code="output_shape", param="output")


def mean_rest(g: GraphWriter, x: str) -> str:
    """Mean over all but the first two dimensions."""
    return g.node("Flatten", g.node("GlobalAveragePool", x), axis=1)


def _masked_mean(g: GraphWriter, x: str, mask: str) -> str:
    """Mean over the tokens that the mask keeps, [N, L, D] -> [N, D]."""
    keep = g.node("Reshape", g.node("Cast", mask, to=FLOAT), g.ints(0, 1, -1))
    total = g.node("MatMul", keep, x)
    ones = g.node("Reshape", keep, g.ints(0, -1, 1))
    count = g.node("Max", g.node("MatMul", keep, ones), g.scalar(1e-9))
    return g.node("Flatten", g.node("Div", total, count), axis=1)


def show(dims: Dims) -> str:
    """A shape for messages."""
    return "[" + ", ".join(map(str, dims)) + "]"
