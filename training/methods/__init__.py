"""The transfer methods, one a file. Every module of this package is found by its being here."""

from __future__ import annotations

from training.methods.base import METHODS, PROCEDURES, Method, Problem, find, register

__all__ = ["METHODS", "PROCEDURES", "Method", "Problem", "find", "register"]
