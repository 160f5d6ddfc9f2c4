"""The contract between the service and the training side, and the shipped backbones. A leaf package."""

import os

# ONNX Runtime keeps a number for this machine and reports to its maker what it runs; it asks once, as it is
# imported, whether it may.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
