"""TorchScript programs, which people load in their task files."""

import io

import numpy as np
import pytest
import torch
from torch import nn

from edgecomp.frontends import load_source


class Gated(nn.Module):
    """Takes one of two branches by the length of its input."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6), nn.ReLU())
        self.lstm = nn.LSTM(6, 5, batch_first=True)

    def forward(self, sound, gain):
        if sound.shape[-1] > 8:
            sound = sound[..., 1:]
        features, _ = self.lstm(self.body(sound * gain).transpose(1, 2))
        return features.mean(dim=1), features


class Around(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, sound, gain):
        return self.inner(sound, gain)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_torchscript_program_is_a_module_like_any_other(wrapped):
    """Its inputs and layers keep their names, and its branches are taken by the sizes at hand."""
    module = Gated().eval()
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(module), file)
    file.seek(0)
    program = torch.jit.load(file)
    examples = torch.rand(1, 4, 12), torch.rand(1)
    source = load_source(Around(program) if wrapped else program, example_inputs=examples)
    inputs = tuple(tensor.numpy() for tensor in examples)
    for actual, expected in zip(source.reference(inputs), module(*examples), strict=True):
        np.testing.assert_allclose(actual, expected.detach().numpy(), rtol=1e-5, atol=1e-6)
    assert [value.name for value in source.graph.graph.inputs] == ["sound", "gain"]
    prefix = "inner." if wrapped else ""
    convolution = next(node for node in source.graph.graph if node.op_type == "Conv")
    assert convolution.metadata_props["edgecomp.module"] == f"{prefix}body.0"
    assert convolution.inputs[1].name == f"{prefix}body.0.weight"
