"""Calls of the training side, as a process: this package never imports it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from models.errors import DurianError


def run_backbones(action: str, *arguments: object, **options: object) -> list[dict[str, Any]]:
    """The records that `python -m training.backbones ACTION ...` prints; its progress goes to stderr.

    Options that are None are left out; a tuple gives an option several values.

    Raises DurianError with what it says went wrong.
    """
    command = [sys.executable, "-m", "training.backbones", action, *map(str, arguments)]
    for name, value in options.items():
        values = value if isinstance(value, tuple) else (value,)
        command += [] if value is None else [f"--{name}", *map(str, values)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 (our own module)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    for error in (answer["error"] for answer in answers if "error" in answer):
        raise DurianError(error["message"], code=error["code"], param=error["param"])
    if done.returncode:
        raise DurianError(f"The training side ended with exit code {done.returncode}; see above.")
    return answers
