"""Nets as ONNX files, which other programs run."""

from .graph import OPSET, build, export

__all__ = ["OPSET", "build", "export"]
