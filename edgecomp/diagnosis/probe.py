"""The float graph of a quantized model, in which any selection of layers can be rounded."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import onnx_ir as ir

from edgecomp.arrays import Array
from edgecomp.diagnosis.layers import Layer, layers_of
from edgecomp.graph.border import loosen
from edgecomp.graph.query import is_constant
from edgecomp.graph.values import add_constant
from edgecomp.model import CompressedModel
from edgecomp.quantization import scheme
from edgecomp.quantization.parameters import QuantizationParameters
from edgecomp.quantization.qdq import stored_numbers
from edgecomp.quantization.simulation import open_session


class Experiment:
    """A graph in ONNX Runtime that returns the model's outputs, and watched values besides.

    Args:
        graph: With the watched values after the model's outputs.
        watched: The number of watched values.
        threads: ONNX Runtime's threads; 0 for one per core.
    """

    def __init__(self, graph: ir.Model, watched: int, threads: int) -> None:
        self._session = open_session(graph, threads)
        self._outputs = len(self._session.outputs) - watched

    def run(self, inputs: Sequence[Array]) -> tuple[list[Array], list[Array]]:
        """Returns the model's outputs on one batch, and the watched values."""
        results = self._session.run(inputs)
        return results[: self._outputs], results[self._outputs :]


class Probe:
    """Builds experiments.

    Args:
        model: The quantized model.
        prepared: The same before quantization; tensors have the same names.
        threads: ONNX Runtime's threads; 0 for one per core.

    Attributes:
        layers: The places where the model rounds, in topological order.
        float_graph: The graph whose values are rounded.
    """

    def __init__(self, model: CompressedModel, prepared: CompressedModel, *, threads: int = 0) -> None:
        self.layers = layers_of(model)
        self._model = model
        self._threads = threads
        self._integer = {
            node.name or "" for node in model.graph.graph if scheme.runs_in_integers(node, model.quantization)
        }
        # The quantized model's graph has additional Identities and copies of constants, so it is the base; its weights
        # and biases may have been corrected, so the original ones are restored.
        self.float_graph = model.graph.clone()
        original = prepared.graph.graph.initializers
        for name, value in self.float_graph.graph.initializers.items():
            if name in original:
                value.const_value = original[name].const_value

    def rounded(self, layers: Collection[Layer], watch: Sequence[Layer] = ()) -> Experiment:
        """Returns the model with only some layers rounded.

        Args:
            layers: With all of them it is the simulation, with none the float model.
            watch: Layers whose values to return.
        """
        return self._experiment(layers, watch, beside=False)

    def beside(self) -> Experiment:
        """Returns the float model, watching each layer's result when only this layer is rounded."""
        return self._experiment(self.layers, self.layers, beside=True)

    def _experiment(self, layers: Collection[Layer], watch: Sequence[Layer], *, beside: bool) -> Experiment:
        graph = self.float_graph.clone()
        rounder = _Rounder(graph.graph, self._model, self._integer)
        chosen = set(layers)
        for layer in self.layers:
            if layer in chosen:
                rounder.round(layer, redirect=not beside)
        for index, layer in enumerate(watch):
            rounder.watch(layer, index)
        loosen(graph, self._model.dynamic)
        return Experiment(graph, len(watch), self._threads)


class _Rounder:
    """Writes rounded copies of layers into a float graph."""

    def __init__(self, graph: ir.Graph, model: CompressedModel, integer: Collection[str]) -> None:
        self._graph = graph
        self._table: Mapping[str, QuantizationParameters] = model.quantization
        self._stored = model.graph.graph.initializers
        self._rounds_activations = not model.weights_only
        self._integer = integer
        self._nodes = {node.name: node for node in graph}
        self._values = {value.name or "": value for value in graph.inputs}
        self._values |= {value.name or "": value for node in graph for value in node.outputs}
        self._results: dict[str, ir.Value] = {}

    def round(self, layer: Layer, *, redirect: bool) -> None:
        """Computes a layer's value again, rounded; with `redirect`, everything behind it reads the rounded value."""
        value = self._values[layer.tensor]
        added: list[ir.Node] = []
        result = value
        for name in layer.nodes:
            copy = self._copy(self._nodes[name], None if result is value else result)
            added.append(copy)
            result = copy.outputs[0]
        if self._rounds_activations:
            added += self._conversions(result, self._table[layer.tensor])
            result = added[-1].outputs[0]
        result.shape, result.type = value.shape, value.type
        producer = value.producer()
        if producer is None:
            self._graph.insert_before(self._graph[0], added)
        else:
            self._graph.insert_after(producer, added)
        self._results[layer.tensor] = result
        if redirect:
            self._redirect(value, result, added, everyone=bool(layer.nodes))

    def watch(self, layer: Layer, index: int) -> None:
        """Adds a layer's value to the outputs, rounded if it was rounded."""
        value = self._results.get(layer.tensor, self._values[layer.tensor])
        copy = ir.node("Identity", [value], name=f"edgecomp/watch/{index}")  # the value may be an output already
        copy.outputs[0].name, copy.outputs[0].type = f"edgecomp/watched/{index}", value.type
        self._graph.append(copy)
        self._graph.outputs.append(copy.outputs[0])

    def _redirect(self, value: ir.Value, result: ir.Value, added: Collection[ir.Node], *, everyone: bool) -> None:
        """Redirects readers to the rounded value, except float nodes that read the result of a float node."""
        for use in tuple(value.uses()):
            if use.node not in added and (everyone or use.node.name in self._integer):
                use.node.replace_input_with(use.idx, result)
        for index, output in enumerate(self._graph.outputs):
            if everyone and output is value:
                self._graph.outputs[index] = result

    def _copy(self, node: ir.Node, data: ir.Value | None) -> ir.Node:
        """Copies a node, with the stored values of its constants, reading `data` if given."""
        inputs = [self._constant(value) for value in node.inputs]
        if data is not None:
            inputs[0] = data
        copy = ir.Node(node.domain, node.op_type, inputs, tuple(node.attributes.values()), name=f"{node.name}/rounded")
        copy.outputs[0].name = f"{node.outputs[0].name}/rounded"
        return copy

    def _constant(self, value: ir.Value | None) -> ir.Value | None:
        if value is None or value.name is None or not is_constant(value) or value.name not in self._table:
            return value
        numbers = stored_numbers(self._stored[value.name], self._table[value.name])
        return add_constant(self._graph, f"{value.name}/stored", numbers)

    def _conversions(self, value: ir.Value, parameters: QuantizationParameters) -> list[ir.Node]:
        """Creates QuantizeLinear and DequantizeLinear."""
        domain = "com.microsoft" if parameters.dtype == "int16" else ""
        if domain:
            self._graph.opset_imports.setdefault(domain, 1)
        zero_point = parameters.zero_point.astype(parameters.dtype)
        numbers = [
            add_constant(self._graph, f"{value.name}/scale", parameters.scale),
            add_constant(self._graph, f"{value.name}/zero_point", zero_point),
        ]
        nodes = []
        for op_type, suffix in (("QuantizeLinear", "integers"), ("DequantizeLinear", "reals")):
            name = f"{value.name}/{suffix}"
            nodes.append(ir.node(op_type, [value, *numbers], domain=domain, name=name))
            value = nodes[-1].outputs[0]
            value.name = name
        return nodes
