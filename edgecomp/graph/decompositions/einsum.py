"""Decomposes Einsum into transposes, reshapes and matrix products."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence, Set
from dataclasses import dataclass

import onnx_ir as ir

from edgecomp.graph.decompositions.pieces import Decomposition, Pieces, Undecomposable

#: Matrix products with up to this many leading dimensions work in all runtimes.
_MOST_LEADING = 2


@dataclass(frozen=True)
class _Operand:
    """A value with one letter for each of its dimensions."""

    value: ir.Value
    letters: str


def einsum(pieces: Pieces) -> Sequence[ir.Value | None]:
    """Contracts the operands from the left, two at a time."""
    operands, output = _parsed(pieces)
    total = _summed(pieces, operands[0], set(output).union(*(other.letters for other in operands[1:])))
    for index, operand in enumerate(operands[1:], start=1):
        wanted = set(output).union(*(other.letters for other in operands[index + 1 :]))
        total = _contracted(pieces, total, operand, wanted)
    return [pieces.transpose(total.value, [total.letters.index(letter) for letter in output])]


def _parsed(pieces: Pieces) -> tuple[list[_Operand], str]:
    """Returns the operands and the letters of the result; dimensions of an ellipsis get upper-case letters."""
    equation = pieces.text("equation", "").replace(" ", "")
    terms, arrow, output = equation.partition("->")
    operands, longest = [], ""
    spare = [letter for letter in reversed(string.ascii_uppercase) if letter not in equation]
    for index, term in enumerate(terms.split(",")):
        value = pieces.input(index)
        missing = len(pieces.shape(value)) - len(term.replace("...", ""))
        # Ellipses are aligned at their ends, as in broadcasting.
        dots = "".join(spare[:missing][::-1]) if "..." in term else ""
        longest = max(longest, dots, key=len)
        letters = term.replace("...", dots)
        if len(set(letters)) != len(letters):
            raise Undecomposable(f"it takes a diagonal: {equation!r}")
        operands.append(_Operand(value, letters))
    if not arrow:
        every = "".join(operand.letters for operand in operands)
        output = longest + "".join(sorted(letter for letter in set(every) - set(longest) if every.count(letter) == 1))
    return operands, output.replace("...", longest)


def _summed(pieces: Pieces, operand: _Operand, wanted: Set[str]) -> _Operand:
    """Sums over the dimensions that are no longer needed."""
    axes = [axis for axis, letter in enumerate(operand.letters) if letter not in wanted]
    if not axes:
        return operand
    value = pieces.reduce("ReduceSum", operand.value, axes, keep=False)
    return _Operand(value, "".join(letter for letter in operand.letters if letter in wanted))


def _contracted(pieces: Pieces, left: _Operand, right: _Operand, wanted: Set[str]) -> _Operand:
    left = _summed(pieces, left, wanted | set(right.letters))
    right = _summed(pieces, right, wanted | set(left.letters))
    shared = [letter for letter in left.letters if letter in right.letters]
    batch = "".join(letter for letter in shared if letter in wanted)
    inner = "".join(letter for letter in shared if letter not in wanted)
    rows = "".join(letter for letter in left.letters if letter not in shared)
    columns = "".join(letter for letter in right.letters if letter not in shared)
    sizes = dict(zip(right.letters, pieces.shape(right.value), strict=True))
    for letter, size in zip(left.letters, pieces.shape(left.value), strict=True):
        if letter in inner and sizes[letter] != size:
            raise Undecomposable("it broadcasts a dimension that it sums over")
        sizes[letter] = max(size, sizes.get(letter, 1))
    letters = batch + rows + columns
    if not inner:
        product = pieces("Mul", *(_aligned(pieces, operand, letters) for operand in (left, right)))
        return _Operand(product, letters)
    operands = (
        _matrices(pieces, left, batch, rows, inner),
        _matrices(pieces, right, batch, inner, columns),
    )
    shape = [sizes[letter] for letter in letters]
    return _Operand(pieces.reshape(pieces("MatMul", *operands), shape), letters)


def _aligned(pieces: Pieces, operand: _Operand, letters: str) -> ir.Value:
    """Orders the dimensions like `letters`, with size 1 for missing ones."""
    own = [letter for letter in letters if letter in operand.letters]
    value = pieces.transpose(operand.value, [operand.letters.index(letter) for letter in own])
    sizes = dict(zip(own, pieces.shape(value), strict=True))
    return pieces.reshape(value, [sizes.get(letter, 1) for letter in letters])


def _matrices(pieces: Pieces, operand: _Operand, batch: str, rows: str, columns: str) -> ir.Value:
    """Reshapes to a stack of matrices: several row, column or batch dimensions become one."""
    order = [operand.letters.index(letter) for letter in batch + rows + columns]
    value = pieces.transpose(operand.value, order)
    sizes = pieces.shape(value)
    leading = list(sizes[: len(batch)])
    if len(batch) > _MOST_LEADING:
        leading = [math.prod(leading)]
    rest = sizes[len(batch) :]
    return pieces.reshape(value, [*leading, math.prod(rest[: len(rows)]), math.prod(rest[len(rows) :])])


DECOMPOSITIONS: dict[str, Decomposition] = {"Einsum": einsum}
