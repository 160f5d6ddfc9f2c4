"""Rows of the job table as tests of the queue need them."""

from __future__ import annotations

from typing import Any

from app.db.tables import Job


def job_row(id: str, tenant: str = "default", **values: Any) -> Job:
    """A waiting job that nothing is known of but its name."""
    row: dict[str, Any] = {
        "status": "queued",
        "created_at": 0.0,
        "model": "text/minilm-l6",
        "target": "m",
        "method": "logistic",
        "hyperparameters": {},
        "seed": 0,
        "metadata_": {},
        "training_file": "file-1",
        "spec": {"packs": {}},
        "request_digest": "",
        "not_before": 0.0,
        "attempts": 0,
        "fence": 0,
        **values,
    }
    return Job(id=id, tenant=tenant, **row)
