"""Runs an `.onnx` or `.ort` file in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgecomp.arrays import Array
from edgecomp.errors import DataError, SourceError
from edgecomp.interface import METADATA_KEY, Interface, TensorInterface


class OnnxRuntimePredictor:
    """A session on the CPU."""

    #: ONNX Runtime answers with an error where a file or a size does not fit.
    proven = True

    def __init__(self, path: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors are raised as well
        # Without VNNI, x86 kernels add pairs of products in saturating 16-bit arithmetic; ARM kernels and this mode do
        # not.
        options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            self._session = _opened(path, options)
            self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        except Exception as error:
            raise unreadable(path, error) from None
        if METADATA_KEY in self.metadata:
            found = Interface.from_json(self.metadata[METADATA_KEY], subject=str(path))
        else:
            found = Interface(
                tuple(_plain(value) for value in self._session.get_inputs()),
                tuple(_plain(value) for value in self._session.get_outputs()),
            )
        self.interface = found
        self.inputs, self.outputs = found.inputs, found.outputs

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Runs the session once.

        Raises:
            DataError: ONNX Runtime cannot compute with these inputs.
        """
        names = [value.name for value in self._session.get_inputs()]
        try:
            results: list[Array] = self._session.run(None, dict(zip(names, inputs, strict=True)))
        # ONNX Runtime's exceptions have no common base below Exception.
        except Exception as error:
            raise DataError(
                f"inputs of shape {', '.join(str(array.shape) for array in inputs)}",
                expected="sizes and numbers that the model can compute with",
                actual=" ".join(str(error).split()),
                cure="give inputs like those that the model was made for",
            ) from error
        return results


def _opened(path: Path, options: Any) -> Any:
    """Opens a session on a file; if ONNX Runtime fails on weights that operators share, they are copied."""
    import onnxruntime

    providers = ["CPUExecutionProvider"]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:
        if "Attempt to replace the existing tensor" not in str(error) or path.suffix != ".onnx":
            raise
    import onnx

    from edgecomp.converters.onnxruntime.unsharing import unshared

    return onnxruntime.InferenceSession(unshared(onnx.load(path)).SerializeToString(), options, providers=providers)


_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
}


def _plain(value: Any) -> TensorInterface:
    """Returns the interface of an `.onnx` file that edgecomp did not write."""
    dtype = _DTYPES.get(value.type, value.type.removeprefix("tensor(").removesuffix(")"))
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    return TensorInterface(value.name, dtype, shape, source_dtype=dtype)


def unreadable(path: Path, error: Exception) -> SourceError:
    """Returns the error for a file that is damaged, or of another kind."""
    return SourceError(
        str(path),
        expected="a model that ONNX Runtime can load",
        actual=str(error).splitlines()[0] if str(error) else type(error).__name__,
        cure="check that the file is complete; write it again if it is not",
    )
