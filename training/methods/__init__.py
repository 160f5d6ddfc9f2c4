"""The transfer methods. Every module of this package is found by its being here."""

from __future__ import annotations

import importlib
import pkgutil

from training.methods.base import METHODS, Method, Problem, register

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["METHODS", "Method", "Problem", "register"]
