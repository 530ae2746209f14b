"""The one simulation that predicts every artifact: the quantized graph in float, rounded where the numbers stored are.

Where runtimes round activations in ways of their own (fp16, dynamic-int8, weight-int4) it does not, and an artifact
agrees with it up to that rounding (see `precision.PrecisionFacts`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import onnx_ir as ir

from edgecomp.arrays import Array
from edgecomp.graph.query import constant, required_constant
from edgecomp.graph.session import Session
from edgecomp.model import CompressedModel
from edgecomp.quantization.exact_sums import UNDOING, add_up_integers
from edgecomp.quantization.parameters import QuantizationParameters
from edgecomp.quantization.qdq import to_qdq, with_stored_weights

_AS_IT_SAYS = {
    # Convolutions may take a faster layout, but no integer kernel may take the place of what the graph says.
    "session.disable_quant_qdq": "1",
    # Without VNNI, x86 kernels of ConvInteger and MatMulInteger add pairs of products in saturating 16-bit.
    "session.x64quantprecision": "1",
}


class Simulation:
    """A quantized model in ONNX Runtime with its integer kernels switched off: it computes what it says, in float.

    Sums of products are exact all the same (see `exact_sums`).

    Args:
        model: Quantized or float; a float model simulates itself.
        threads: How many threads compute; 0 for one a core.
        streaming: Whether batches will come one after another, for `run_all` (see `graph.session.Session`).
        readers: Names of nodes whose first input `run` gives too, behind the outputs: as they get it, rounded.
        lasting: Whether it will run many times (see `graph.session.Session`).
    """

    def __init__(
        self,
        model: CompressedModel,
        *,
        threads: int = 0,
        streaming: bool = False,
        readers: Sequence[str] = (),
        lasting: bool = True,
    ) -> None:
        graph = with_stored_weights(model) if model.weights_only else to_qdq(model)
        _give_inputs(graph.graph, readers)
        add_up_integers(graph.graph)
        _dequantize_constants(graph.graph)
        _drop_unread_constants(graph.graph)
        self._session = open_session(graph, threads, streaming=streaming, lasting=lasting)

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Runs on arrays as the source model takes them; gives one array per output."""
        return self._session.run_data(inputs)

    def run_all(self, batches: Iterable[Sequence[Array]]) -> Iterator[list[Array]]:
        """`run` of every batch, in order."""
        return self._session.run_all(batches)


def open_session(graph: ir.Model, threads: int, *, streaming: bool = False, lasting: bool = True) -> Session:
    """A session that computes what a graph says: QuantizeLinear and DequantizeLinear stay as they are."""
    return Session(
        graph,
        threads=threads,
        streaming=streaming,
        config=_AS_IT_SAYS,
        without=UNDOING,
        lasting=lasting,
        optimize=lasting,
    )


def _give_inputs(graph: ir.Graph, readers: Sequence[str]) -> None:
    """Adds what nodes read as outputs, each under a name of its own."""
    nodes = {node.name: node for node in graph}
    for name in readers:
        node = nodes[name]
        copied = ir.node("Identity", [node.inputs[0]])
        result = copied.outputs[0]
        result.name, result.type = f"{name}/edgecomp_input", ir.TensorType(ir.DataType.FLOAT)
        graph.insert_before(node, copied)
        graph.outputs.append(result)


def _dequantize_constants(graph: ir.Graph) -> None:
    """Computes each DequantizeLinear of a constant once, not on every run."""
    for node in tuple(graph):
        integers = constant(node.inputs[0]) if node.op_type == "DequantizeLinear" else None
        if integers is None:
            continue
        scale, zero_point = (required_constant(value) for value in node.inputs[1:3])
        axis = node.attributes.get_int("axis", 1) if scale.ndim else None
        parameters = QuantizationParameters(scale, zero_point.astype("int32"), str(integers.dtype), axis)  # type: ignore[arg-type]
        real = node.outputs[0]
        real.const_value = ir.tensor(parameters.dequantize(integers), name=real.name)
        initializer = ir.Value(name=real.name, shape=real.shape, type=real.type, const_value=real.const_value)
        real.replace_all_uses_with(initializer)
        graph.remove(node, safe=True)
        graph.register_initializer(initializer)


def _drop_unread_constants(graph: ir.Graph) -> None:
    """The integers that were dequantized, which would be in ONNX Runtime's message several times over."""
    for name, value in tuple(graph.initializers.items()):
        if not tuple(value.uses()) and not value.is_graph_output():
            del graph.initializers[name]
