"""Small valid models of every kind that the frontend treats in its own way; what `mutation` starts from."""

from __future__ import annotations

import functools

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

_TEXTS = {
    "cnn": """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[1,3,8,8] x) => (float[1,4] y) {
            c = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w, bias)
            r = Relu (c)
            p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
            m = GlobalAveragePool (p)
            f = Flatten (m)
            y = Softmax (f)
        }""",
    "arithmetic": """
        <ir_version: 7, opset_import: ["" : 12]>
        g (float[2,6] x, float[1,6] z) => (float[2,6] y, float[2,1] s) {
            a = Add (x, z)
            m = Mul (a, x)
            c = Clip (m, low, high)
            y = Sigmoid (c)
            s = ReduceSum <axes = [1], keepdims = 1> (y)
        }""",
    "movement": """
        <ir_version: 8, opset_import: ["" : 13]>
        g (float[batch,4,6] x) => (float[batch,a,b] y) {
            t = Transpose <perm = [0, 2, 1]> (x)
            s = Slice (t, starts, ends, axes)
            p, q = Split <axis = 1> (s)
            c = Concat <axis = 2> (p, q)
            y = Reshape (c, shape)
        }""",
    "quantized": """
        <ir_version: 8, opset_import: ["" : 13]>
        g (float[1,4] x) => (float[1,4] y) {
            q = QuantizeLinear (x, scale, zero)
            d = DequantizeLinear (q, scale, zero)
            m = MatMul (d, square)
            r = QuantizeLinear (m, scale, zero)
            y = DequantizeLinear (r, scale, zero)
        }""",
    "lookup": """
        <ir_version: 8, opset_import: ["" : 18]>
        g (int64[1,5] ids) => (float[1,5,6] y) {
            e = Gather (table, ids)
            n = LayerNormalization <axis = -1, epsilon = 1e-5> (e, gain)
            k = Cast <to = 1> (ids)
            u = Unsqueeze (k, axes)
            y = Mul (n, u)
        }""",
    "choice": """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[3] x) => (float[3] y) {
            z = If (yes) <
                then_branch = first () => (float[3] a) { a = Neg (x) },
                else_branch = second () => (float[3] b) { b = Abs (x) }
            >
            y = Exp (z)
        }""",
    "loop": """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[3] x) => (float[3] y, float[4,3] all) {
            y, all = Loop (four, yes, x) <
                body = turn (int64 i, bool go, float[3] a) => (bool on, float[3] b, float[3] c) {
                    on = Identity (go)
                    b = Mul (a, x)
                    c = Neg (b)
                }
            >
        }""",
    "recurrent": """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[5,1,6] x, float[1,1,4] h) => (float[5,1,4] y, float[1,1,4] last) {
            s, last = GRU <hidden_size = 4, linear_before_reset = 1> (x, input_weight, state_weight, gates, , h)
            y = Squeeze (s, axes)
        }""",
    "attention": """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[batch,5,6] x) => (float[batch,5,6] y) {
            k = Transpose <perm = [0, 2, 1]> (x)
            m = MatMul (x, k)
            l = Shape <start = 1, end = 2> (x)
            p = Concat <axis = 0> (l, l)
            e = ConstantOfShape <value = float[1] {-10000.0}> (p)
            u = Trilu <upper = 1> (e, above)
            b = Add (m, u)
            v = Softmax <axis = -1> (b)
            y = MatMul (v, x)
        }""",
    "ranking": """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[1,9] likely, float[1,9,4] boxes) => (float[1,3] scores, float[1,3,4] best) {
            scores, places = TopK <axis = 1> (likely, three)
            u = Unsqueeze (places, back)
            e = Expand (u, spread)
            best = GatherElements <axis = 1> (boxes, e)
        }""",
    "function": """
        <ir_version: 8, opset_import: ["" : 17, "local" : 1]>
        g (float[2,2] x) => (float[2,2] y) {
            y = local.Twice (x)
        }
        <domain: "local", opset_import: ["" : 17]>
        Twice (a) => (b) { b = Add (a, a) }""",
}


def _constants() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(0, 0.5, shape).astype(np.float32)  # noqa: E731
    return {
        "w": draw(4, 3, 3, 3),
        "bias": draw(4),
        "low": np.float32(-1),
        "high": np.float32(2),
        "starts": np.array([0]),
        "ends": np.array([4]),
        "axes": np.array([1]),
        "shape": np.array([0, -1, 4]),
        "scale": np.float32(0.05),
        "zero": np.int8(3),
        "square": draw(4, 4),
        "table": draw(7, 6),
        "gain": draw(6),
        "yes": np.array(True),
        "input_weight": draw(1, 12, 6),
        "state_weight": draw(1, 12, 4),
        "gates": draw(1, 24),
        "four": np.array(4),
        "above": np.array(1),
        "three": np.array([3]),
        "back": np.array([2]),
        "spread": np.array([1, 3, 4]),
    }


@functools.cache
def models() -> dict[str, onnx.ModelProto]:
    """The models by name; each is valid."""
    found, constants = {}, _constants()
    for name, text in _TEXTS.items():
        model = onnx.parser.parse_model(text)
        used = {entry for node in model.graph.node for entry in node.input}
        wanted = {key: np.asarray(array) for key, array in constants.items() if key in used}
        if name == "lookup":
            wanted["axes"] = np.array([2])
        model.graph.initializer.extend(numpy_helper.from_array(array, key) for key, array in wanted.items())
        onnx.checker.check_model(model, full_check=True)
        found[name] = model
    return found
