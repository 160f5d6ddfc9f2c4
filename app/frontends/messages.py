"""What frames between a front-end and the engine say beside errors and arrays."""

from __future__ import annotations

from app.engine.model import Prediction
from app.frames import Arrays
from models import errors

AWAY = "engine_away"


def away() -> errors.Unavailable:
    """What a request is answered with that the engine cannot answer, or no longer can."""
    return errors.Unavailable("The engine is being started; try again in a moment.", code=AWAY)


def prediction_arrays(prediction: Prediction) -> Arrays:
    """The parts of a prediction that are there."""
    return {name: array for name, array in vars(prediction).items() if array is not None}
