"""What is said of operators in float, and whose choice that was."""

from collections import Counter

import onnx_ir as ir
import pytest

from edgecomp.model import CompressedModel, Step
from edgecomp.quantization.float_share import FloatShare, reason_in_float


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (0, "by the rules of the scheme: 2 Conv, 1 Gelu."),
        (3, "by mixed precision: 2 Conv, 1 Gelu."),
        (1, "by mixed precision and the rules of the scheme: 2 Conv, 1 Gelu."),
    ],
)
def test_a_note_says_who_keeps_operators_in_float(chosen: int, words: str) -> None:
    share = FloatShare(0.25, Counter({"Conv": 2, "Gelu": 1}), 9, chosen)
    assert str(share) == f"3 of 9 operators with 25.0% of the multiplications compute in float, {words}"


def test_what_mixed_precision_chose_is_not_the_scheme_s_doing() -> None:
    graph = ir.Model(ir.Graph([], [], nodes=[], opset_imports={"": 20}), ir_version=10)
    model = CompressedModel(graph, provenance=(Step("mixed-precision", facts={"kept_in_float": ["head"]}),))
    assert reason_in_float(model, "head", "Gemm") == "mixed precision keeps it in float"
    assert reason_in_float(model, "norm", "LayerNormalization") == "the portable scheme keeps it in float"
