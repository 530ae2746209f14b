"""Torch modules: what becomes of them, and what is said about those that cannot be used."""

import logging
import warnings
from collections import namedtuple

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from torch import nn

from edgecomp.errors import ExportError, SourceError
from edgecomp.frontends import load_source
from edgecomp.frontends.torch_module import hash_state
from edgecomp.shapes import parse_shapes

Pair = namedtuple("Pair", ["scores", "state"])


class Cnn(nn.Module):
    """BatchNorm, a residual, a depthwise convolution, and convolutions in containers that are never called."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU6())
        self.parts = nn.ModuleDict({"left": nn.ModuleList([nn.Conv2d(8, 8, 3, padding=1, groups=8)])})
        self.other = nn.ModuleDict({"left": nn.ModuleList([nn.Conv2d(8, 8, 1)])})
        self.norm = nn.BatchNorm2d(8)
        self.act = nn.GELU()
        self.head = nn.Linear(8, 4)

    def forward(self, image):
        x = self.stem(image)
        x = x + self.act(self.norm(self.parts["left"][0](x)))
        x = self.other["left"][0](x)
        return self.head(x.mean((2, 3)))


class Mixer(nn.Module):
    """Two inputs; a dictionary with a list, None and an input among the outputs."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(6)
        self.fc = nn.Linear(6, 3)

    def forward(self, words, gain):
        x = self.norm(words) * gain
        return {"logits": self.fc(x), "hidden": [x, None], "gain": gain}


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 6, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(12, 2)

    def forward(self, sound):
        out, (hidden, _) = self.lstm(sound)
        return Pair(self.fc(out[:, -1]), hidden)


class Inside(nn.Module):
    """Any module, one level down."""

    def __init__(self, inner):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), inner)

    def forward(self, x):
        return self.body(x)


def modules_of(source, op_type):
    return [node.metadata_props["edgecomp.module"] for node in source.graph.graph if node.op_type == op_type]


def outputs_of(source):
    return [(value.name, tuple(value.shape)) for value in source.graph.graph.outputs]


def assert_agrees(source):
    import onnxruntime

    serialized = ir.to_proto(source.graph).SerializeToString()
    session = onnxruntime.InferenceSession(serialized, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    random = np.random.default_rng(7)
    inputs = tuple(random.random(spec.shape).astype(spec.dtype) for spec in source.input_specs)
    for expected, actual in zip(
        source.reference(inputs), session.run(None, dict(zip(names, inputs, strict=True))), strict=True
    ):
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4)


def test_cnn_keeps_names_and_modules():
    source = load_source(Cnn(), example_inputs=(torch.rand(1, 3, 12, 12),))
    assert [spec.name for spec in source.input_specs] == ["image"]
    assert outputs_of(source) == [("output", (1, 4))]
    assert modules_of(source, "Conv") == ["stem.0", "parts.left.0", "other.left.0"]
    assert modules_of(source, "Gelu") == ["act"]
    assert modules_of(source, "Gemm") == ["head"]
    assert "parts.left.0.weight" in source.graph.graph.initializers
    assert source.step.facts["exporter"] == "torchscript"
    assert source.step.facts["difference"] < 1e-4
    assert source.notes == ()
    assert_agrees(source)


def test_node_and_value_names_are_unique_and_carry_nothing_of_this_machine():
    source = load_source(Cnn(), example_inputs=(torch.rand(1, 3, 12, 12),))
    nodes = [node.name for node in source.graph.graph]
    values = [output.name for node in source.graph.graph for output in node.outputs]
    assert len(set(nodes)) == len(nodes)
    assert len(set(values)) == len(values)
    assert __file__ not in str(ir.to_proto(source.graph))


def test_equal_modules_give_equal_graphs():
    module = Cnn()
    first, second = (load_source(module, example_inputs=(torch.ones(1, 3, 12, 12),)) for _ in range(2))
    assert ir.to_proto(first.graph).SerializeToString() == ir.to_proto(second.graph).SerializeToString()
    assert first.step == second.step


