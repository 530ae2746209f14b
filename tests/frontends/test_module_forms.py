"""The forms in which people hold a module, and those that have to become another first."""

import pytest
import torch
from torch import nn

from edgecomp.errors import SourceError
from edgecomp.frontends import load_source

EXAMPLE = torch.linspace(-1, 1, 12).reshape(2, 6)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))


def compiled(module: nn.Module) -> nn.Module:
    return torch.compile(module, backend="eager")


@pytest.mark.parametrize("wrap", [nn.DataParallel, compiled, lambda module: compiled(nn.DataParallel(module))])
def test_a_wrapper_that_computes_the_same_is_taken_off(wrap):
    source = load_source(wrap(network()), example_inputs=EXAMPLE)
    assert isinstance(source.module, nn.Sequential)
    assert not source.notes
    assert "0.weight" in source.graph.graph.initializers


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_type_than_the_inputs_are_named(dtype):
    with pytest.raises(SourceError, match="on its example inputs") as caught:
        load_source(network().to(dtype), example_inputs=EXAMPLE)
    assert caught.value.cure == f"let model() end with .float(): its weights are {dtype}"


def test_weights_without_numbers_are_named():
    with torch.device("meta"):
        module = network()
    with pytest.raises(SourceError, match=r"parameter '0\.weight'") as caught:
        load_source(module, example_inputs=EXAMPLE)
    assert "'meta'" in caught.value.actual


def test_complex_outputs_are_refused_before_the_export():
    class Spectrum(nn.Module):
        def forward(self, sound):
            return torch.fft.rfft(sound)

    with pytest.raises(SourceError, match="complex numbers") as caught:
        load_source(Spectrum(), example_inputs=EXAMPLE)
    assert "view_as_real" in caught.value.cure


class Packed(torch.Tensor):
    """A tensor that holds its numbers in others, as torchao's do."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=torch.float32)

    def __init__(self, inner):
        self.inner = inner

    def __tensor_flatten__(self):
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(tensors, _, size, stride):
        return Packed(tensors["inner"])

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.detach.default:
            return cls(args[0].inner)
        raise NotImplementedError(function)


def test_weights_in_a_form_of_their_own_are_named():
    module = network()
    module[0].weight = nn.Parameter(Packed(torch.zeros(4, 6, dtype=torch.int8)), requires_grad=False)
    with pytest.raises(SourceError, match=r"parameter '0\.weight'") as caught:
        load_source(module, example_inputs=EXAMPLE)
    assert "Packed" in caught.value.actual
    assert "--precision" in caught.value.cure
