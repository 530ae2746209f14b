"""Makes a raw exported graph small and regular, without changing what it computes.

Most of the work is onnxscript's; this module fixes the order, adds the fusions that on-device runtimes have single
operators for, and leaves every node and value named and every shape inferred.
"""

from __future__ import annotations

import onnx_ir as ir
import onnx_ir.passes.common as common
from onnxscript import optimizer
from onnxscript.rewriter import RewritePass, RewriteRule
from onnxscript.rewriter.rules.common import (
    affine_conv_fusion_rule,
    conv_affine_fusion_rule,
    fuse_hardswish_rules,
    matmul_add_to_gemm_rule,
    transpose_b_matmul_add_to_gemm_rule,
)

from edgecomp.graph.fusions import FUSIONS
from edgecomp.model import CompressedModel, Step


RULES: tuple[RewriteRule, ...] = (
    conv_affine_fusion_rule,
    affine_conv_fusion_rule,
    matmul_add_to_gemm_rule,
    transpose_b_matmul_add_to_gemm_rule,
    *fuse_hardswish_rules(),
    *FUSIONS,
)


def simplify(model: CompressedModel) -> CompressedModel:
    """Folds constants and BatchNorm, fuses patterns into single operators, drops dead code, infers shapes.

    Args:
        model: Any float graph with static input shapes. Entries of its quantization table whose tensor disappears are
            dropped.

    Returns:
        A model whose graph has unique node and value names and no Constant, Identity, Dropout or BatchNormalization
        node that could be folded.
    """
    graph = model.graph.clone()
    before = len(graph.graph)
    # should_fold: the graph is frozen, so everything that is constant is folded, whatever onnxscript's default says.
    optimizer.optimize_ir(graph, should_fold=lambda _: True)
    RewritePass(RULES)(graph)
    optimizer.optimize_ir(graph, should_fold=lambda _: True, inline=False)
    common.IdentityEliminationPass()(graph)
    common.RemoveUnusedNodesPass()(graph)
    common.ShapeInferencePass()(graph)
    common.TopologicalSortPass()(graph)
    common.NameFixPass()(graph)
    alive = {value.name for node in graph.graph for value in (*node.inputs, *node.outputs) if value is not None}
    alive |= {value.name for value in (*graph.graph.inputs, *graph.graph.outputs)}
    quantization = {name: entry for name, entry in model.quantization.items() if name in alive}
    step = Step("simplify", facts={"nodes_before": before, "nodes_after": len(graph.graph)})
    return model.after(step, graph=graph, quantization=quantization)
