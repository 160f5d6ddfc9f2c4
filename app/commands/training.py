"""Calls of the training side, as a process: this package never imports it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from models.errors import DurianError


def run_backbones(action: str, *arguments: object, **options: object) -> dict[str, Any]:
    """`python -m training.backbones ACTION ...`: its progress goes to stderr, its answer is returned.

    Raises DurianError with what went wrong.
    """
    flags = [
        part for name, value in options.items() if value is not None for part in (f"--{name}", str(value))
    ]
    command = [sys.executable, "-m", "training.backbones", action, *map(str, arguments), *flags]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 (our own module)
    answer = _last_object(done.stdout)
    if done.returncode or "error" in answer:
        error = answer.get("error") or {}
        message = error.get("message") or f"It ended with exit code {done.returncode} and no reason."
        raise DurianError(message, code=error.get("code"))
    return answer


def _last_object(text: str) -> dict[str, Any]:
    lines = text.strip().splitlines()
    try:
        answer = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {"data": answer}
