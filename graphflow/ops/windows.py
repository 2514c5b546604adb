"""How windows slide along the spatial dimensions of a tensor: the arithmetic of sizes.

Along one dimension, output position t and tap k of a window meet at

    t * stride + k * dilation - low

of the input, which is first spread out to `expansion` - 1 zeros between its elements, and has
zeros before its first (`low` of them) and after its last element (`high`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import TypeRuleError
from ..ir.node import Node
from ..ir.types import SizeRules
from ..sizes import Dim, Size, ceildiv, floordiv, is_nonnegative, maximum, minimum, multiply


def same_padding(size: Dim, extent: Dim, stride: int) -> tuple[Dim, Dim]:
    """The zeros before and after with which there is an output for every `stride` inputs.

    TensorFlow's SAME: where their number is odd, the last side has one more.
    """
    last = multiply(ceildiv(size, stride) - 1, stride) + extent
    total = maximum(last - size, 0)
    low = floordiv(total, 2)
    return low, total - low


@dataclass(frozen=True)
class Window:
    """A window of `kernel` taps that slides along a dimension of `size` elements.

    low, high: zeros around the input; negative where elements are left out.
    """

    size: Dim
    kernel: int
    stride: int = 1
    low: Dim = 0
    high: Dim = 0
    dilation: int = 1
    expansion: int = 1

    @property
    def spread(self) -> Dim:
        """From the first to the last element, the zeros between them included; of no elements
        1 - expansion, which keeps the arithmetic exact."""
        return multiply(self.size - 1, self.expansion) + 1

    @property
    def extent(self) -> int:
        """From the first to the last tap."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def steps(self) -> Dim:
        """The number of positions, the size of the output."""
        if self.expansion == 1:
            # The form that equals other sizes made by SAME padding.
            padding = same_padding(self.size, self.extent, self.stride)
            if padding == (self.low, self.high):
                return ceildiv(self.size, self.stride)
        return floordiv(self.spread + self.low + self.high - self.extent, self.stride) + 1

    @property
    def padded(self) -> bool:
        """Whether a tap can meet anything but an element of the input."""
        if self.expansion != 1 or isinstance(self.low, Size) or self.low > 0:
            return True
        last = multiply(self.steps - 1, self.stride) + self.extent - self.low
        rest = self.size - last
        return isinstance(rest, Size) or rest < 0

    def transposed(self, steps: Dim) -> Window:
        """The window over the outputs, `steps` of them, that meets, for each input, what that
        input was used for.

        Its `steps` are this one's size, also where the stride leaves out the last inputs.
        """
        reach = multiply(steps - 1, self.stride) + 1
        return Window(
            size=steps,
            kernel=self.kernel,
            stride=self.expansion,
            low=self.extent - 1 - self.low,
            high=self.spread - reach + self.low,
            dilation=self.dilation,
            expansion=self.stride,
        )

    def check(self, rules: SizeRules, what: str) -> Dim:
        """`steps`, after asking that the window fits in the padded input wherever there is one."""
        steps = self.steps
        if isinstance(steps, int) and isinstance(self.size, int):
            if steps < min(self.size, 1):
                raise TypeRuleError(self._too_large(what))
        elif not self._surely_fits(steps):
            least = minimum(self.size, 1)
            rules.equal(maximum(steps, least), steps, self._too_large(what))
        return steps

    def _surely_fits(self, steps: Dim) -> bool:
        if isinstance(self.low, Size) or isinstance(self.high, Size):
            return True  # such padding was derived from the sizes
        if is_nonnegative(steps - 1) or is_nonnegative(steps - self.size):
            return True
        return steps == ceildiv(self.size, self.stride)

    def _too_large(self, what: str) -> str:
        taps = f"{self.kernel} taps"
        if self.dilation != 1:
            taps += f" with dilation {self.dilation} (extent {self.extent})"
        around = "" if (self.low, self.high) == (0, 0) else f" padded by {self.low} and {self.high}"
        between = "" if self.expansion == 1 else f", spread out to {self.spread},"
        return f"a window of {taps} is larger than {what} of size {self.size}{between}{around}"


def check_positive(name: str, values: Sequence, count: int) -> None:
    """Raises unless `values` are `count` positive numbers."""
    if len(values) != count:
        raise TypeRuleError(f"{name} {list(values)} must be one number for each of {count} axes")
    if any(isinstance(v, bool) or not isinstance(v, int) or v < 1 for v in values):
        raise TypeRuleError(f"{name} must be positive numbers, got {list(values)}")


# -- of a convolution ----------------------------------------------------------------------------


def windows_of(dims: Sequence[Dim], kernel: Sequence[int], attrs) -> tuple[Window, ...]:
    """The windows along the spatial dimensions of an input of shape `dims`."""
    columns = zip(
        dims[1:-1], kernel, attrs["strides"], attrs["padding"], attrs["dilation"],
        attrs["expansion"], strict=True,
    )  # fmt: skip
    return tuple(
        Window(size, taps, stride, low, high, dilation, expansion)
        for size, taps, stride, (low, high), dilation, expansion in columns
    )


def windows(node: Node) -> tuple[Window, ...]:
    """The windows of a `convolve` or a `convolve_weights`."""
    kernel = node.attrs["kernel"] if "kernel" in node.attrs else node.inputs[1].dims[:-2]
    return windows_of(node.inputs[0].dims, kernel, node.attrs)


# -- of pooling ----------------------------------------------------------------------------------


def pooling_windows(sizes: Sequence[Dim], attrs) -> tuple[Window, ...]:
    """The windows of a pooling operation along spatial dimensions of these sizes."""
    columns = zip(
        sizes, attrs["kernel"], attrs["strides"], attrs["padding"], attrs["dilation"], strict=True
    )
    return tuple(
        Window(size, taps, stride, low, high, dilation)
        for size, taps, stride, (low, high), dilation in columns
    )
