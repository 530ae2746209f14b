"""What a case of the contract suite is, and what a format may refuse of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from net import Net

Precision = Literal["float", "int8"]

Build = Callable[[Net], None]


@dataclass(frozen=True)
class Case:
    """One small graph.

    Attributes:
        name: "operator-variant".
        build: Adds the graph to an empty net.
        steps: How far, in quantization steps, an int8 artifact may be from the simulation.
        tflite_without: TFLite operators that the artifact must not need.
        opset: Of the default domain.
    """

    name: str
    build: Build
    steps: float = 1.0
    tflite_without: tuple[str, ...] = ()
    opset: int = 20


def single(op_type: str, *constants: Any, shape: tuple[int, ...] = (1, 4, 6, 8), **attributes: Any) -> Build:
    """One operator on one input, which may lie as an image."""

    def build(net: Net) -> None:
        source = net.image(*shape) if len(shape) > 2 else net.input(*shape)
        net.output(net.node(op_type, source, *constants, **attributes))

    return build


def two(op_type: str, left: tuple[int, ...], right: tuple[int, ...], **attributes: Any) -> Build:
    """One operator on two inputs."""

    def build(net: Net) -> None:
        sources = [net.image(*shape) if len(shape) == 4 else net.input(*shape) for shape in (left, right)]
        net.output(net.node(op_type, *sources, **attributes))

    return build


@dataclass(frozen=True)
class Gap:
    """Why a format refuses a case.

    Attributes:
        reason: What the error message says.
        precisions: Where.
    """

    reason: str
    precisions: tuple[Precision, ...] = ("float", "int8")
