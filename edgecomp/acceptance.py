"""Checks that `compress` makes before the long work begins."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from edgecomp.converter import ConversionOptions, Unsupported, available_formats, load_converter
from edgecomp.data import CalibrationData, EvaluationData
from edgecomp.errors import DataError, InputError, UnsupportedOperatorError
from edgecomp.graph.absorb import RUN_TIME_RANGES
from edgecomp.graph.query import describe
from edgecomp.model import CompressedModel
from edgecomp.precision import Precision
from edgecomp.shapes import InputShapes


def check_own_integers(source: str, precision: Precision, own: Precision) -> None:
    """Checks that a source with its own integers keeps them; fp32 stands for their precision.

    Raises:
        InputError: Another precision was asked for.
    """
    if precision not in {"fp32", own}:
        raise InputError(
            f"{source}: precision {precision}",
            expected="a float model, whose weights can be rounded in another way",
            actual=f"a model that is quantized to {own} itself, and keeps its integers",
            cure="give the float model that it was made from, or leave out --precision",
        )


def check_float(source: str, precision: Precision, model: CompressedModel) -> None:
    """Checks that a model has no dynamically quantized integers, which are not quantized again.

    Raises:
        InputError: It has some.
    """
    node = next((each for each in model.graph.graph.all_nodes() if each.op_type in RUN_TIME_RANGES), None)
    if node is not None:
        raise InputError(
            f"{source}: precision {precision}",
            expected="a float model, whose numbers can be rounded in another way",
            actual=f"a model that quantizes itself at run time: {describe(node)}",
            cure="give the float model that it was made from, or leave out --precision",
        )


def check_sizes(
    source: str, data: CalibrationData | EvaluationData, shapes: InputShapes | None, example: Mapping[str, int]
) -> None:
    """Checks that the graph takes data of all their sizes.

    Args:
        source: The source's name.
        data: Data of any sizes that the source takes.
        shapes: Which dimensions are dynamic in the graph.
        example: The example sizes of all dynamic dimensions of the source.

    Raises:
        DataError: A dimension had to be fixed, or only some sizes were asked for, and an item has another.
    """
    free = {} if shapes is None else shapes.example
    allowed = () if shapes is None else shapes.signatures
    multiples = {} if shapes is None else shapes.multiples
    for sizes in data.sizes:
        fixed = {name: size for name, size in sizes.items() if name not in free and size != example[name]}
        uneven = {name: size for name, size in sizes.items() if size % multiples.get(name, 1)}
        if fixed or uneven or (allowed and sizes not in allowed):
            wanted = allowed or ({name: example[name] for name in fixed},)
            expected = [" or ".join(_in_words(each) for each in wanted)] if fixed or not uneven else []
            raise DataError(
                f"{source}: the sizes of the calibration and evaluation data",
                expected=", ".join([*expected, *(f"{name} a multiple of {multiples[name]}" for name in uneven)]),
                actual=_in_words(sizes if allowed else {**fixed, **uneven}),
                cure="cut or pad the items, or leave out those of other sizes"
                + (", or ask for their size with one more --shape" if allowed else "; a note says why"),
            )


def _in_words(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name}={size}" for name, size in sizes.items())


def check_operators(source: str, model: CompressedModel, formats: Sequence[str], options: ConversionOptions) -> None:
    """Finds everything that any of the formats cannot express, before conversion.

    Raises:
        UnsupportedOperatorError: There is something.
    """
    problems = {name: load_converter(name).check(model, options) for name in formats}
    if not any(problems.values()):
        return
    able = [name for name in formats if not problems[name]]
    others = set(available_formats()) - set(problems)
    able = able or sorted(name for name in others if not load_converter(name).check(model, options))
    cures = list(dict.fromkeys(problem.cure for found in problems.values() for problem in found))
    if able:
        left_out = f"write only what can take the model: --formats {','.join(able)}"
        cures = [left_out, *(cure for cure in cures if "--formats" not in cure)]
    raise UnsupportedOperatorError(
        source,
        expected=f"operators that {', '.join(formats)} can all express",
        actual="; ".join(f"{name}: {_listing(found, model)}" for name, found in problems.items() if found),
        cure="; or ".join(cures),
    )


def _listing(problems: Sequence[Unsupported], model: CompressedModel, limit: int = 5) -> str:
    """Lists what a format cannot express, and why: each operator once for a reason, with its first node and module."""
    nodes = {node.name: describe(node) for node in model.graph.graph}
    groups: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for each in problems:
        groups[each.op_type, each.reason].append(nodes.get(each.node, f"{each.op_type} {each.node!r}"))
    texts = [
        f"{found[0]}{f' and {len(found) - 1} more of its kind' if found[1:] else ''}: {reason}"
        for (_, reason), found in groups.items()
    ]
    more = [f"and {len(texts) - limit} more"] if len(texts) > limit else []
    return ", ".join(texts[:limit] + more)
