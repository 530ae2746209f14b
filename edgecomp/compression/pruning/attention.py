"""Attention whose heads can be removed.

`nn.MultiheadAttention` requires all heads together to be as wide as its input, so no head can be removed. Before
heads are pruned, it is replaced by a module that computes the same with separate layers for queries, keys and values.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from edgecomp.compression.replacement import replace_modules


class SeparateAttention(nn.Module):
    """Multi-head attention (Vaswani et al., 2017) with any number of heads.

    Its forward has the same inputs and outputs as that of `nn.MultiheadAttention`.

    Attributes:
        heads: The number of heads.
        batch_first: Whether inputs are (batch, length, channels) instead of (length, batch, channels).
    """

    #: `nn.TransformerEncoderLayer` reads these two; the values stop it from taking a fast path that bypasses this
    #: module.
    in_proj_bias = None
    _qkv_same_embed_dim = False

    def __init__(self, original: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads, self.batch_first, self.dropout = original.num_heads, original.batch_first, original.dropout
        self.scale = 1 / math.sqrt(original.head_dim)
        if original.in_proj_weight is not None:
            weights = original.in_proj_weight.chunk(3)
        else:
            weights = (original.q_proj_weight, original.k_proj_weight, original.v_proj_weight)
        biases = (None,) * 3 if original.in_proj_bias is None else original.in_proj_bias.chunk(3)
        self.query, self.key, self.value = (_linear(w, b) for w, b in zip(weights, biases, strict=True))
        self.out_proj = _linear(original.out_proj.weight, original.out_proj.bias)
        self.train(original.training)

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = True,
        attn_mask: torch.Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Computes attention; `is_causal` is only a hint beside `attn_mask`, and is ignored."""
        single, batch_axis = query.dim() == 2, 0 if self.batch_first else 1
        if single:
            query, key, value = (tensor.unsqueeze(batch_axis) for tensor in (query, key, value))
        if not self.batch_first:
            query, key, value = (tensor.transpose(0, 1) for tensor in (query, key, value))
        queries = self._split(self.query(query))
        keys = self._split(self.key(key))
        values = self._split(self.value(value))
        scores = queries @ keys.transpose(2, 3) * self.scale
        if attn_mask is not None and attn_mask.dim() == 3:  # (batch x heads, length, length)
            attn_mask = attn_mask.reshape(len(query), -1, *attn_mask.shape[1:])
        if attn_mask is not None:
            scores = scores + _added(attn_mask, scores)
        if key_padding_mask is not None:
            scores = scores + _added(_spread(key_padding_mask, single), scores)
        weights = nn.functional.dropout(scores.softmax(3), self.dropout, self.training)
        output = self.out_proj((weights @ values).transpose(1, 2).flatten(2))
        output = output if self.batch_first else output.transpose(0, 1)
        shown = (weights.mean(1) if average_attn_weights else weights) if need_weights else None
        if not single:
            return output, shown
        return output.squeeze(batch_axis), None if shown is None else shown.squeeze(0)

    def _split(self, tensor: torch.Tensor) -> torch.Tensor:
        """(batch, length, heads x size) -> (batch, heads, length, size)."""
        return tensor.reshape(*tensor.shape[:2], self.heads, -1).transpose(1, 2)


def separate_attention(module: nn.Module) -> None:
    """Replaces every `nn.MultiheadAttention` inside a module, in place, where that is possible."""
    # Subclasses compute something else; added keys and values are rare. Both stay.
    replaceable = [
        child
        for child in module.modules()
        if type(child) is nn.MultiheadAttention and child.bias_k is None and not child.add_zero_attn
    ]
    replace_modules(module, {child: SeparateAttention(child) for child in replaceable})


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device=weight.device, dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer


def _added(mask: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Returns a mask that can be added to scores: a boolean mask becomes minus infinity where it is true."""
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=scores.dtype).masked_fill(mask, -math.inf)


def _spread(key_padding_mask: torch.Tensor, single: bool) -> torch.Tensor:
    """(batch, length) or (length,) -> (batch, 1, 1, length)."""
    return (key_padding_mask[None] if single else key_padding_mask)[:, None, None]
