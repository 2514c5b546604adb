"""Layers: computations with variables of their own."""

from .base import Layer
from .core import Dense, Dropout, Embedding, Flatten, dense, dropout, flatten
from .normalization import BatchNormalization, batch_normalization

__all__ = [
    "BatchNormalization",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "Layer",
    "batch_normalization",
    "dense",
    "dropout",
    "flatten",
]