def test_two_inputs_and_dictionary():
    source = load_source(Mixer(), example_inputs=(torch.rand(2, 6), torch.rand(2, 1)))
    assert [(s.name, s.dtype, s.shape) for s in source.input_specs] == [
        ("words", "float32", (2, 6)),
        ("gain", "float32", (2, 1)),
    ]
    assert outputs_of(source) == [("logits", (2, 3)), ("hidden_0", (2, 6)), ("gain_output", (2, 1))]
    assert modules_of(source, "LayerNormalization") == ["norm"]
    assert_agrees(source)


def test_lstm_and_named_tuple():
    source = load_source(Recurrent(), example_inputs=(torch.rand(1, 7, 5),))
    assert outputs_of(source) == [("scores", (1, 2)), ("state", (2, 1, 6))]
    assert modules_of(source, "LSTM") == ["lstm"]
    assert source.step.facts["exporter"] == "torchscript"  # torch's own shape checks are no decisions on data
    assert_agrees(source)


def test_attention_layers_of_torch():
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    source = load_source(layer, example_inputs=torch.rand(1, 5, 16))
    assert source.step.facts["exporter"] == "torchscript"
    assert torch.backends.mha.get_fastpath_enabled()
    assert_agrees(source)


class Checked(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))

    def forward(self, x):
        if x.shape[1] != 3 or len(x) > 8:
            raise ValueError("three channels")
        missing = x.shape[3] % 4
        return self.conv(nn.functional.pad(x, (0, int(missing))) if missing > 0 else x)


def test_decisions_on_fixed_sizes_are_no_decisions_on_data():
    before = vars(torch.Tensor).copy()
    source = load_source(Checked(), example_inputs=(torch.rand(1, 3, 4, 6),))
    assert source.step.facts["exporter"] == "torchscript"
    assert not source.notes
    assert modules_of(source, "Conv") == ["conv.0"]
    assert dict(vars(torch.Tensor)) == before
    assert_agrees(source)


def test_decisions_on_dynamic_sizes_go_to_the_second_exporter():
    source = load_source(Checked(), example_inputs=(torch.rand(2, 3, 4, 4),), shapes=parse_shapes(["x=batch:2x3x4x4"]))
    assert source.step.facts["exporter"] == "torch.export"
    assert "Converting a tensor to a Python boolean" in source.notes[0]
    assert modules_of(source, "Conv") == ["conv.0"]
    assert list(source.graph.graph.initializers) == ["conv.0.weight", "conv.0.bias"]
    assert set(source.graph.graph[0].metadata_props) == {"edgecomp.module"}
    assert_agrees(source)


def test_control_flow_on_data_is_refused():
    class Flow(nn.Module):
        def forward(self, x):
            if x.sum() > 0:
                return x + 1
            return x - 1

    with pytest.raises(ExportError) as caught:
        load_source(Inside(Flow()), example_inputs=torch.rand(4, 4))
    error = caught.value
    assert error.exit_code == 2
    assert "control flow that depends on data in module 'body.1'" in error.subject
    assert "test_torch_source.py" in error.subject
    assert "torch.where" in error.cure


def test_conditional_that_torch_can_express_is_kept():
    class Cond(nn.Module):
        def forward(self, x):
            return torch.cond(x.sum() > 0, lambda y: y + 1, lambda y: y - 1, (x,))

    source = load_source(Cond(), example_inputs=torch.rand(3))
    assert [node.op_type for node in source.graph.graph if node.op_type == "If"] == ["If"]
    np.testing.assert_allclose(source.reference((-np.ones(3, np.float32),))[0], -2.0)


class Svd(nn.Module):
    def forward(self, x):
        return torch.linalg.svd(x)[1]


