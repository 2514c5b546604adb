"""Errors: the user's (what was wrong, where, and what would be right) and graphflow's own.

Names follow TensorFlow 1's `errors` module where it has one. Every user error is a `GraphError`;
most also derive from the built-in exception a Python programmer would expect.
"""

from __future__ import annotations


class GraphError(Exception):
    """Base of all errors that are about the user's program or data."""


class TypeRuleError(GraphError, TypeError, ValueError):
    """An operation was given tensors or attributes it has no meaning for. Raised at definition."""


class GraphMismatchError(GraphError, ValueError):
    """Tensors of different graphs were mixed."""


class FeedError(GraphError, ValueError, TypeError):
    """A feed is missing, does not convert, or has the wrong rank or size."""


class FetchError(GraphError, ValueError, TypeError):
    """Something that cannot be fetched was asked for."""


class InvalidArgumentError(GraphError, ValueError):
    """A check failed while running: an assertion, an index, a size."""


class OutOfRangeError(InvalidArgumentError, IndexError):
    """An index was outside its dimension while running."""


class FailedPreconditionError(GraphError, RuntimeError):
    """Something was used before it was ready, such as an uninitialised variable."""


class NotFoundError(GraphError, KeyError, OSError):
    """A name or a file does not exist."""

    def __str__(self) -> str:
        return Exception.__str__(self)


class DataLossError(GraphError, ValueError):
    """A file is truncated, foreign or damaged."""


class ResourceExhaustedError(GraphError, MemoryError):
    """Memory could not be had, or a memory budget cannot be met."""


class PermissionDeniedError(GraphError, OSError):
    """A file or directory may not be written."""


class UnorderedWritesError(GraphError, ValueError):
    """Two writes of one variable have no order between them."""


class NonDifferentiableError(GraphError, LookupError, ValueError):
    """A gradient was asked for through something that has none."""


class InternalError(Exception):
    """A defect of graphflow itself; please report it with the dump it names."""
