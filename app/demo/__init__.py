"""`durian demo`: the whole loop on the project's example sets, against a service of its own, over HTTP."""

from app.demo.loop import run

__all__ = ["run"]