@torch.library.custom_op("edgecomp_test::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    return x * 2


@twice.register_fake
def _(x):
    return torch.empty_like(x)


class Custom(nn.Module):
    def forward(self, x):
        return torch.ops.edgecomp_test.twice(x)


@pytest.mark.parametrize(("inner", "operator"), [(Svd, "aten::linalg_svd"), (Custom, "edgecomp_test::twice")])
def test_operator_that_no_exporter_knows(inner, operator, capfd):
    with pytest.raises(ExportError) as caught:
        load_source(Inside(inner()), example_inputs=torch.rand(4, 4))
    error = caught.value
    assert error.exit_code == 2
    assert error.subject == f"Inside: torch operator {operator} in module 'body.1'"
    assert error.expected == "operators that ONNX can express"
    assert "torchscript: " in error.actual
    assert "torch.export: " in error.actual
    assert "replace the operator" in error.cure
    assert capfd.readouterr().out == ""  # native code prints the whole graph to stdout otherwise


def test_autograd_function_is_exported():
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clamp(0) * 2

        @staticmethod
        def backward(ctx, grad):
            return grad

    class Module(nn.Module):
        def forward(self, x):
            return Double.apply(x)

    assert_agrees(load_source(Module(), example_inputs=torch.rand(4)))


def test_module_is_left_as_it_was():
    module = Cnn()
    module.norm.eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    flags = [child.training for child in module.modules()]
    source = load_source(module, example_inputs=(torch.rand(2, 3, 12, 12),))
    source.reference(source.inputs)
    assert [child.training for child in module.modules()] == flags
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in module.modules())


def test_counter_in_a_buffer_is_restored():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return x * 2

    module = Counting()
    load_source(module, example_inputs=torch.rand(3))
    assert module.calls == 0


def test_reference_does_not_write_to_its_inputs():
    class InPlace(nn.Module):
        def forward(self, x):
            return x.mul_(2)

    source = load_source(InPlace(), example_inputs=torch.ones(3))
    source.reference(source.inputs)
    np.testing.assert_array_equal(source.inputs[0], 1)


def test_users_own_warnings_reach_the_user_once_and_the_exporters_do_not():
    class Warner(nn.Module):
        def forward(self, x):
            warnings.warn("mine", UserWarning, stacklevel=1)
            return x * 2

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        load_source(Warner(), example_inputs=torch.rand(3))
    assert [str(warning.message) for warning in caught] == ["mine"]


def test_logging_levels_are_untouched():
    before = logging.getLogger("torch.onnx").level
    load_source(Cnn(), example_inputs=(torch.rand(1, 3, 12, 12),))
    assert logging.getLogger("torch.onnx").level == before


def test_hash_depends_on_every_value():
    module = Cnn()
    before = hash_state(module.state_dict())
    with torch.no_grad():
        module.head.bias[0] += 1
    assert hash_state(module.state_dict()) != before
    assert hash_state({"half": torch.zeros(3, dtype=torch.bfloat16), "scalar": torch.zeros(())})


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_bad_parameter_is_named(bad):
    module = Cnn()
    with torch.no_grad():
        module.parts["left"][0].weight[0, 0, 0, 0] = bad
    with pytest.raises(SourceError) as caught:
        load_source(module, example_inputs=(torch.rand(1, 3, 12, 12),))
    assert caught.value.exit_code == 2
    assert caught.value.subject == "Cnn: parameter 'parts.left.0.weight'"
    assert caught.value.actual == "1 of 72 are NaN or infinite"
    assert "train or load" in caught.value.cure


def test_buffer_may_hold_infinity_but_not_nan():
    class Masked(nn.Module):
        def __init__(self, value):
            super().__init__()
            self.register_buffer("mask", torch.tensor([0.0, value]))

        def forward(self, x):
            return torch.softmax(x + self.mask, -1)

    load_source(Masked(float("-inf")), example_inputs=torch.rand(1, 2))
    with pytest.raises(SourceError, match="buffer 'mask'"):
        load_source(Masked(float("nan")), example_inputs=torch.rand(1, 2))


class Log(nn.Module):
    def forward(self, x):
        return {"log": torch.log(x - 2)}


class Dropping(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.5, training=True)


class Number(nn.Module):
    def forward(self, x):
        return x, 3


class Nothing(nn.Module):
    def forward(self, x):
        return {"nothing": None}


class Raising(nn.Module):
    def forward(self, x):
        raise KeyError("lost")


