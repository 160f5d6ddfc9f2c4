"""The service: HTTP, database, engine, workers. Never imports torch."""

import models  # noqa: F401 (before whatever imports onnxruntime)
