"""MNN's own converter. These functions run in a process of their own: a C++ error ends the process."""

from __future__ import annotations


def run_mnnconvert(framework: str, source: str, target: str, compression: str | None = None) -> None:
    """Converts a model file with `mnnconvert`, called as an extension module.

    The console script of the same name installs packages and sends usage data; the extension module does neither.

    Args:
        framework: "ONNX" or "MNN", the format of `source`.
        source: Path of the model to convert.
        target: Path of the `.mnn` file to write.
        compression: Path of a compression-parameters JSON.
    """
    import _tools  # type: ignore[import-not-found]

    arguments = ["mnnconvert", "-f", framework, "--modelFile", source, "--MNNModel", target, "--bizCode", "edgecomp"]
    if compression is not None:
        arguments += ["--compressionParamsFile", compression]
    _tools.mnnconvert(arguments)
