"""Models with dynamic dimensions: every format computes what the source does, at sizes that nothing was prepared at."""

import numpy as np
import pytest
import torch
from dynamic_nets import MODELS, classifier, halved, integers, lengths, pyramid, save, states, weights, windows

import edgecomp
from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.frontends import load_source
from edgecomp.frontends.torch_module import load_module
from edgecomp.graph.binding import bind
from edgecomp.graph.dynamic import simplify_dynamic
from edgecomp.graph.sizes import unseen
from edgecomp.model import CompressedModel
from edgecomp.quantization.half import round_to_half
from edgecomp.quantization.simulation import Simulation
from edgecomp.quantization.static import quantize_static
from edgecomp.quantization.weights import DynamicInt8, WeightInt4, WeightInt8, quantize_weights
from edgecomp.recipe import Recipe
from edgecomp.shapes import Symbol, parse_shapes

FORMATS = ("tflite", "onnxruntime", "ort", "mnn")
_random = np.random.default_rng(0)


def prepared(name, folder):
    make, shapes = MODELS[name]
    save(make, folder / f"{name}.onnx")
    source = load_source(folder / f"{name}.onnx", shapes=parse_shapes(shapes))
    return source, simplify_dynamic(CompressedModel(source.graph, dynamic=source.dynamic), source.inputs)


def inputs_at(source, model, sizes):
    wanted = model.dynamic.at(sizes)
    return [_random.random(wanted[spec.name]).astype(np.float32) for spec in source.input_specs]


def convert(model, format_, folder):
    converter = load_converter(format_)
    conversion = converter.convert(model, folder / f"model{converter.suffixes[0]}", ConversionOptions())
    assert conversion.notes == ()
    return edgecomp.load(conversion.path)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("name", MODELS)
