"""Attention of any rank, masked or not, goes through PyTorch's newer exporter, whose own translation takes four."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention as attend

from edgecomp.frontends import load_source
from edgecomp.graph.session import Session


class Attentions(nn.Module):
    """Queries, keys and values of three to five dimensions."""

    def forward(self, flat: torch.Tensor, heads: torch.Tensor, windows: torch.Tensor) -> dict[str, torch.Tensor]:
        seen = torch.ones(5, 5, dtype=torch.bool).tril(1)
        return {
            "flat": attend(flat, flat, flat, scale=0.3),
            "causal": attend(heads, heads, heads, is_causal=True),
            "grouped": attend(heads, heads[:, :2], heads[:, 2:], enable_gqa=True),
            "added": attend(heads, heads, heads, attn_mask=heads[:, :1] @ heads[:, :1].mT),
            "windows": attend(windows, windows, windows, attn_mask=seen),
        }


def test_an_exported_program_attends_as_the_module_does(tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(0)
    inputs = tuple(torch.randn(shape, generator=random) for shape in ((3, 5, 8), (2, 4, 5, 8), (2, 3, 4, 5, 8)))
    program = torch.export.export(Attentions().eval(), inputs)
    torch.export.save(program, tmp_path / "attentions.pt2")
    source = load_source(tmp_path / "attentions.pt2")
    expected = Attentions()(*inputs)
    for name, given in zip(expected, Session(source.graph).run([array.numpy() for array in inputs]), strict=True):
        np.testing.assert_allclose(given, expected[name].numpy(), atol=2e-6, err_msg=name)
