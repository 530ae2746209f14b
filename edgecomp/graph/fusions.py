"""GELU, which exporters spell out in a dozen ways and on-device runtimes have one operator for.

gelu(x) = x/2 (1 + erf(x / sqrt 2)), and its approximation x/2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) (Hendrycks
and Gimpel, 2016). A product is taken as a set of factors, so that the order and the grouping do not matter.

LayerNorm and SiLU stay spelled out: TFLite has operators for their parts only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from edgecomp.graph.query import constant, is_float
from edgecomp.graph.values import take_place

_TANH_SCALE, _TANH_CUBE = math.sqrt(2 / math.pi), 0.044715

#: The first opset with a Gelu. Older graphs take ONNX Runtime's operator of the same name, which knows erf only.
_GELU_OPSET = 20


@dataclass
class _Product:
    """factor * values[0] * values[1] * ..., and what lies between the factors and the result."""

    factor: float = 1.0
    values: list[ir.Value] = field(default_factory=list)
    inner: list[ir.Value] = field(default_factory=list)


def fuse_gelu(model: ir.Model) -> bool:
    """Replaces every spelled-out GELU, in place; returns whether there was one."""
    graph, changed = model.graph, False
    for node in graph:
        if node.op_type == "Mul" and node.domain == "" and is_float(node.outputs[0]):
            changed |= _fuse(graph, node)
    return changed


def _fuse(graph: ir.Graph, node: ir.Node) -> bool:
    product = _product(node.outputs[0])
    if len(product.values) != 2 or not math.isclose(product.factor, 0.5, rel_tol=1e-4):
        return False
    for x, gate in (product.values, reversed(product.values)):
        inner: list[ir.Value] = [*product.inner, gate]
        form = _form(x, gate, inner)
        # An inner value that the graph gives out has to be computed anyway.
        if form is None or any(value.is_graph_output() for value in inner):
            continue
        if (graph.opset_imports.get("", 0)) >= _GELU_OPSET:
            gelu = ir.node("Gelu", [x], {"approximate": form}, name=node.name)
        elif form == "none":
            gelu = ir.node("Gelu", [x], domain="com.microsoft", name=node.name)
            graph.opset_imports["com.microsoft"] = 1
        else:
            continue
        gelu.metadata_props.update(node.metadata_props)
        old, new = node.outputs[0], gelu.outputs[0]
        new.shape, new.type = old.shape, old.type
        graph.insert_before(node, gelu)
        take_place(new, old)
        graph.remove(node, safe=True)
        return True
    return False


def _form(x: ir.Value, gate: ir.Value, inner: list[ir.Value]) -> str | None:
    """Which GELU `gate` belongs to, as ONNX's attribute "approximate" calls it; None for neither."""
    curve = _plus_scalar(gate, 1.0)
    producer = curve.producer() if curve is not None else None
    if curve is None or producer is None or producer.op_type not in {"Erf", "Tanh"}:
        return None
    argument = producer.inputs[0]
    assert argument is not None
    inner += [curve, argument]
    scaled = _product(argument)
    inner += scaled.inner
    if producer.op_type == "Erf":
        return "none" if _is_power(scaled, x, 1, math.sqrt(0.5)) else None
    # sqrt(2 / pi) (x + c x^3), or the same with x taken out: sqrt(2 / pi) x (1 + c x^2)
    if not math.isclose(scaled.factor, _TANH_SCALE, rel_tol=1e-4):
        return None
    rest = [value for value in scaled.values if value is not x]
    if len(rest) != 1:
        return None
    inner += rest
    if len(scaled.values) == 2:
        square = _plus_scalar(rest[0], 1.0)
        return "tanh" if square is not None and _is_power(_product(square), x, 2, _TANH_CUBE) else None
    total = rest[0].producer()
    if total is None or total.op_type != "Add" or x not in total.inputs:
        return None
    cube = next((value for value in total.inputs if value is not x), None)
    return "tanh" if cube is not None and _is_power(_product(cube), x, 3, _TANH_CUBE) else None


def _product(value: ir.Value) -> _Product:
    """The factors that a tree of Mul, Div by a scalar and Pow by a small whole number multiplies."""
    result = _Product()
    pending = [value]
    while pending:
        each = pending.pop()
        number = _scalar(each)
        parts, divisor = _factors(each.producer()) if len(result.inner) < 8 else ((), 1.0)
        if number is not None:
            result.factor *= number
        elif parts:
            result.factor /= divisor
            result.inner.append(each)
            pending.extend(part for part in parts if part is not None)
        else:
            result.values.append(each)
    result.inner = [inner for inner in result.inner if inner is not value]
    return result


def _factors(node: ir.Node | None) -> tuple[Sequence[ir.Value | None], float]:
    """What a node multiplies, and the number that it divides by; nothing for another kind of node."""
    if node is None or node.domain != "":
        return (), 1.0
    second = _scalar(node.inputs[1]) if len(node.inputs) > 1 else None
    if node.op_type == "Mul":
        return node.inputs, 1.0
    if node.op_type == "Div" and second:
        return node.inputs[:1], second
    if node.op_type == "Pow" and second in {2.0, 3.0}:
        return [node.inputs[0]] * int(second or 0), 1.0
    return (), 1.0


def _is_power(product: _Product, x: ir.Value, power: int, factor: float) -> bool:
    same = len(product.values) == power and all(value is x for value in product.values)
    return same and math.isclose(product.factor, factor, rel_tol=1e-4)


def _plus_scalar(value: ir.Value, expected: float) -> ir.Value | None:
    """The other operand of an Add of a scalar."""
    node = value.producer()
    if node is None or node.op_type != "Add":
        return None
    for index in (0, 1):
        number = _scalar(node.inputs[index])
        if number is not None and math.isclose(number, expected, rel_tol=1e-4):
            return node.inputs[1 - index]
    return None


def _scalar(value: ir.Value | None) -> float | None:
    array = constant(value)
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None
