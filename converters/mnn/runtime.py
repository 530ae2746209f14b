"""Runs a `.mnn` file in the MNN runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgecomp.arrays import Array
from edgecomp.converters.mnn.flatbuffer import MalformedError
from edgecomp.converters.mnn.net import INTEGER_TYPES, Net, is_intact, not_a_model, read_net
from edgecomp.converters.mnn.precisions import LOW_MEMORY
from edgecomp.errors import ConversionError, DataError, MissingToolchainError
from edgecomp.interface import Interface, TensorInterface, unfit_size
from edgecomp.system.isolation import run_isolated
from edgecomp.system.quiet import redirected

#: MNN's error codes that a size may lead to.
_REASONS = {1: "out of memory", 2: "an operator is not supported", 3: "the sizes of its operators do not fit together"}


def import_mnn() -> Any:
    """The MNN module, which greets on stdout when it is first imported.

    Raises:
        MissingToolchainError: MNN is not installed.
    """
    try:
        with redirected(1, 2):
            import MNN
    except ImportError:
        raise MissingToolchainError(
            "MNN", expected="the MNN runtime", actual="no package MNN", cure="run `pip install MNN`"
        ) from None
    return MNN


def interface_of(net: Net, path: Path) -> Interface:
    """The inputs and outputs of a net as its source model has them.

    Raises:
        SourceError: The file was written by edgecomp, and its description is damaged.
    """
    if net.code.startswith("{"):
        return Interface.from_json(net.code, subject=str(path))
    # A file from elsewhere: only its inputs say their shape.
    inputs = []
    for op in net.inputs:
        sizes = op.parameter.array(0, np.int32).tolist() if op.parameter is not None else []
        integer = op.parameter is not None and op.parameter.integer(1, 1) in INTEGER_TYPES
        shape = tuple(size if size > 0 else None for size in sizes)
        dtype = "int32" if integer else "float32"
        inputs.append(TensorInterface(net.tensors[op.outputs[0]], dtype, shape, source_dtype=dtype))
    return Interface(tuple(inputs), tuple(TensorInterface(name, "float32", ()) for name in net.outputs))


def _checked_interface(path: Path) -> tuple[Interface, bool]:
    """What a file says about its inputs and outputs, and whether it is one of ours; the weights do not stay behind."""
    try:
        net = read_net(path)
        found = interface_of(net, path)
        if not (ours := is_intact(net)):
            _try_out(path, net)
    except MalformedError as error:
        raise not_a_model(path, str(error)) from None
    return found, ours


def _try_out(path: Path, net: Net) -> None:
    """Runs a file that edgecomp did not write as it is, in a process of its own: MNN may crash on it."""
    shapes = {}
    for op in net.inputs:
        sizes = [] if op.parameter is None else op.parameter.array(0, np.int32).tolist()
        shapes[net.tensors[op.outputs[0]]] = sizes
    if any(size <= 0 for sizes in shapes.values() for size in sizes):
        shapes = {}
    try:
        run_isolated(
            "edgecomp.converters.mnn.toolchain:load", subject=str(path), timeout=60, path=str(path), shapes=shapes
        )
    except ConversionError as error:
        raise not_a_model(path, f"MNN cannot run it: {error.actual}") from None


class MnnPredictor:
    """A loaded `.mnn` file.

    Args:
        path: The file.
        threads: CPU threads.

    Raises:
        SourceError: The file is not a readable MNN model.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._interface, self.proven = _checked_interface(path)
        self._mnn = mnn = import_mnn()
        with redirected(1, 2):
            try:
                self._interpreter = mnn.Interpreter(str(path))
                # "high" is fp32; the default may use half floats on ARM.
                memory = "low" if self._interface.precision in LOW_MEMORY else "normal"
                config = {"backend": "CPU", "precision": "high", "memory": memory, "numThread": threads}
                self._session = self._interpreter.createSession(config)
            except Exception as error:
                raise not_a_model(path, str(error)) from None
            # MNN leaves out an input that nothing reads.
            sources = self._interpreter.getSessionInputAll(self._session)
            self._sources = [sources.get(item.name) for item in self.inputs]

    @property
    def inputs(self) -> tuple[TensorInterface, ...]:
        """What `run` takes."""
        return self._interface.inputs

    @property
    def outputs(self) -> tuple[TensorInterface, ...]:
        """What `run` gives."""
        return self._interface.outputs

    def trace(self, inputs: Sequence[Array]) -> tuple[list[Array], list[str]]:
        """The outputs, and the names of the ops that MNN computed in int8."""
        found: list[str] = []

        def after(tensors: object, info: Any) -> bool:
            if "DT_INT8" in info.getType():
                found.append(info.getName())
            return True

        def execute() -> int:
            code: int = self._interpreter.runSessionWithCallBackInfo(self._session, lambda tensors, info: True, after)
            return code

        return self._run(inputs, execute), found

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Runs the model.

        Args:
            inputs: One array per input, in its shape and dtype.

        Returns:
            One array per output, in the source model's layout.

        Raises:
            DataError: The arrays do not fit the inputs, or MNN cannot compute at their sizes.
        """
        return self._run(inputs, lambda: self._interpreter.runSession(self._session))

    def _run(self, inputs: Sequence[Array], execute: Callable[[], int]) -> list[Array]:
        if len(inputs) != len(self.inputs):
            raise DataError(
                "the inputs", expected=f"{len(self.inputs)} arrays", actual=str(len(inputs)), cure="give one per input"
            )
        given = {item.name: array for item, array in zip(self.inputs, inputs, strict=True)}
        fed = [(source, array) for source, array in zip(self._sources, inputs, strict=True) if source is not None]
        with redirected(1, 2):
            resized = False
            for source, array in fed:
                if tuple(source.getShape()) != array.shape:
                    self._interpreter.resizeTensor(source, array.shape)
                    resized = True
            if resized:
                self._interpreter.resizeSession(self._session)
            # A run overwrites the input tensors, so all are copied before each one.
            for source, array in fed:
                source.copyFrom(self._host_tensor(array))
            # What did not run leaves the outputs of the run before.
            if (code := execute()) != 0:
                raise unfit_size((array.shape for array in inputs), _REASONS.get(code, f"MNN's error {code}"))
            # An output that is an input is not in the file.
            return [given[item.name].copy() if item.name in given else self._read(item) for item in self.outputs]

    def _host_tensor(self, array: Array) -> Any:
        mnn = self._mnn
        integer = array.dtype.kind in "iub"
        kind = mnn.Halide_Type_Int if integer else mnn.Halide_Type_Float
        data = np.ascontiguousarray(array, np.int32 if integer else np.float32)
        return mnn.Tensor(data.shape, kind, data, mnn.Tensor_DimensionType_Caffe)

    def _read(self, item: TensorInterface) -> Array:
        mnn = self._mnn
        target = self._interpreter.getSessionOutput(self._session, item.name)
        shape = tuple(target.getShape())
        if item.shape and None not in item.shape and shape != item.shape:
            raise ConversionError(
                f"output {item.name!r} of the MNN model",
                expected=f"the shape {item.shape} of the source",
                actual=f"MNN computes the shape {shape}",
                cure="leave MNN out: --formats tflite,onnxruntime",
            )
        integer = np.dtype(item.dtype).kind in "iub"
        kind, dtype = (mnn.Halide_Type_Int, np.int32) if integer else (mnn.Halide_Type_Float, np.float32)
        array = np.zeros(shape, dtype)
        host = mnn.Tensor(shape, kind, array, mnn.Tensor_DimensionType_Caffe)
        target.copyToHostTensor(host)
        result: Array = np.array(host.getNumpyData()).reshape(shape).astype(item.dtype)
        return result
