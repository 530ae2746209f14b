"""MNN's own converter. These functions run in a process of their own: a C++ error ends the process."""

from __future__ import annotations


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

    arguments = ["mnnconvert", "-f", framework, "--modelFile", source, "--MNNModel", target, "--bizCode", "edgecomp"]
    # A recurrent op as such, not as a loop, which needs another runtime interface; and the exact Gelu.
    arguments += ["--useOriginRNNImpl", "--useGeluApproximation", "0"]
    if half:
        arguments += ["--fp16"]
    if compression is not None:
        arguments += ["--compressionParamsFile", compression]
    _tools.mnnconvert(arguments)


def trace(path: str, shapes: dict[str, list[int]]) -> list[str]:
    """Runs a `.mnn` file once on zeros.

    Args:
        path: The file.
        shapes: Shape of each input by name; empty to load the file only, where a shape is not known.

    Returns:
        The names of the ops that MNN computed in int8.
    """
    import MNN
    import numpy as np

    interpreter = MNN.Interpreter(path)
    session = interpreter.createSession({"backend": "CPU", "precision": "high", "numThread": 1})
    for name, tensor in interpreter.getSessionInputAll(session).items():
        shape = shapes.get(name)
        if shape is None:
            continue
        integer = "Int" in repr(tensor.getDataType())
        kind, dtype = (MNN.Halide_Type_Int, np.int32) if integer else (MNN.Halide_Type_Float, np.float32)
        tensor.copyFrom(MNN.Tensor(tuple(shape), kind, np.zeros(shape, dtype), MNN.Tensor_DimensionType_Caffe))
    found: list[str] = []

    def after(tensors: object, info: MNN.OpInfo) -> bool:
        if "DT_INT8" in info.getType():
            found.append(info.getName())
        return True

    if shapes:
        interpreter.runSessionWithCallBackInfo(session, lambda tensors, info: True, after)
    return found
