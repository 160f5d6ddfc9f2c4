from __future__ import annotations

import pytest

from app.engine.providers import CUDA, providers


@pytest.fixture(scope="session")
def cuda() -> tuple[str, ...]:
    found = providers()
    if CUDA not in found:
        pytest.skip("there is no CUDA device, or ONNX Runtime has no CUDA provider here")
    return found
