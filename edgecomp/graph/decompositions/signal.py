"""Decomposes Fourier transforms into products with constant matrices of cosines and sines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecomp.arrays import Array
from edgecomp.graph.decompositions.pieces import Decomposition, Pieces, Undecomposable
from edgecomp.graph.query import constant

#: The largest matrix to store, in elements; a larger one would dominate the size of the file.
_LARGEST = 1 << 23


def dft(pieces: Pieces) -> Sequence[ir.Value | None]:
    """DFT along one dimension; the last dimension holds real and imaginary parts, or only real ones."""
    source = pieces.input(0)
    shape = pieces.shape(source)
    axis = pieces.integer("axis", 1) if pieces.opset < 20 else _scalar(pieces, 2, -2)
    axis %= len(shape)
    length = _scalar(pieces, 1, 0)
    inverse, half = bool(pieces.integer("inverse", 0)), bool(pieces.integer("onesided", 0))
    if inverse and half:
        length = length or 2 * (shape[axis] - 1)
        return [_real_inverse(pieces, source, axis, length)]
    length = length or shape[axis]
    source = _fitted(pieces, source, axis, length)
    return [_transformed(pieces, source, axis, _fourier(length, half=half, inverse=inverse))]


def stft(pieces: Pieces) -> Sequence[ir.Value | None]:
    """STFT of a real signal: gathers frames, and multiplies them by a matrix that includes the window."""
    signal = pieces.input(0)
    batch, samples, *parts = pieces.shape(signal)
    if parts not in ([], [1]):
        raise Undecomposable("its signal is complex")
    step = int(pieces.constant_input(1).reshape(-1)[0])
    window = constant(pieces.optional(2))
    if window is None and pieces.optional(2) is not None:
        raise Undecomposable("its window is computed")
    length = _scalar(pieces, 3, 0) or (0 if window is None else window.size)
    window = np.ones(length) if window is None else window
    count = (samples - length) // step + 1
    places = np.arange(count)[:, None] * step + np.arange(length)
    frames = pieces("Gather", pieces.reshape(signal, (batch, samples)), places, axis=1)
    matrix = _fourier(length, half=bool(pieces.integer("onesided", 1)), inverse=False)
    matrix = matrix * window.astype(np.float64)
    spectrum = pieces("MatMul", frames, _stacked(matrix))
    spectrum = pieces.reshape(spectrum, (batch, count, 2, len(matrix)))
    return [pieces.transpose(spectrum, [0, 1, 3, 2])]


def _scalar(pieces: Pieces, index: int, default: int) -> int:
    return default if pieces.optional(index) is None else int(pieces.constant_input(index).reshape(-1)[0])


def _fourier(length: int, *, half: bool, inverse: bool) -> npt.NDArray[np.complex128]:
    """Returns the matrix (frequencies, samples) of a transform."""
    count = length // 2 + 1 if half else length
    if count * length * 2 > _LARGEST:
        raise Undecomposable(f"the matrix of a transform of {length} samples would be too large")
    # Taking the product modulo the length keeps the angles small, and therefore exact.
    angles = 2 * np.pi * (np.outer(np.arange(count), np.arange(length)) % length) / length
    matrix: npt.NDArray[np.complex128] = np.exp(1j * angles) / length if inverse else np.exp(-1j * angles)
    return matrix


def _stacked(matrix: npt.NDArray[np.complex128]) -> Array:
    """Returns the matrix as (samples, real frequencies followed by imaginary ones)."""
    return np.concatenate([matrix.real, matrix.imag]).T.astype(np.float32)


def _fitted(pieces: Pieces, source: ir.Value, axis: int, length: int) -> ir.Value:
    """Truncates or zero-pads to the length of the transform."""
    shape = pieces.shape(source)
    if shape[axis] > length:
        return pieces.slice(source, axis, 0, length)
    if shape[axis] == length:
        return source
    pads = np.zeros((2, len(shape)), np.int64)
    pads[1, axis] = length - shape[axis]
    return pieces("Pad", source, pads.reshape(-1))


def _transformed(pieces: Pieces, source: ir.Value, axis: int, matrix: npt.NDArray[np.complex128]) -> ir.Value:
    if pieces.shape(source)[-1] == 1:
        return _product(pieces, source, axis, _stacked(matrix), 2)
    whole = np.block([[matrix.real.T, matrix.imag.T], [-matrix.imag.T, matrix.real.T]])
    return _product(pieces, source, axis, whole.astype(np.float32), 2)


def _real_inverse(pieces: Pieces, source: ir.Value, axis: int, length: int) -> ir.Value:
    """Computes the real signal of a half spectrum; the other half is its conjugate."""
    source = _fitted(pieces, source, axis, length // 2 + 1)
    matrix = _fourier(length, half=True, inverse=True).conj()
    matrix[1 : (length + 1) // 2] *= 2
    whole = np.concatenate([matrix.real, matrix.imag]).astype(np.float32)
    return _product(pieces, source, axis, whole, 1)


def _product(pieces: Pieces, source: ir.Value, axis: int, matrix: Array, parts: int) -> ir.Value:
    """Multiplies dimension `axis` and the parts by a matrix (parts * samples, parts * samples)."""
    shape = pieces.shape(source)
    last = len(shape) - 1
    others = [dimension for dimension in range(last) if dimension != axis]
    sizes = [shape[dimension] for dimension in others]
    lines = pieces.reshape(pieces.transpose(source, [*others, last, axis]), [*sizes, len(matrix)])
    result = pieces.reshape(pieces("MatMul", lines, matrix), [*sizes, parts, matrix.shape[1] // parts])
    places = [*others, last, axis]
    return pieces.transpose(result, [places.index(dimension) for dimension in range(last + 1)])


DECOMPOSITIONS: dict[str, Decomposition] = {"DFT": dft, "STFT": stft}
