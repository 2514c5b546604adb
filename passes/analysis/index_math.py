"""Integer algebra of loop indices: what lets reshapes, chunking and collapsed loops vanish.

An index is held as a `Form`, a sum of atoms with coefficients that are sizes:

    p*512 + v + 3        atoms: loop variables, floor divisions, remainders, opaque expressions

Splitting a position over the dimensions of a shape, and joining it again, are inverse to each
other on forms, because bounds of the loop variables are known:

    (p*512 + v) // 512 --> p            (p*512 + v) % 512 --> v            0 <= v < 512
    (i // 6) * 6 + i % 6 --> i          (i // 6) // 4 --> i // 24
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Union

from ...dtypes import int64
from ...loop import nodes as loop
from ...loop.nodes import Apply, Const, Expr, SizeOf, Var
from ...sizes import Dim, Size, ceildiv, exact_quotient, is_nonnegative, multiply

Atom = Union[Var, Apply, Expr]


class Form:
    """constant + sum of coefficient * atom, atoms in order of creation; interned by `IndexMath`."""

    __slots__ = ("constant", "terms", "expr")

    def __init__(self, constant: Dim, terms: tuple[tuple[Atom, Dim], ...]):
        self.constant = constant
        self.terms = terms
        self.expr: Expr | None = None

    def coefficient(self, atom: Atom) -> Dim:
        for other, coefficient in self.terms:
            if other is atom:
                return coefficient
        return 0


class IndexMath:
    """Forms and canonical expressions of one kernel. Equal forms are one object."""

    def __init__(self) -> None:
        self.extents: dict[Var, Dim] = {}  # loop variables: 0 <= variable < extent
        self._forms: dict[tuple, Form] = {}
        self._serial: dict[int, int] = {}  # id of an atom -> order of creation
        self._atoms: dict[tuple, Atom] = {}
        self._derived: dict[int, tuple[str, Form, Dim]] = {}  # id of a division or remainder
        self._of_expr: dict[int, Form] = {}
        self._keep: list[Expr] = []  # keeps ids valid
        self._splits: dict[tuple, tuple[Form, ...]] = {}
        self._linear: dict[tuple, Form] = {}

    # -- construction -------------------------------------------------------------------------

    def constant(self, value: Dim) -> Form:
        return self._intern(value, {})

    def variable(self, var: Var, extent: Dim) -> Form:
        """The form of a new loop variable."""
        self.extents[var] = extent
        return self._atom(var)

    def add(self, a: Form, b: Form, sign: int = 1) -> Form:
        terms = {id(atom): (atom, c) for atom, c in a.terms}
        for atom, c in b.terms:
            old = terms.get(id(atom))
            terms[id(atom)] = (atom, (old[1] if old else 0) + multiply(c, sign))
        return self._normal(a.constant + multiply(b.constant, sign), terms)

    def scale(self, a: Form, factor: Dim) -> Form:
        if factor == 1:
            return a
        terms = {id(atom): (atom, multiply(c, factor)) for atom, c in a.terms}
        return self._normal(multiply(a.constant, factor), terms)

    def floordiv(self, a: Form, d: Dim) -> Form:
        """a // d for a non-negative `a`."""
        return self._divide(a, d)[0]

    def mod(self, a: Form, d: Dim) -> Form:
        """a % d for a non-negative `a`."""
        return self._divide(a, d)[1]

    def linear(self, index: Sequence[Form], dims: Sequence[Dim]) -> Form:
        """The row-major position of an index tuple."""
        key = (tuple(map(id, index)), tuple(dims))
        found = self._linear.get(key)
        if found is None:
            stride: Dim = 1
            found = self.constant(0)
            for part, dim in zip(reversed(index), reversed(dims), strict=True):
                found = self.add(found, self.scale(part, stride))
                stride = multiply(stride, dim)
            self._linear[key] = found
        return found

    def split(self, position: Form, dims: Sequence[Dim]) -> tuple[Form, ...]:
        """The index tuple at a row-major position in `dims`; inverse of `linear`."""
        key = (id(position), tuple(dims))
        found = self._splits.get(key)
        if found is None:
            parts: list[Form] = []
            rest = position
            zero = self.constant(0)
            leading = next((k for k, dim in enumerate(dims) if dim != 1), len(dims))
            for k in range(len(dims) - 1, -1, -1):
                if dims[k] == 1:
                    parts.append(zero)
                elif k == leading:
                    parts.append(rest)
                else:
                    rest, part = self._divide(rest, dims[k])
                    parts.append(part)
            found = tuple(reversed(parts))
            self._splits[key] = found
        return found

    # -- to and from expressions --------------------------------------------------------------

    def of(self, expr: Expr) -> Form:
        """The form of an int64 expression."""
        found = self._of_expr.get(id(expr))
        if found is None:
            found = self._read(expr)
            self._of_expr[id(expr)] = found
            self._keep.append(expr)
        return found

    def expr(self, form: Form) -> Expr:
        """The canonical expression of a form; one object for each form."""
        if form.expr is None:
            result: Expr = loop.ZERO
            for atom, coefficient in form.terms:
                result = loop.add(result, loop.mul(atom, loop.index(coefficient)))
            form.expr = loop.add(result, loop.index(form.constant))
            self._of_expr[id(form.expr)] = form
            self._keep.append(form.expr)
        return form.expr

    def bounds(self, form: Form) -> tuple[Dim, Dim] | None:
        """(least, greatest) value, both inclusive; None where they are not known."""
        low = high = form.constant
        for atom, coefficient in form.terms:
            top = self._top(atom)
            if top is None:
                return None
            span = multiply(coefficient, top)
            if is_nonnegative(coefficient):
                high = high + span
            elif is_nonnegative(0 - coefficient):
                low = low + span
            else:
                return None
        return low, high

    def is_nonnegative(self, form: Form) -> bool:
        """Whether the value is known to be >= 0."""
        limits = self.bounds(form)
        return limits is not None and is_nonnegative(limits[0])

    # -- inner workings -----------------------------------------------------------------------

    def _read(self, expr: Expr) -> Form:
        if isinstance(expr, Const):
            return self.constant(int(expr.value))
        if isinstance(expr, SizeOf):
            return self.constant(expr.size)
        if isinstance(expr, Apply) and expr.dtype is int64 and len(expr.args) == 2:
            a, b = expr.args
            if expr.op in ("add", "sub") and a.dtype is int64:
                return self.add(self.of(a), self.of(b), 1 if expr.op == "add" else -1)
            if expr.op in ("mul", "floordiv", "mod") and a.dtype is int64:
                left, right = self.of(a), self.of(b)
                if expr.op == "mul" and not right.terms:
                    return self.scale(left, right.constant)
                if expr.op == "mul" and not left.terms:
                    return self.scale(right, left.constant)
                known = not right.terms and is_nonnegative(right.constant - 1)
                if expr.op != "mul" and known and self.is_nonnegative(left):
                    divided = self._divide(left, right.constant)
                    return divided[0] if expr.op == "floordiv" else divided[1]
        return self._atom(self.intern(expr))

    def intern(self, expr: Expr) -> Expr:
        """One object for all equal expressions over the same variables and targets."""
        if isinstance(expr, Var):
            return expr
        key: tuple
        if isinstance(expr, Apply):
            args = tuple(
                self.expr(self.of(a)) if a.dtype is int64 else self.intern(a) for a in expr.args
            )
            key = (expr.op, expr.dtype, tuple(map(id, args)))
            rebuilt: Expr = Apply(expr.op, args, expr.dtype)
        elif isinstance(expr, Const):
            key = ("const", repr(expr.value), expr.dtype)
            rebuilt = expr
        elif isinstance(expr, SizeOf):
            key = ("size", expr.size)
            rebuilt = expr
        elif isinstance(expr, loop.Load):
            at = self.expr(self.of(expr.index))
            key = ("load", id(expr.target), id(at))
            rebuilt = loop.Load(expr.target, at)
        else:
            return expr
        return self._atoms.setdefault(key, rebuilt)

    def _intern(self, constant: Dim, terms: dict[int, tuple[Atom, Dim]]) -> Form:
        if len(terms) > 1:
            ordered = sorted(terms.values(), key=lambda term: self._serial[id(term[0])])
        else:
            ordered = list(terms.values())
        key = (constant, tuple((id(atom), c) for atom, c in ordered))
        form = self._forms.get(key)
        if form is None:
            form = self._forms[key] = Form(constant, tuple(ordered))
        return form

    def _atom(self, atom: Atom) -> Form:
        if id(atom) not in self._serial:
            self._serial[id(atom)] = len(self._serial)
            self._keep.append(atom)
        return self._intern(0, {id(atom): (atom, 1)})

    def _normal(self, constant: Dim, terms: dict[int, tuple[Atom, Dim]]) -> Form:
        terms = {key: term for key, term in terms.items() if term[1] != 0}
        changed = len(terms) > 1
        while changed:
            changed = False
            for key, (_, k) in list(terms.items()):
                derived = self._derived.get(key)
                if derived is None or derived[0] != "mod":
                    continue
                # k * (X % b) + k*b * (X // b) --> k * X
                _, form, b = derived
                quotient = self.floordiv(form, b)
                if len(quotient.terms) != 1 or quotient.constant != 0:
                    continue
                partner, one = quotient.terms[0]
                found = terms.get(id(partner))
                if one != 1 or found is None or found[1] != multiply(k, b):
                    continue
                del terms[key], terms[id(partner)]
                constant = constant + multiply(form.constant, k)
                for atom, c in form.terms:
                    old = terms.get(id(atom))
                    total = (old[1] if old else 0) + multiply(c, k)
                    if total == 0:
                        del terms[id(atom)]
                    else:
                        terms[id(atom)] = (atom, total)
                changed = True
                break
        return self._intern(constant, terms)

    def _divide(self, a: Form, d: Dim) -> tuple[Form, Form]:
        if d == 1:
            return a, self.constant(0)
        quotient: dict[int, tuple[Atom, Dim]] = {}
        rest: dict[int, tuple[Atom, Dim]] = {}
        for atom, coefficient in a.terms:
            exact = exact_quotient(coefficient, d)
            if exact is not None:
                quotient[id(atom)] = (atom, exact)
            else:
                rest[id(atom)] = (atom, coefficient)
        whole: Dim = 0
        part = a.constant
        exact = exact_quotient(a.constant, d)
        if exact is not None:
            whole, part = exact, 0
        elif isinstance(a.constant, int) and isinstance(d, int):
            whole, part = divmod(a.constant, d)
        remainder = self._normal(part, rest)
        limits = self.bounds(remainder)
        positive = limits is not None and is_nonnegative(limits[0])
        if limits is not None and positive and is_nonnegative(d - 1 - limits[1]):
            return self._normal(whole, quotient), remainder
        if not positive and (quotient or whole != 0):
            # The parts of a sum can be divided apart only where none is negative.
            return self._derive("floordiv", a, d), self._derive("mod", a, d)
        divided = self._derive("floordiv", remainder, d)
        return self.add(self._normal(whole, quotient), divided), self._derive("mod", remainder, d)

    def _derive(self, op: str, a: Form, d: Dim) -> Form:
        if op == "floordiv" and len(a.terms) == 1 and a.constant == 0 and a.terms[0][1] == 1:
            inner = self._derived.get(id(a.terms[0][0]))
            if inner is not None and inner[0] == "floordiv":
                return self.floordiv(inner[1], multiply(inner[2], d))  # (x // c) // d
        key = (op, id(a), d)
        atom = self._atoms.get(key)
        if atom is None:
            atom = self._atoms[key] = Apply(op, (self.expr(a), loop.index(d)), int64)
            self._derived[id(atom)] = (op, a, d)
        return self._atom(atom)

    def _top(self, atom: Atom) -> Dim | None:
        """The greatest value of an atom that is never negative; None where that is unknown."""
        if isinstance(atom, Var):
            extent = self.extents.get(atom)
            return None if extent is None else extent - 1
        derived = self._derived.get(id(atom))
        if derived is None:
            clamped = isinstance(atom, Apply) and atom.op in ("minimum", "maximum")
            return self._highest(atom) if clamped and self._is_clamped(atom) else None
        op, form, d = derived
        if op == "mod":
            return d - 1
        limits = self.bounds(form)
        if limits is None or not is_nonnegative(limits[0]):
            return None
        exact = exact_quotient(limits[1] + 1, d)
        return (ceildiv(limits[1] + 1, d) if exact is None else exact) - 1

    def _is_clamped(self, expr: Expr) -> bool:
        """Whether a minimum or maximum is known to be >= 0."""
        if isinstance(expr, Apply) and expr.op in ("minimum", "maximum") and expr.dtype is int64:
            known = all if expr.op == "minimum" else any
            return known(self._is_clamped(arg) for arg in expr.args)
        return expr.dtype is int64 and self.is_nonnegative(self.of(expr))

    def _highest(self, expr: Expr) -> Dim | None:
        """A number that an expression does not exceed."""
        if isinstance(expr, Apply) and expr.op in ("minimum", "maximum"):
            highest = [self._highest(arg) for arg in expr.args]
            known = [high for high in highest if isinstance(high, int)]
            if expr.op == "minimum":
                return min(known, default=None)
            return max(known) if len(known) == len(highest) else None
        limits = self.bounds(self.of(expr))
        return limits[1] if limits is not None else None


def estimate(dim: Dim, unknown: int = 128) -> int:
    """A number for a size, with every symbol taken as `unknown`: for choices, never for meaning."""
    if isinstance(dim, Size):
        from ...sizes import evaluate, symbols_of

        return max(0, evaluate(dim, dict.fromkeys(symbols_of(dim), unknown)))
    return dim
