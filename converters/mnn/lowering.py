"""Rewrites a graph into one that MNN computes rightly, and a quantized one as the portable scheme says.

0. What MNN cannot compute even in float becomes something else: the general decompositions where they have one
   (`operators.is_wanting`), else MNN's own (`_FIRST` and `_REPAIRS`).
1. Weights and biases are put on their integer grids, so that rounding them again gives exactly the same integers.
2. Operators that MNN has no int8 kernel for, or an inexact one, become others that it computes exactly (`_RULES`).
3. An activation behind anything but a convolution is dropped where saturation in int8 does the same: MNN's fused
   activations are wrong in int8.
4. A node that is to be computed in float reads a float copy where MNN has an integer kernel for its operator
   (`_INTEGER_KERNELS`): MNN takes that kernel whenever the inputs have parameters, whatever the output has.
5. The bias of a depthwise convolution lies a quarter of a step beyond its integer: MNN divides it by the step and cuts
   off what is behind the point, where float32 may have come out just below the integer. What it does to the zero point
   there, the quantization has seen to (`quantization.multipliers`, rule 3).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from edgecomp.converters.mnn.depthwise import lower_arithmetic, lower_average_pool, lower_in_place, lower_mean
from edgecomp.converters.mnn.indexing import repair_backwards, repair_elements, repair_slices
from edgecomp.converters.mnn.operators import is_wanting, note_problems
from edgecomp.converters.mnn.padding import repair_pad, write_pads
from edgecomp.converters.mnn.pooling import lower_global_max_pool, lower_max_pool, repair_pool
from edgecomp.converters.mnn.products import lower_convolution, lower_matrix_product
from edgecomp.converters.mnn.repairs import (
    repair_added_channels,
    repair_axes,
    repair_cast,
    repair_convolution,
    repair_gelu,
    repair_groups,
    repair_less,
    repair_many,
    repair_power,
    repair_reduction,
    repair_split,
    repair_states,
)
from edgecomp.converters.mnn.rewriting import Rewriting
from edgecomp.converters.mnn.types import unify_types
from edgecomp.graph.decompose import decompose, in_float
from edgecomp.graph.query import ORIGIN_KEY, constant, input_of, origin
from edgecomp.model import CompressedModel
from edgecomp.quantization.scheme import RECURRENT, WEIGHTED, fused_activation, is_depthwise, runs_in_integers

_Rule = Callable[[Rewriting, ir.Node], None]

_FIRST: Mapping[str, Sequence[_Rule]] = {
    "AveragePool": (write_pads,),
    "Conv": (write_pads,),
    "ConvTranspose": (write_pads, repair_groups),
    "MaxPool": (write_pads,),
    "Pad": (repair_pad,),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"), (repair_axes,)),
}

_REPAIRS: Mapping[str, _Rule] = {
    "Add": repair_added_channels,
    "AveragePool": repair_pool,
    "Cast": repair_cast,
    "Conv": repair_convolution,
    "ConvTranspose": repair_convolution,
    "GatherElements": repair_elements,
    "GatherND": repair_slices,
    "Gelu": repair_gelu,
    **dict.fromkeys(("GRU", "LSTM", "RNN"), repair_states),
    "Less": repair_less,
    "MaxPool": repair_pool,
    "Max": repair_many,
    "Mean": repair_many,
    "Min": repair_many,
    "Pow": repair_power,
    "ReduceL1": repair_reduction,
    "ReduceL2": repair_reduction,
    "ReduceLogSum": repair_reduction,
    "ReduceLogSumExp": repair_reduction,
    "ReduceSumSquare": repair_reduction,
    "Slice": repair_backwards,
    "Split": repair_split,
    "Sum": repair_many,
}

_RULES: Mapping[str, _Rule] = {
    "Add": lower_arithmetic,
    "AveragePool": lower_average_pool,
    "Clip": lower_in_place,
    "Conv": lower_convolution,
    "Gemm": lower_matrix_product,
    "GlobalAveragePool": lower_mean,
    "GlobalMaxPool": lower_global_max_pool,
    "Identity": lower_in_place,
    "MatMul": lower_matrix_product,
    "MaxPool": lower_max_pool,
    "Mul": lower_arithmetic,
    "ReduceMean": lower_mean,
    "Relu": lower_in_place,
    # MNN's int8 kernel has a scale of 1/256 and zero point 0, which saturates above one half.
    "Softmax": Rewriting.compute_in_float,
    "Sub": lower_arithmetic,
}


#: Operators that MNN has integer kernels for, right ones or wrong ones.
_INTEGER_KERNELS = frozenset(
    {
        "Abs", "Add", "AveragePool", "Clip", "Div", "GlobalAveragePool", "GlobalMaxPool", "LayerNormalization",
        "LeakyRelu", "Max", "MaxPool", "Min", "Mod", "Mul", "Neg", "PRelu", "Pad", "Pow", "Relu", "Resize",
        "ReverseSequence", "Sign", "Sub",
    }
)  # fmt: skip


#: Weights that can be told apart. An integer of 127 is moved by this many times 127 / 2**23, which stays below 1/16.
_MOST_ALIKE = 4096

#: MNN's sessions run neither loops nor branches: what is left whole is refused.
_MOST_NODES = 16_384


def lower(model: CompressedModel, unsettled: Mapping[str | None, frozenset[int]] | None = None) -> Rewriting:
    """A copy of the model's graph that MNN's importer takes without loss, with the parameters of its tensors.

    Args:
        model: Float or quantized; it is not changed.
        unsettled: See `Rewriting`.
    """
    model = decompose(in_float(model, is_wanting), is_wanting, most_nodes=_MOST_NODES)
    rewriting = Rewriting(model.graph.clone(), dict(model.quantization), unsettled=unsettled or {})
    graph = rewriting.model.graph
    rewriting.origins.update(
        (value.name or "", origin(node)[0])
        for node in graph
        if ORIGIN_KEY in node.metadata_props
        for value in node.outputs
    )
    note_problems(rewriting)
    for node in list(graph):
        for rule in _FIRST.get(node.op_type, ()):
            rule(rewriting, node)
    _separate_outputs(rewriting)
    integers = {node for node in graph if runs_in_integers(node, rewriting.quantization)}
    for node in list(graph):
        if node in integers:
            continue
        if node.op_type in _INTEGER_KERNELS:
            rewriting.compute_in_float(node)
        if node.op_type == "Identity" and node.outputs[0].name in rewriting.quantization:
            # Real numbers become integers here. MNN would drop the node, and the parameters with it.
            rewriting.replace(node, rewriting.float_copy(node.inputs[0], f"{node.outputs[0].name}/copy"))
    nodes = [node for node in graph if node in integers]
    for node in graph:
        _put_constants_on_grid(rewriting, node)
    # An activation that belongs to the operator before it is that operator's business.
    fused = {fused_activation(node) for node in nodes}
    for node in nodes:
        if node.op_type in _RULES and node not in fused:
            _RULES[node.op_type](rewriting, node)
    for node in list(graph):
        if node.op_type in _REPAIRS:
            _REPAIRS[node.op_type](rewriting, node)
    _tell_weights_apart(rewriting)
    _save_biases_from_truncation(rewriting)
    unify_types(rewriting)
    return rewriting


def _separate_outputs(rewriting: Rewriting) -> None:
    """An output that is an input is no business of MNN's, which has one tensor by that name."""
    outputs = rewriting.model.graph.outputs
    for value in [value for value in outputs if value.is_graph_input()]:
        outputs.remove(value)


