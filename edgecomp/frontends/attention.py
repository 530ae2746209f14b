"""Attention as PyTorch's newer exporter is to write it: its own translation takes queries of four dimensions only."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import onnxscript
import torch

#: Writes nodes while a program is translated; its declared types are those of eager arrays.
op: Any = onnxscript.opset20


def attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """`torch.nn.functional.scaled_dot_product_attention` of any rank: softmax(query key^T * scale + mask) value.

    Args:
        query: (..., targets, features).
        key: (..., sources, features); with `enable_gqa` of (batch, heads, sources, features), with fewer heads.
        value: (..., sources, features of the result).
        attn_mask: What is added to the scores, or where they count, as truth values.
        dropout_p: Plays no part: models are exported in eval mode.
        is_causal: Whether a target sees no sources behind its own place.
        scale: By default 1 / sqrt(features).
        enable_gqa: Whether several heads of the query share one of the others.
    """
    rank = len(query.shape)
    if enable_gqa:
        key, value = (_repeated(each, query.shape[1]) for each in (key, value))
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    turned = op.Transpose(key, perm=[*range(rank - 2), rank - 1, rank - 2])
    scores = op.MatMul(op.Mul(query, op.CastLike(op.Constant(value_float=factor), query)), turned)
    if is_causal:
        places = op.Concat(op.Shape(query, start=-2, end=-1), op.Shape(key, start=-2, end=-1), axis=0)
        past = op.Trilu(op.Expand(op.Constant(value_int=1), places), upper=0)
        attn_mask = op.Cast(past, to=ir.DataType.BOOL.value)
    if is_causal or (attn_mask is not None and attn_mask.dtype == ir.DataType.BOOL):
        scores = op.Where(attn_mask, scores, op.CastLike(op.Constant(value_float=-math.inf), scores))
    elif attn_mask is not None:
        scores = op.Add(scores, attn_mask)
    return op.MatMul(op.Softmax(scores, axis=-1), value)


def _repeated(shared: Any, heads: int) -> Any:
    """Each head of (batch, heads, sources, features) as often as it is shared."""
    _, own, _, features = shared.shape
    copies = op.Tile(op.Unsqueeze(shared, [2]), [1, 1, heads // own, 1, 1])
    return op.Reshape(copies, [0, heads, -1, features])


#: What `torch.onnx.export` takes as `custom_translation_table`.
TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.scaled_dot_product_attention.default: attention
}