@pytest.mark.parametrize(
    ("module", "examples", "subject", "actual", "cure"),
    [
        (Log(), torch.rand(64), "Log: output 'log'", "64 of 64 are NaN", "example inputs"),
        (Dropping(), torch.rand(64), "Dropping: output 'output'", "two runs in eval mode", "randomness"),
        (Number(), torch.rand(4), "Number: what forward returns", "output_1 is of type int", "wrap the model"),
        (Nothing(), torch.rand(4), "Nothing: what forward returns", "no tensor", "wrap the model"),
        (Raising(), torch.rand(4), "Raising: the module on its example inputs", "KeyError: 'lost' (", "on the CPU"),
        (
            Cnn(),
            (torch.rand(1, 4, 9, 9),),
            "Cnn: the module on its example inputs",
            "RuntimeError: Given groups",
            "CPU",
        ),
        (Cnn(), (), "Cnn: example_inputs()", "nothing", "torch.rand(1, 3, 224, 224)"),
        (Cnn(), {"image": 1}, "Cnn: example_inputs()", "a dict", "torch.rand(1, 3, 224, 224)"),
        (Cnn(), ("cat.jpg",), "Cnn: example_inputs()", "item 0 is a str", "torch.rand(1, 3, 224, 224)"),
        (Log(), torch.tensor([float("nan")]), "Log: example_inputs()", "item 0 holds NaN", "return for example"),
        (Log(), torch.ones(1, dtype=torch.bfloat16), "Log: example_inputs()", "bfloat16", "return for example"),
        (Cnn(), None, "Cnn", "none", "example_inputs="),
    ],
)
def test_unusable_module_or_examples(module, examples, subject, actual, cure):
    with pytest.raises(SourceError) as caught:
        load_source(module, example_inputs=examples)
    error = caught.value
    assert error.exit_code == 2
    assert error.subject == subject
    assert actual in error.actual
    assert cure in error.cure


def test_shapes_can_only_confirm_the_examples():
    examples = (torch.rand(1, 3, 12, 12),)
    load_source(Cnn(), example_inputs=examples, shapes={"image": (1, 3, 12, 12)})
    with pytest.raises(SourceError, match="1x3x12x12, the shape of the example input"):
        load_source(Cnn(), example_inputs=examples, shapes={"image": (1, 3, 24, 24)})
    with pytest.raises(SourceError, match="no input is called 'picture'") as caught:
        load_source(Cnn(), example_inputs=examples, shapes={"picture": (1, 3, 12, 12)})
    assert caught.value.expected == "the name of an input: image"


def test_graphs_that_disagree_are_refused(monkeypatch):
    from edgecomp.frontends import runtime, torch_export

    monkeypatch.setattr(torch_export, "_capture", torch_export._trace)  # saves the seconds that the other one takes
    differences = iter([0.0, 0.5, 0.25])  # repeatable, then wrong from both exporters
    monkeypatch.setattr(runtime, "difference", lambda left, right: next(differences))
    with pytest.raises(ExportError) as caught:
        load_source(Log(), example_inputs=torch.full((3,), 4.0))
    assert caught.value.expected == "a graph that agrees with the module within 0.0001 of each output's range"
    assert "torchscript: output 'log' differs from the module's by 0.5 of its range" in caught.value.actual
    assert "torch.export: output 'log' differs from the module's by 0.25 of its range" in caught.value.actual
    assert "randomness" in caught.value.cure


def test_neither_exporter_works(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("out of order\nsecond line")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(ExportError) as caught:
        load_source(Log(), example_inputs=torch.full((3,), 4.0))
    assert caught.value.actual == "torchscript: out of order; torch.export: out of order"
    assert ".onnx file" in caught.value.cure


def test_other_objects_are_refused():
    with pytest.raises(SourceError, match="a source of type dict"):
        load_source({"weight": 1})


def test_graph_keeps_the_specification():
    source = load_source(Mixer(), example_inputs=(torch.rand(2, 6), torch.rand(2, 1)))
    onnx.checker.check_model(ir.to_proto(source.graph), full_check=True)
    assert source.graph.opset_imports == {"": 20}
    assert "graph" not in repr(source)
