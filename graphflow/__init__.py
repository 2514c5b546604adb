"""graphflow: declare a graph, run it as one native step function.

`import graphflow as tf` gives the names of TensorFlow 1's graph API, and `explain`.
"""

from . import (
    errors,
    fold,
    image,
    initializers,
    layers,
    losses,
    models,
    nest,
    nn,
    ragged,
    regularizers,
    train,
)
from .clip import *
from .conditionals import *
from .config import ConfigProto, RunMetadata, RunOptions
from .control_flow import *
from .dtypes import (
    DType,
    as_dtype,
    float32,
    float64,
    int8,
    int32,
    int64,
    uint8,
    uint32,
)
from .dtypes import bool_ as bool  # noqa: A004
from .dtypes import float64 as double
from .export import export
from .framework import *
from .functional import *
from .initializers import (
    constant_initializer,
    glorot_normal_initializer,
    glorot_uniform_initializer,
    ones_initializer,
    orthogonal_initializer,
    random_normal_initializer,
    random_uniform_initializer,
    truncated_normal_initializer,
    uniform_unit_scaling_initializer,
    variance_scaling_initializer,
    zeros_initializer,
)
from .ir.graph import Graph, GraphKeys, get_default_graph, reset_default_graph
from .ir.graph import default_session as get_default_session
from .ir.graphviz import to_dot
from .ir.node import Node as Operation
from .ir.node import Tensor
from .namespaces import bitwise, linalg, math, random
from .ops.activation import *
from .ops.arg_reduction import *
from .ops.arithmetic import *
from .ops.assertions import *
from .ops.contraction import *
from .ops.convert import *
from .ops.creation import *
from .ops.cumulative import *
from .ops.custom_gradient import *
from .ops.effects import *
from .ops.host_calls import *
from .ops.indexed_slices import *
from .ops.indexing import *
from .ops.inverse_error import *
from .ops.joining import *
from .ops.logic import *
from .ops.math import *
from .ops.movement import *
from .ops.padding import *
from .ops.random import *
from .ops.reduction import *
from .ops.scatter import *
from .ops.sequences import *
from .ops.shapes import *
from .ops.slicing import *
from .ops.sorting import *
from .ops.space_depth import *
from .ops.state import *
from .ops.tensor_shape import *
from .ops.variables import *
from .passes.gradients.differentiate import (
    AggregationMethod,
    UnconnectedGradients,
    forward_gradients,
    gradients,
    hessian_vector_product,
    hessians,
)
from .ragged import RaggedTensor, RaggedTensorValue
from .report import Report
from .session import InteractiveSession, Session, explain
from .tensor_array import *
from .variable_scope import *
from .variable_store import *
from .version import __version__
