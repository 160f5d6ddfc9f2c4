"""The contract between the service and the training side, and the shipped backbones. A leaf package."""

__version__ = "0.1.0"
