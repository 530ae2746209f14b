"""MNN's own converter. These functions run in a process of their own: a C++ error ends the process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import MNN


def run_mnnconvert(
    framework: str, source: str, target: str, compression: str | None = None, half: bool = False
) -> None:
    """Converts a model file with `mnnconvert`, called as an extension module.

    The console script of the same name installs packages and sends usage data; the extension module does neither.

    Args:
        framework: "ONNX" or "MNN", the format of `source`.
        source: Path of the model to convert.
        target: Path of the `.mnn` file to write.
        compression: Path of a compression-parameters JSON.
        half: Whether weights are stored as float16.
    """
    import _tools

    # mnnconvert keeps weights in a file of a fixed name in the working directory while it runs.
    os.chdir(os.path.dirname(target))
    arguments = ["mnnconvert", "-f", framework, "--modelFile", source, "--MNNModel", target, "--bizCode", "edgecomp"]
    # A recurrent op as such, not as a loop, which needs another runtime interface; and the exact Gelu.
    arguments += ["--useOriginRNNImpl", "--useGeluApproximation", "0"]
    if half:
        arguments += ["--fp16"]
    if compression is not None:
        arguments += ["--compressionParamsFile", compression]
    _tools.mnnconvert(arguments)


def trace(path: str, folder: str, batches: int) -> list[str]:
    """Runs a `.mnn` file that edgecomp wrote.

    Args:
        path: The file, which is loaded in any case.
        folder: Holds `inputs0.npz`, `inputs1.npz`, ..., and gets `outputs0.npz`, `outputs1.npz`, ...
        batches: How many there are.

    Returns:
        The names of the ops that MNN computed in int8.
    """
    import numpy as np

    from edgecomp.converters.mnn.runtime import MnnPredictor

    predictor = MnnPredictor(Path(path))
    integer: dict[str, None] = {}
    for index in range(batches):
        with np.load(Path(folder, f"inputs{index}.npz")) as file:
            inputs = [file[f"arr_{position}"] for position in range(len(predictor.inputs))]
        outputs, names = predictor.trace(inputs)
        integer.update(dict.fromkeys(names))
        np.savez(Path(folder, f"outputs{index}.npz"), *outputs)
    return list(integer)


def load(path: str, shapes: dict[str, list[int]]) -> None:
    """Runs a `.mnn` file from anywhere on zeros.

    Args:
        path: The file.
        shapes: Shape of each input by name; empty to load the file only, where a shape is not known.
    """
    interpreter, session = _load(path, shapes)
    if shapes:
        interpreter.runSession(session)


def observe(path: str, shapes: dict[str, list[int]]) -> dict[str, list[int]]:
    """Runs a `.mnn` file once on zeros.

    Args:
        path: The file.
        shapes: Shape of each input by name.

    Returns:
        The shape that each op gave, by the op's name, which is that of its tensor.
    """
    found: dict[str, list[int]] = {}

    def after(tensors: list[MNN.Tensor], info: MNN.OpInfo) -> bool:
        found[info.getName()] = list(tensors[0].getShape())
        return True

    interpreter, session = _load(path, shapes)
    interpreter.runSessionWithCallBackInfo(session, lambda tensors, info: True, after)
    return found


def _load(path: str, shapes: dict[str, list[int]]) -> tuple[Any, Any]:
    """A session whose inputs are zeros of the given shapes."""
    import MNN
    import numpy as np

    interpreter = MNN.Interpreter(path)
    session = interpreter.createSession({"backend": "CPU", "precision": "high", "numThread": 1})
    inputs = {name: tensor for name, tensor in interpreter.getSessionInputAll(session).items() if name in shapes}
    other = {name for name, tensor in inputs.items() if list(tensor.getShape()) != shapes[name]}
    for name in other:
        interpreter.resizeTensor(inputs[name], tuple(shapes[name]))
    if other:
        interpreter.resizeSession(session)
    for name, tensor in inputs.items():
        integer = "Int" in repr(tensor.getDataType())
        kind, dtype = (MNN.Halide_Type_Int, np.int32) if integer else (MNN.Halide_Type_Float, np.float32)
        zeros = np.zeros(shapes[name], dtype)
        tensor.copyFrom(MNN.Tensor(zeros.shape, kind, zeros, MNN.Tensor_DimensionType_Caffe))
    return interpreter, session
