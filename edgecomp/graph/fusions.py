"""Patterns that exporters spell out and on-device runtimes have one operator for."""

from __future__ import annotations

import math
from typing import Any

import onnx_ir as ir
from onnxscript.rewriter import MatchResult, RewriteRule, pattern

from edgecomp.graph.query import constant


def _is_scalar(value: ir.Value | None, expected: float) -> bool:
    array = constant(value)
    return array is not None and array.size == 1 and math.isclose(float(array.reshape(-1)[0]), expected, rel_tol=1e-4)


class GeluFusion(pattern.RewriteRuleClassBase):
    """x * 0.5 * (1 + erf(x / sqrt(2))) -> Gelu(x) (Hendrycks and Gimpel, 2016), in the factor order of torch.

    Gelu joined ONNX in opset 20; older graphs take ONNX Runtime's operator of the same name and meaning.
    """

    def pattern(self, op: Any, x: Any, sqrt2: Any, one: Any, half: Any) -> Any:
        return (x * (op.Erf(x / sqrt2) + one)) * half

    def check(self, context: Any, sqrt2: ir.Value, one: ir.Value, half: ir.Value, **_: Any) -> MatchResult:
        result = MatchResult()
        if not (_is_scalar(sqrt2, math.sqrt(2)) and _is_scalar(one, 1.0) and _is_scalar(half, 0.5)):
            return result.fail("the constants are not those of GELU")
        return result

    def rewrite(self, op: Any, x: ir.Value, **_: Any) -> Any:
        return op.Gelu(x, _domain="com.microsoft")


FUSIONS: tuple[RewriteRule, ...] = (GeluFusion.rule(),)
