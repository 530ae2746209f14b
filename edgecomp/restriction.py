"""Writes artifacts again that do not agree at every size: for multiples only, or for larger sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edgecomp.converter import Conversion, ConversionOptions, load_converter
from edgecomp.model import CompressedModel
from edgecomp.verification.result import Restriction


def written_for_fewer_sizes(
    conversions: Mapping[str, Conversion],
    model: CompressedModel,
    restrictions: Mapping[str, Restriction],
    options: ConversionOptions,
) -> dict[str, Conversion]:
    """Converts anew what has to take fewer sizes.

    Args:
        conversions: Format -> what was written.
        model: What it was written from.
        restrictions: File name -> what is to be restricted.
        options: The options of the conversion.

    Returns:
        The formats that were written anew, each with one more note; the other files stay as they are.
    """
    shapes = model.dynamic
    assert shapes is not None, "what is static has no other sizes"
    found = {}
    for name, conversion in conversions.items():
        if (restriction := restrictions.get(conversion.path.name)) is None:
            continue
        narrower = replace(model, dynamic=restriction.narrowed(shapes))
        again = load_converter(name).convert(narrower, conversion.path, options)
        found[name] = replace(again, notes=(*again.notes, restriction.note(conversion.path.name, shapes)))
    return found