def _tell_weights_apart(rewriting: Rewriting) -> None:
    """Makes the weights of quantized convolutions differ by less than any of them is rounded by.

    MNN stores equal constants once, and computes a convolution in float whose weight is not its own.
    """
    seen: Counter[bytes] = Counter()
    for node in rewriting.model.graph:
        weight = node.inputs[1] if node.op_type == "Conv" else None
        array = constant(weight)
        if weight is None or array is None or weight.name not in rewriting.quantization:
            continue
        key = hashlib.sha256(array.tobytes()).digest()
        count, seen[key] = seen[key], seen[key] + 1
        if count:
            name = f"{node.outputs[0].name}/own"
            factor = 1 + count % _MOST_ALIKE * np.finfo(np.float32).eps
            rewriting.quantization[name] = rewriting.of(weight)
            node.replace_input_with(1, rewriting.constant(name, (array * factor).astype(np.float32)))


def _save_biases_from_truncation(rewriting: Rewriting) -> None:
    """Rule 5."""
    for node in rewriting.model.graph:
        bias = constant(input_of(node, 2)) if is_depthwise(node) else None
        names = [value.name or "" for value in (*node.inputs[:2], *node.outputs) if value is not None]
        if bias is None or any(name not in rewriting.quantization for name in names):
            continue
        data, weight = rewriting.of(node.inputs[0]), rewriting.of(node.inputs[1])
        step = data.scale.astype(np.float64) * weight.scale
        integers = np.rint(bias / step)
        beyond = (integers + 0.25 * np.sign(integers)) * step
        node.replace_input_with(2, rewriting.constant(f"{node.outputs[0].name}/bias_beyond", beyond.astype(np.float32)))


def _put_constants_on_grid(rewriting: Rewriting, node: ir.Node) -> None:
    if node.op_type not in WEIGHTED | RECURRENT | {"Gather"}:
        return
    for value in node.inputs[:1] if node.op_type == "Gather" else node.inputs[1:]:
        real = rewriting.real(value)
        if value is not None and real is not None and constant(value) is not real:
            value.const_value = ir.tensor(real, name=value.name)
