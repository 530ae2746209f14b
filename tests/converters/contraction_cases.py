"""Einsum and attention."""

from __future__ import annotations

from case import Build, Case
from net import Net


def _einsum(equation: str, *shapes: tuple[int, ...]) -> Build:
    def build(net: Net) -> None:
        sources = [net.node("Relu", net.input(*shape)) for shape in shapes]
        net.output(net.node("Einsum", *sources, equation=equation))

    return build


CASES: list[Case] = [
    Case("einsum-attention-scores", _einsum("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5))),
    Case("einsum-attention-mix", _einsum("bhqk,bkhd->bqhd", (1, 3, 4, 6), (1, 6, 3, 5))),
    Case("einsum-channels", _einsum("bchw,bkc->bkhw", (2, 3, 4, 5), (2, 6, 3)), steps=2.0),
    Case("einsum-three", _einsum("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)), steps=2.0),
    Case("einsum-graph", _einsum("nctv,vw->nctw", (2, 3, 4, 5), (5, 6))),
]

# MNN has integer products with constant matrices only.
ISLANDS = {"mnn": dict.fromkeys((case.name for case in CASES), ("MatMul",))}
