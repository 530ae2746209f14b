"""What PyTorch's own tools quantized (PT2E) keeps its integers in every format."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.ao.quantization.fx._decomposed  # registers the operators that those tools write
from torch import nn

import edgecomp
from edgecomp.converter import load_converter

ROUND = torch.ops.quantized_decomposed


class Rounded(nn.Module):
    """Such a network: integers of a weight per channel, and activations that are rounded between operators.

    The tools know nothing of ReLU6: it gets the scale of the convolution, of whose integers it needs a few.
    """

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        integers = torch.randint(-127, 128, (8, 3, 3, 3), generator=generator, dtype=torch.int8)
        self.register_buffer("integers", integers)
        self.register_buffer("scales", torch.linspace(0.004, 0.01, 8))
        self.register_buffer("zeros", torch.zeros(8, dtype=torch.int64))
        self.bias = nn.Parameter(torch.linspace(-1, 1, 8))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        weight = ROUND.dequantize_per_channel(self.integers, self.scales, self.zeros, 0, -127, 127, torch.int8)
        x = nn.functional.conv2d(rounded(image, 1 / 255, -128), weight, self.bias)
        return rounded(nn.functional.hardtanh(rounded(x, 0.1, 3), 0.0, 6.0), 0.1, 3)


def rounded(x: torch.Tensor, scale: float, zero_point: int) -> torch.Tensor:
    integers = ROUND.quantize_per_tensor(x, scale, zero_point, -128, 127, torch.int8)
    result: torch.Tensor = ROUND.dequantize_per_tensor(integers, scale, zero_point, -128, 127, torch.int8)
    return result


@pytest.fixture(scope="module", params=["module", "program"])
def result(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> edgecomp.Result:
    folder, example = tmp_path_factory.mktemp(request.param), torch.rand(1, 3, 10, 10)
    program = torch.export.export(Rounded(), (example,))
    if request.param == "module":  # as the tools give it, which refuses eval()
        return edgecomp.compress(
            program.module(), "generic-arm64", folder / "out", example_inputs=example, precision="fp32"
        )
    torch.export.save(program, folder / "rounded.pt2")
    return edgecomp.compress(folder / "rounded.pt2", "generic-arm64", folder / "out", precision="fp32")


def test_the_integers_are_those_of_the_source(result: edgecomp.Result) -> None:
    integers = Rounded().integers.numpy()
    for name, array in (("onnxruntime", integers), ("tflite", integers.transpose(0, 2, 3, 1))):
        assert np.ascontiguousarray(array).tobytes() in Path(result.artifacts[name]).read_bytes(), name


def test_every_artifact_computes_the_same(result: edgecomp.Result) -> None:
    assert result.manifest["precision"] == "int8"
    for verdict in result.verification.verdicts[1:]:
        assert verdict.against_simulation[0].max_difference <= 1.001, verdict.name


def test_an_activation_is_fused_whatever_the_scale(result: edgecomp.Result) -> None:
    operators = load_converter("tflite").inspect(result.artifacts["tflite"]).operators
    assert sorted(each.op_type for each in operators) == ["CONV_2D", "DEQUANTIZE", "QUANTIZE"]
