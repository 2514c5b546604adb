"""ONNX Runtime on sequences: inference of the LSTM classifier, by its LSTM operation."""

from __future__ import annotations

from .on_onnxruntime import System

__all__ = ["System"]
