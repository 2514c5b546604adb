"""Operation families. Importing this fills the registry; public names are in each `__all__`."""

from . import (  # noqa: F401
    activation,
    arithmetic,
    convert,
    creation,
    cumulative,
    logic,
    math,
    movement,
    overloads,
    pointwise,
    reduction,
    slicing,
    tensor_shape,
    values,
)
