"""Every way to bring a model in: a task file, a Python module, a torch module, an exported program, an ONNX file.

`source.py` is what every frontend gives: a graph, the original to compare with, and the data that came along.

    task.py               task files and importable modules
    torch_module.py       torch modules: example inputs, dimensions (torch_dimensions.py), outputs (structure.py)
    torch_export.py       their graphs: attention.py, size_decisions.py, naming.py, and blame.py for what failed
    exported_program.py   `.pt2` programs
    onnx_file.py          `.onnx` files, which onnx_parsing.py reads and checks; opsets.py, node_order.py,
                          single_precision.py, onnxruntime_operators.py bring them into one form; weights:
                          external_data.py, own_tensors.py, weightless.py; made_up_inputs.py stands in for data
    keras_model.py        Keras models and SavedModels, written as ONNX by keras_export.py and keras_recurrent.py
    strangers.py          files that hold a model in a form that edgecomp does not read

    checks.py             checks that all of these share; runtime.py runs a graph and compares it with the original
    dynamic_shapes.py     which dimensions are fixed and which stay dynamic; tied_sizes.py: which of them are one
    constants.py          inputs that become constants
    data_files.py         data from files and folders; pictures.py decodes and preprocesses pictures
    labelled_files.py     the same with labels: pictures in classes, archives, functions
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecomp.errors import SourceError
from edgecomp.frontends.source import Sample, Source
from edgecomp.frontends.strangers import refusal
from edgecomp.shapes import Shapes

if TYPE_CHECKING:
    import torch

    from edgecomp.frontends.constants import Constants

__all__ = ["Source", "load_source"]

_KERAS = frozenset({".keras", ".h5", ".hdf5"})


def load_source(
    source: str | Path | torch.nn.Module,
    *,
    shapes: Shapes | None = None,
    example_inputs: Any = None,
    sample: Sample | None = None,
    constants: Constants | None = None,
) -> Source:
    """Loads a model from any of its forms.

    Args:
        source: `task.py`, `task.py:function`, `package.module:function`, a `.pt2` exported program, an `.onnx` file, a
            `.keras` or `.h5` file or the folder of a SavedModel (with the extra `tensorflow`), or a torch module.
        shapes: Input name -> shape. Fixes the dynamic inputs of a model file.
        example_inputs: For a torch module: a tuple of tensors, one for each parameter of its forward. For an `.onnx`
            file, where they may be left out: a tuple of arrays, one for each input.
        sample: Gives a sample of the user's data, which an `.onnx` file runs on where it has no example inputs.
        constants: Inputs of an `.onnx` file that are to be constants, with their numbers.

    Raises:
        SourceError: It cannot be used; nothing is ever unpickled to find out.
        ExportError: It does not become an ONNX graph that computes the same.
    """
    if not isinstance(source, str | Path):
        return _load_object(source, shapes, example_inputs)
    text = str(source)
    suffix = Path(text).suffix.lower()
    place, _, function = text.rpartition(":")
    names_function = bool(place) and function.isidentifier()
    _check_arguments(text, suffix, example_inputs, constants)
    if suffix in {".onnx", ".pt2", *_KERAS}:
        _check_file(Path(text))
    if suffix == ".onnx":
        from edgecomp.frontends.onnx_file import load_onnx

        return load_onnx(Path(text), shapes=shapes, example_inputs=example_inputs, sample=sample, constants=constants)
    if suffix in _KERAS or (Path(text) / "saved_model.pb").is_file():
        from edgecomp.frontends.keras_model import load_keras

        return load_keras(Path(text), shapes=shapes)
    if suffix == ".pt2":
        from edgecomp.frontends.exported_program import load_program

        return load_program(Path(text), shapes=shapes)
    if suffix == ".py" or names_function:
        from edgecomp.frontends.task import load_task

        return load_task(text, shapes=shapes)
    raise refusal(Path(text))


def _check_arguments(text: str, suffix: str, example_inputs: Any, constants: Constants | None) -> None:
    """Only an `.onnx` file leaves its inputs to the caller."""
    if example_inputs is not None and suffix != ".onnx":
        raise SourceError(
            text,
            expected="example inputs only with a torch module or an .onnx file",
            actual="example_inputs given with a file",
            cure="leave example_inputs out: a file brings its own",
        )
    if constants and suffix != ".onnx":
        raise SourceError(
            text,
            expected="constants only with an .onnx file",
            actual=f"constants for {', '.join(constants)}",
            cure="write a task.py whose model() wraps the module and gives it these arguments",
        )


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise SourceError(
            str(path),
            expected="a file",
            actual="a folder" if path.is_dir() else "no such file",
            cure="check the path",
        )


def _load_object(source: object, shapes: Shapes | None, example_inputs: Any) -> Source:
    # Nobody can hold a torch module without having imported torch, and edgecomp should not be the one to load it.
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(source, torch.nn.Module):
        raise SourceError(
            f"a source of type {type(source).__name__}",
            expected="a path, module:function or a torch.nn.Module",
            actual=f"a {type(source).__name__}",
            cure="give the path of a task file, or the module with example_inputs=(...)",
        )
    name = type(source).__name__
    if example_inputs is None:
        raise SourceError(
            name,
            expected="example inputs with a torch module",
            actual="none",
            cure="call it with example_inputs=(torch.rand(1, 3, 224, 224),), one tensor for each parameter of forward",
        )
    from edgecomp.frontends.torch_module import load_module

    return load_module(source, example_inputs, name=name, subject=name, shapes=shapes)
