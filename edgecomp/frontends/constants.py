"""Inputs that become constants: a sampling rate, a threshold, a switch between two branches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx_ir as ir

from edgecomp.errors import InputError, SourceError, correction

#: Input name -> its numbers, in the order of memory.
Constants = Mapping[str, tuple[float, ...]]


def parse_constants(options: Iterable[str]) -> Constants:
    """`--constant` options, such as sr=16000 or sizes=1,2,3, as a mapping.

    Raises:
        InputError: One is of another form.
    """
    constants: dict[str, tuple[float, ...]] = {}
    for option in options:
        name, _, text = option.rpartition("=")
        try:
            constants[name] = tuple(float(number) for number in text.split(","))
        except ValueError:
            name = ""
        if not name:
            raise InputError(
                f"--constant {option}",
                expected="an input's name and its numbers, such as sr=16000 or sizes=1,2,3",
                actual=repr(option),
                cure="`edgecomp inspect` lists the inputs of an .onnx file",
            )
    return constants


def fix_inputs(model: ir.Model, constants: Constants, subject: str) -> None:
    """Makes inputs constants, and leaves out the branches that they switch off; in place.

    Raises:
        SourceError: There is no such input, or the numbers do not fill it.
    """
    graph = model.graph
    inputs = {value.name: value for value in graph.inputs}
    for name, numbers in constants.items():
        if name not in inputs:
            raise SourceError(
                f"{subject}: --constant {name}",
                expected=f"one of the inputs {', '.join(map(str, inputs))}",
                actual="no input of that name",
                cure=correction(name, map(str, inputs), "correct the name"),
            )
        value = inputs[name]
        assert value.dtype is not None
        array = np.array(numbers, value.dtype.numpy())
        shape = (len(numbers),) if value.shape is None or not value.shape.is_static() else value.shape.numpy()
        if array.size != int(np.prod(shape)) or not np.array_equal(array, numbers):
            raise SourceError(
                f"{subject}: --constant {name}",
                expected=f"numbers for {value.dtype.name.lower()}{list(shape)}",
                actual=",".join(f"{number:g}" for number in numbers),
                cure="give as many numbers as the input has elements, of its type",
            )
        graph.inputs.remove(value)
        value.const_value, value.shape = ir.Tensor(array.reshape(shape), name=name), ir.Shape(shape)
        graph.register_initializer(value)
    if constants:
        from onnxscript import optimizer

        optimizer.fold_constants_ir(model, onnx_shape_inference=False)
