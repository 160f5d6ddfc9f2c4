"""The transfer methods as the service knows them: their descriptions, never their code."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jsonschema

from app.runners.base import Advisor
from models.errors import InvalidInput

# OpenAI's clients name their only method "supervised"; here that means: choose for me.
_ALIASES = {"supervised": "auto"}


class Methods:
    """The registry of the training side, asked for once. `elsewhere` names what the workers there are can
    train: a method that this machine lacks torch for is offered where one of them has it."""

    def __init__(self, runner: Advisor, elsewhere: Callable[[], Collection[str]] = tuple) -> None:
        self._runner = runner
        self._elsewhere = elsewhere
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, Any]] | None = None

    def all(self) -> list[dict[str, Any]]:
        known = self._table()
        if all(method["available"] for method in known.values()):
            return list(known.values())
        there = self._elsewhere()
        return [_offered(method, there) for method in known.values()]

    def _table(self) -> dict[str, dict[str, Any]]:
        with self._lock:
            if self._known is None:
                self._known = {method["name"]: method for method in self._runner.methods()}
            return self._known

    def check(
        self, name: str, hyperparameters: Mapping[str, Any], task: str, modality: str
    ) -> dict[str, Any]:
        """The method's description, if it serves the task and its hyperparameters are valid.

        Raises InvalidInput naming the field.
        """
        name = _ALIASES.get(name, name)
        known = {method["name"]: method for method in self.all()}
        method = known.get(name)
        if method is None:
            names = ", ".join(sorted(known))
            raise InvalidInput(
                f"There is no such method; there are: {names}.", code="bad_method", param="method.type"
            )
        for kind, value in (("tasks", task), ("modalities", modality)):
            if value not in method[kind]:
                raise InvalidInput(
                    f"The method {name} serves {kind} {', '.join(method[kind])}, and this is {value}.",
                    code="method_mismatch",
                    param="method.type",
                )
        _check_schema(name, method["hyperparameters"], hyperparameters)
        return method


def _offered(method: dict[str, Any], there: Collection[str]) -> dict[str, Any]:
    return {**method, "available": method["available"] or method["name"] in there}


def _check_schema(name: str, schema: Mapping[str, Any], hyperparameters: Mapping[str, Any]) -> None:
    validator = jsonschema.Draft202012Validator(schema)
    error = jsonschema.exceptions.best_match(validator.iter_errors(dict(hyperparameters)))
    if error is None:
        return
    place = ".".join(str(part) for part in error.absolute_path)
    known = ", ".join(schema.get("properties", {})) or "none"
    raise InvalidInput(
        f"The hyperparameters of {name} do not fit: {error.validator} is violated"
        f"{f' at {place}' if place else ''}. It takes: {known}; see GET /v1/fine_tuning/methods.",
        code="bad_hyperparameters",
        param=f"method.{name}.hyperparameters" + (f".{place}" if place else ""),
    )
