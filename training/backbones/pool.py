"""One vector an example, whatever shape a feature extractor gives."""

from __future__ import annotations

from functools import partial

from models.errors import InvalidInput
from training.backbones.forms import stat
from training.backbones.graph import FLOAT, Dims, GraphWriter
from training.backbones.places import Place
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
            return mean_rest(g, _channels_first(g, x, rank)), _width(shape[-1])
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


def pool_both(g: GraphWriter, place: Place, name: str, mask: str | None, *, alone: bool = True) -> None:
    """The tap `<name>_stat` (`forms`) of a place; with a mask, of the tokens that it keeps.

    With `alone` also `<name>`, the mean alone.
    """
    turned = place.last and mask is None
    x = _channels_first(g, place.tensor, len(place.dims)) if turned else place.tensor
    pool = partial(_masked_centre, g, mask=mask) if mask else partial(g.node, "GlobalAveragePool")
    centre = pool(x)
    centred = g.node("Sub", x, centre)
    mean = g.node("Flatten", centre, axis=1, out=name if alone else None)
    deviation = g.node("Sqrt", g.node("Flatten", pool(g.node("Mul", centred, centred)), axis=1))
    g.node("Concat", mean, deviation, axis=1, out=stat(name))


def _channels_first(g: GraphWriter, x: str, rank: int) -> str:
    """[N, ..., C] -> [N, C, ...]."""
    return g.node("Transpose", x, perm=[0, rank - 1, *range(1, rank - 1)])


def _masked_mean(g: GraphWriter, x: str, mask: str) -> str:
    """Mean over the tokens that the mask keeps, [N, L, D] -> [N, D]."""
    return g.node("Flatten", _masked_centre(g, x, mask=mask), axis=1)


def _masked_centre(g: GraphWriter, x: str, *, mask: str) -> str:
    """The same, [N, 1, D]."""
    keep = g.node("Reshape", g.node("Cast", mask, to=FLOAT), g.ints(0, 1, -1))
    total = g.node("MatMul", keep, x)
    ones = g.node("Reshape", keep, g.ints(0, -1, 1))
    count = g.node("Max", g.node("MatMul", keep, ones), g.scalar(1e-9))
    return g.node("Div", total, count)


def show(dims: Dims) -> str:
    """A shape for messages."""
    return "[" + ", ".join(map(str, dims)) + "]"
