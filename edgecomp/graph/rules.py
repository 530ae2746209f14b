"""onnxscript's rewrite rules, by the operator that each one's pattern ends in.

onnxscript tries every rule on every node; a table makes that a few rules for a few nodes. Left out is the rule that
joins two Slices to a Split: it looks at all nodes for each, and no runtime gains by it. Left out, too, are those that
drop additions of 0 and products with 1: they take 1e-10 for 0, which a logarithm behind does not (`affine` is exact).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx_ir as ir
from onnxscript import optimizer
from onnxscript.rewriter import RewriteRule
from onnxscript.rewriter.rules import common as rules

_HARDSWISH = tuple(rules.fuse_hardswish_rules())

RULES: dict[str, tuple[RewriteRule, ...]] = {
    "Add": (rules.matmul_add_to_gemm_rule, rules.transpose_b_matmul_add_to_gemm_rule),
    "Cast": (
        rules.cast_constant_of_shape_rule,
        rules.cast_constant_of_shape_without_value_rule,
        rules.cast_cast_rule,
        rules.no_op_cast_rule,
    ),
    "Clip": (rules.successive_clip_relu_rule, rules.successive_clip_rule),
    "Conv": (
        rules.normalize_pad_format_conv_rule,
        rules.fuse_pad_into_conv_rule,
        rules.remove_optional_bias_from_conv_rule,
    ),
    "ConvTranspose": (rules.remove_optional_bias_from_conv_transpose_rule,),
    "Div": _HARDSWISH,
    "Dropout": (rules.dropout_zero_rule, rules.dropout_inference_rule),
    "Expand": (rules.no_op_expand_rule,),
    "Flatten": (rules.flatten_to_reshape_rule,),
    "Gemm": (rules.remove_optional_bias_from_gemm_rule,),
    "Max": (rules.max_max_rule, rules.min_max_rule),
    "Min": (rules.min_min_rule, rules.max_min_rule),
    "Mul": _HARDSWISH,
    "Relu": (rules.successive_relu_clip_rule, rules.successive_relu_rule),
    "Reshape": (
        rules.one_reshape_matmul_reshape_rule,
        rules.two_reshapes_matmul_reshape_rule,
        rules.materialize_reshape_shape_rule,
        rules.reshape_reshape_rule,
        rules.squeeze_reshape_1d_rule,
    ),
    "ScatterND": (rules.no_op_dynamic_scatter_nd_rule, rules.no_op_static_scatter_nd_rule),
    "Slice": (rules.collapse_slice_rule, rules.collapse_slice2_rule),
    "Transpose": (rules.no_op_transpose_rule, rules.transpose_transpose_rule),
    "Unsqueeze": (rules.unsqueeze_unsqueeze_rule,),
}


def apply_rules(model: ir.Model) -> bool:
    """Tries the rules on every node once, in topological order; returns whether one applied."""
    graph, changed = model.graph, False
    for node in graph:
        for rule in RULES.get(node.op_type, ()):
            found = rule.try_rewrite(model, graph, node)
            if found is None:
                continue
            _register(graph, found.new_initializers)
            optimizer.basic_constant_propagation(found.new_nodes)
            removed = found.match.nodes if rule.remove_nodes else []
            _inherit(found.new_nodes, found.match.nodes, removed)
            ir.convenience.replace_nodes_and_values(
                graph, node, removed, found.new_nodes, found.match.outputs, found.new_outputs
            )
            changed = True
            break
    return changed


def _register(graph: ir.Graph, initializers: Iterable[ir.Value]) -> None:
    for initializer in initializers:
        while initializer.name in graph.initializers:  # rules reuse the name of what they read
            initializer.name = f"{initializer.name}/folded"
        graph.register_initializer(initializer)


def _inherit(made: Sequence[ir.Node], matched: Sequence[ir.Node], removed: Sequence[ir.Node]) -> None:
    """Gives new nodes the names of those they replace, and the module that the first part of the match came from."""
    names = {old.op_type: old.name for old in removed}
    for new in made:
        for old in reversed(matched):
            for key, value in old.metadata_props.items():
                new.metadata_props.setdefault(key, value)
        new.name = new.name or names.pop(new.op_type, None)
