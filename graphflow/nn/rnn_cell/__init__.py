"""Cells of recurrent networks: one step of a recurrence, with variables of its own."""

from .base import RNNCell
from .basic import BasicRNNCell, GRUCell
from .lstm import BasicLSTMCell, LSTMCell, LSTMStateTuple
from .stacked import MultiRNNCell
from .wrappers import DeviceWrapper, DropoutWrapper, ResidualWrapper

__all__ = [
    "BasicLSTMCell",
    "BasicRNNCell",
    "DeviceWrapper",
    "DropoutWrapper",
    "GRUCell",
    "LSTMCell",
    "LSTMStateTuple",
    "MultiRNNCell",
    "RNNCell",
    "ResidualWrapper",
]
