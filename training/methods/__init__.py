"""The transfer methods. Every module of this package is found by its being here."""

from __future__ import annotations

import importlib
import pkgutil

from training.methods.base import METHODS, PROCEDURES, Method, MethodInfo, Problem, register

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")



def find(name: str) -> MethodInfo | None:
    """The record of a method or procedure, by name."""
    found = METHODS.get(name) or PROCEDURES.get(name)
    return None if found is None else found.info


__all__ = ["METHODS", "PROCEDURES", "Method", "Problem", "find", "register"]