def test_any_size(name, format_, tmp_path):
    source, model = prepared(name, tmp_path)
    assert set(model.dynamic.example) == set(source.dynamic.example)
    artifact = convert(model, format_, tmp_path)
    other = unseen(model.dynamic.example, model.dynamic.bindings)
    for sizes in ({}, other, model.dynamic.bindings[0], {}):
        inputs = inputs_at(source, model, sizes)
        given = artifact.predict(inputs)
        for expected, actual in zip(source.reference(tuple(inputs)), given.values(), strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("name", MODELS)
def test_odd_sizes_large_and_small_by_turns(name, format_, tmp_path):
    """One loaded artifact: a size that divides nothing, four times the example, few elements, and back."""
    source, model = prepared(name, tmp_path)
    artifact = convert(model, format_, tmp_path)
    example = model.dynamic.example
    odd = {each: 13 + 2 * place for place, each in enumerate(example)}
    for sizes in (odd, {each: 4 * size for each, size in example.items()}, dict.fromkeys(example, 5), odd, example):
        inputs = inputs_at(source, model, sizes)
        given = artifact.predict(inputs)
        for expected, actual in zip(source.reference(tuple(inputs)), given.values(), strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_a_file_that_holds_at_multiples_only_says_so_and_takes_no_other_size(tmp_path):
    save(halved, tmp_path / "net.onnx")
    source = load_source(tmp_path / "net.onnx", shapes=parse_shapes(["x=?x3x?:32x?:48"]))
    model = simplify_dynamic(CompressedModel(source.graph, dynamic=source.dynamic), source.inputs)
    assert model.dynamic.multiples == {}
    converter = load_converter("tflite")
    conversion = converter.convert(model, tmp_path / "model.tflite", ConversionOptions())
    assert [note.partition(",")[0] for note in conversion.notes] == [
        "The .tflite file takes the dimension 'h' in multiples of 32 only",
        "The .tflite file takes the dimension 'w' in multiples of 16 only",
    ]
    artifact = edgecomp.load(conversion.path)
    for sizes in ({"n": 3, "h": 96, "w": 16}, {"n": 1, "h": 32, "w": 160}):
        inputs = inputs_at(source, model, sizes)
        (actual,) = artifact.predict(inputs).values()
        np.testing.assert_allclose(actual, source.reference(tuple(inputs))[0], rtol=1e-4, atol=1e-4)
    with pytest.raises(edgecomp.EdgecompError) as caught:
        artifact.predict(np.zeros((1, 3, 33, 48), np.float32))
    assert caught.value.expected == "x of shape (any, 3, any multiple of 32, any multiple of 16)"


@pytest.mark.parametrize("format_", FORMATS)
def test_a_size_that_a_runtime_cannot_compute_at_is_an_error_and_no_old_answer(format_, tmp_path):
    """Rows in pairs: the source itself takes no odd number of them."""
    text = """
        net (float[n, 6] x) => (float[m, 4] y) {
            r = Reshape(x, pairs)
            y = MatMul(r, w)
        }
    """
    save(lambda: (text, [*weights(w=(12, 4)), *integers(pairs=[-1, 12])]), tmp_path / "net.onnx")
    source = load_source(tmp_path / "net.onnx", shapes=parse_shapes(["x=?:16x6"]))
    model = simplify_dynamic(CompressedModel(source.graph, dynamic=source.dynamic), source.inputs)
    assert (model.dynamic.odd, model.dynamic.multiples) == (frozenset(), {})
    artifact = convert(model, format_, tmp_path)
    for size in (16, 6, 40):
        inputs = inputs_at(source, model, {"n": size})
        (actual,) = artifact.predict(inputs).values()
        np.testing.assert_allclose(actual, source.reference(tuple(inputs))[0], rtol=1e-4, atol=1e-4)
        with pytest.raises(edgecomp.EdgecompError) as caught:
            artifact.predict(inputs[0][1:])
        assert (caught.value.exit_code, caught.value.subject) == (2, f"inputs of shape ({size - 1}, 6)")


@pytest.mark.parametrize("format_", ["tflite", "onnxruntime"])
def test_sequences_that_end_at_any_length(format_, tmp_path):
    save(lengths, tmp_path / "net.onnx")
    source = load_source(tmp_path / "net.onnx", shapes=parse_shapes(["x=?:16x?:2x6", "ends=?:2"]))
    model = simplify_dynamic(CompressedModel(source.graph, dynamic=source.dynamic), source.inputs)
    artifact = convert(model, format_, tmp_path)
    for steps, batch in ((16, 2), (7, 3), (1, 1), (51, 4), (7, 3)):
        x, _ = inputs_at(source, model, {"t": steps, "n": batch})
        ends = np.arange(steps, steps - batch, -1).clip(1).astype(np.int32)
        (actual,) = artifact.predict([x, ends]).values()
        np.testing.assert_allclose(actual, source.reference((x, ends))[0], rtol=1e-4, atol=1e-5)


def test_what_mnn_cannot_run_at_every_size_it_runs_with_a_dimension_fixed(tmp_path):
    save(states, tmp_path / "net.onnx")
    source = load_source(tmp_path / "net.onnx", shapes=parse_shapes(["x=?:16x?:2x6", "h=1x?:2x4", "c=1x?:2x4"]))
    model = simplify_dynamic(CompressedModel(source.graph, dynamic=source.dynamic), source.inputs)
    conversion = load_converter("mnn").convert(model, tmp_path / "model.mnn", ConversionOptions())
    (note,) = conversion.notes
    assert note.startswith(
        "The .mnn file fixes 't' at 16, give --shape for another size: MNN cannot run it at others ("
    )
    artifact = edgecomp.load(conversion.path)
    for batch in (2, 5, 1):
        inputs = inputs_at(source, model, {"t": 16, "n": batch})
        (actual,) = artifact.predict(inputs).values()
        np.testing.assert_allclose(actual, source.reference(tuple(inputs))[0], rtol=1e-4, atol=1e-5)


def test_tflite_fixes_a_dimension_whose_sizes_tell_nothing_of_the_example(tmp_path):
    save(windows, tmp_path / "net.onnx")
    source = load_source(tmp_path / "net.onnx", shapes=parse_shapes(["x=1x1x?:20"]))
    model = simplify_dynamic(CompressedModel(source.graph, dynamic=source.dynamic), source.inputs)
    conversion = load_converter("tflite").convert(model, tmp_path / "model.tflite", ConversionOptions())
    assert conversion.notes == (
        "The .tflite file fixes the dimension 't' at 20, give --shape once for each size that it is to have: "
        "axis 2 of 'a' has the size 2 in the example, and 1 at all others tried.",
    )
    inputs = inputs_at(source, model, {})
    (actual,) = edgecomp.load(conversion.path).predict(inputs).values()
    np.testing.assert_allclose(actual, source.reference(tuple(inputs))[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("format_", FORMATS)
def test_sequences_of_lengths_that_are_no_multiple_of_anything(format_, tmp_path):
    source, model = prepared("sequences", tmp_path)
    artifact = convert(model, format_, tmp_path)
    for length in (1, 7, 16, 51):
        inputs = inputs_at(source, model, {"t": length, "n": 2})
        (actual,) = artifact.predict(inputs).values()
        np.testing.assert_allclose(actual, source.reference(tuple(inputs))[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("name", ["classifier", "pyramid", "recurrent", "distances"])
def test_any_size_in_int8(name, format_, tmp_path):
    source, model = prepared(name, tmp_path)
    quantized = quantize_static(model, [inputs_at(source, model, {}) for _ in range(4)])
    artifact, simulation = convert(quantized, format_, tmp_path), Simulation(quantized, threads=1)
    other = unseen(model.dynamic.example, model.dynamic.bindings)
    for sizes in ({}, other):
        inputs = inputs_at(source, model, sizes)
        step = float(quantized.quantization[source.graph.graph.outputs[0].name].scale)
        (actual,), (expected,) = artifact.predict(inputs).values(), simulation.run(inputs)
        assert np.abs(actual - expected).max() <= 2.01 * step


WITHOUT_CALIBRATION = {
    "fp16": round_to_half,
    "dynamic-int8": lambda model: quantize_weights(model, DynamicInt8()),
    "weight-int8": lambda model: quantize_weights(model, WeightInt8()),
    "weight-int4": lambda model: quantize_weights(model, WeightInt4()),
}


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("precision", WITHOUT_CALIBRATION)
def test_any_size_in_precisions_without_calibration(precision, format_, tmp_path):
    source, model = prepared("classifier", tmp_path)
    rounded = WITHOUT_CALIBRATION[precision](model)
    artifact, simulation = convert(rounded, format_, tmp_path), Simulation(rounded, threads=1)
    for size in (1, 2, 5):
        inputs = inputs_at(source, model, {"n": size})
        (actual,), (expected,) = artifact.predict(inputs).values(), simulation.run(inputs)
        assert actual.shape == (size, 5)
        np.testing.assert_allclose(actual, expected, atol=0.03 * np.abs(expected).max())


class Recurrent(torch.nn.Module):
    """An LSTM, and a linear layer on its last state."""

    def __init__(self):
        super().__init__()
        self.lstm, self.head = torch.nn.LSTM(6, 8, batch_first=True), torch.nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


@pytest.mark.parametrize("format_", ["tflite", "onnxruntime"])
def test_a_torch_module_with_a_dynamic_batch(format_, tmp_path):
    torch.manual_seed(0)
    source = load_module(
        Recurrent(),
        torch.rand(1, 9, 6),
        name="net",
        subject="net",
        dynamic_shapes={"x": {0: torch.export.Dim("batch")}},
    )
    model = simplify_dynamic(CompressedModel(source.graph, dynamic=source.dynamic), source.inputs)
    assert model.dynamic.example == {"batch": 1}
    artifact = convert(model, format_, tmp_path)
    for size in (1, 2, 7):
        inputs = inputs_at(source, model, {"batch": size})
        (actual,) = artifact.predict(inputs).values()
        np.testing.assert_allclose(actual, source.reference(tuple(inputs))[0], rtol=1e-4, atol=1e-5)


def test_a_torch_module_that_has_one_size_only_is_refused():
    class Fixed(torch.nn.Module):
        def forward(self, x):
            return x.reshape(1, 12)

    with pytest.raises(edgecomp.EdgecompError, match="the dynamic dimensions batch"):
        load_module(Fixed(), torch.rand(1, 3, 4), name="net", subject="net", shapes={"x": (Symbol("batch"), 3, 4)})


def test_the_file_says_what_is_dynamic(tmp_path):
    _, model = prepared("attention", tmp_path)
    for format_ in FORMATS:
        artifact = convert(model, format_, tmp_path)
        assert [spec.source_shape for spec in artifact.inputs] == [(None, None, 12)], format_
        assert [spec.source_shape for spec in artifact.outputs] == [(None, None, 12)], format_


def test_the_static_shape_of_a_tflite_file_is_the_examples(tmp_path):
    _, model = prepared("pyramid", tmp_path)
    convert(model, "tflite", tmp_path)
    from ai_edge_litert.interpreter import Interpreter

    (details,) = Interpreter(model_path=str(tmp_path / "model.tflite")).get_input_details()
    assert (details["shape"].tolist(), details["shape_signature"].tolist()) == ([1, 32, 48, 3], [-1, -1, -1, 3])


def test_a_dynamic_batch_costs_no_operator(tmp_path):
    _, model = prepared("classifier", tmp_path)
    converter = load_converter("tflite")
    counts = []
    for each in (model, bind(model)):
        converter.convert(each, tmp_path / "model.tflite", ConversionOptions())
        counts.append({item.op_type: item.count for item in converter.inspect(tmp_path / "model.tflite").operators})
    assert counts[0] == counts[1]


def test_several_signatures_share_weights(tmp_path):
    save(classifier, tmp_path / "net.onnx")
    folders = {}
    for name, sizes in (("one", (1,)), ("two", (1, 4))):
        shapes = parse_shapes([f"x={size}x3x16x16" for size in sizes])
        folders[name] = edgecomp.compress(
            tmp_path / "net.onnx", "generic-arm64", tmp_path / name, shapes=shapes, recipe=float_recipe()
        )
    sizes = {name: result.artifacts["tflite"].stat().st_size for name, result in folders.items()}
    assert sizes["two"] - sizes["one"] < 4000  # the weights have 3 kB
    artifact = edgecomp.load(folders["two"].artifacts["tflite"])
    for size in (1, 4):
        (result,) = artifact.predict(np.ones((size, 3, 16, 16), np.float32)).values()
        assert result.shape == (size, 5)
    with pytest.raises(edgecomp.EdgecompError, match="a size that the file was made for"):
        artifact.predict(np.ones((2, 3, 16, 16), np.float32))
    assert [entry["sizes"] for entry in folders["two"].manifest["verification"]["sizes"]] == [{"n": 4}]


def test_several_signatures_in_int8_share_weights_and_take_data_of_their_sizes(tmp_path):
    save(pyramid, tmp_path / "net.onnx")
    drawn = [_random.random((1, 3, 16, size)).astype(np.float32) for size in (16, 24, 16, 24, 24)]
    found = {}
    for name, sizes in (("one", (16,)), ("two", (16, 24))):
        found[name] = edgecomp.compress(
            tmp_path / "net.onnx",
            "generic-arm64",
            tmp_path / name,
            shapes={"x": [(1, 3, 16, size) for size in sizes]},
            calibration=lambda sizes=sizes: iter([each for each in drawn if each.shape[3] in sizes]),
            formats="tflite",
            precision="int8",
            effort="fast",
        )
    stored = {name: result.artifacts["tflite"].stat().st_size for name, result in found.items()}
    assert stored["two"] < 1.8 * stored["one"]
    assert [verdict.against_original[0].samples for verdict in found["two"].verification.verdicts] == [5, 5]
    assert found["two"].verification.verdicts[1].against_simulation[0].max_difference <= 2.01
    (second,) = found["two"].verification.sizes
    assert list(second.sizes.values()) == [24]


def float_recipe():
    return Recipe(target="generic-arm64", precision="fp32", formats=("tflite",), steps=())
