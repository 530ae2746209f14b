"""Heads can be removed from PyTorch's own attention too."""

import copy

import pytest
import torch

from edgecomp.compression.pruning.attention import SeparateAttention, separate_attention
from edgecomp.compression.pruning.proof import prunable
from edgecomp.compression.pruning.surgery import cut, mask


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sizes", [None, (6, 10)])
def test_it_computes_what_the_original_does(batch_first: bool, bias: bool, sizes: tuple[int, int] | None) -> None:
    torch.manual_seed(0)
    kdim, vdim = sizes or (8, 8)
    original = torch.nn.MultiheadAttention(8, 2, bias=bias, batch_first=batch_first, kdim=kdim, vdim=vdim).eval()
    other = SeparateAttention(original)
    inputs = [
        torch.rand((3, length, size) if batch_first else (length, 3, size))
        for length, size in ((4, 8), (5, kdim), (5, vdim))
    ]
    padding = torch.zeros(3, 5, dtype=torch.bool)
    padding[1, 3:] = True
    masks = [None, torch.rand(4, 5), torch.rand(4, 5) > 0.8, torch.rand(6, 4, 5)]
    for given in masks:
        for key_padding in (None, padding):
            settings = {"attn_mask": given, "key_padding_mask": key_padding}
            if given is not None and key_padding is not None and given.dtype != torch.bool:
                settings["key_padding_mask"] = torch.zeros(3, 5).masked_fill(key_padding, -1e9)
            for expected, found in zip(original(*inputs, **settings), other(*inputs, **settings), strict=True):
                torch.testing.assert_close(found, expected)
    assert other(*inputs, need_weights=False)[1] is None
    alone = [tensor.select(0 if batch_first else 1, 0) for tensor in inputs]
    torch.testing.assert_close(other(*alone)[0], original(*alone)[0])


def test_heads_of_a_transformer_encoder_are_removed() -> None:
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    module = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    example = torch.rand(2, 5, 16)
    before = module(example)
    separate_attention(module)
    torch.testing.assert_close(module(example), before)
    coupling = prunable(module, [example])
    heads = [group for group in coupling.groups if group.name.endswith("query")]
    assert [(len(group.units), group.width) for group in heads] == [(4, 4), (4, 4)]
    assert {group.name for group in coupling.groups} >= {"layers.0.linear1", "layers.1.linear1"}
    removed = coupling.nothing()
    for group in heads:
        removed[group.units[:2]] = True
    masked = copy.deepcopy(module)
    mask(masked, coupling, removed)
    cut(module, coupling, removed)
    torch.testing.assert_close(module(example), masked(example))
    assert [each.heads for each in module.modules() if isinstance(each, SeparateAttention)] == [2, 2]


def test_attention_with_added_keys_stays() -> None:
    module = torch.nn.Sequential(torch.nn.MultiheadAttention(8, 2, add_bias_kv=True))
    separate_attention(module)
    assert type(module[0]) is torch.nn.MultiheadAttention
