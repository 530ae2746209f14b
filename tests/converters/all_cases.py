"""Every case of the contract suite, and what formats are known not to do with them.

Each `*_cases.py` beside this file has a list `CASES`; it, and `known_gaps.py`, may have tables `GAPS` (format -> case
-> `Gap`) and `ISLANDS` (format -> case -> operators that an int8 artifact computes in float). `FORMATS` of a module,
where it has them, are the only ones that its cases are asked of.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import known_gaps
from case import Case, Gap, Precision

_MODULES = [
    importlib.import_module(path.stem)
    for path in sorted(Path(__file__).parent.glob("?*_cases.py"))
    if path.name != Path(__file__).name
]
_ALL: list[Case] = [case for module in _MODULES for case in module.CASES]


def _joined(table: str) -> dict[str, dict[str, Any]]:
    joined: dict[str, dict[str, Any]] = {}
    for module in (known_gaps, *_MODULES):
        for format_name, entries in getattr(module, table, {}).items():
            joined.setdefault(format_name, {}).update(entries)
    return joined


CASES: dict[str, Case] = {case.name: case for case in _ALL}
assert len(CASES) == len(_ALL), "two cases have the same name"

GAPS: dict[str, dict[str, Gap]] = _joined("GAPS")
#: Nodes of the int8 model that a format computes in float, by case; every other node is in integers.
ISLANDS: dict[str, dict[str, tuple[str, ...]]] = _joined("ISLANDS")


_FORMATS: dict[str, tuple[str, ...]] = {
    case.name: module.FORMATS for module in _MODULES if hasattr(module, "FORMATS") for case in module.CASES
}


def cases_of(format_name: str) -> list[str]:
    """The cases that a format is asked."""
    return [name for name in CASES if format_name in _FORMATS.get(name, (format_name,))]


def gap(format_name: str, case: str, precision: Precision) -> Gap | None:
    """What a format is known to refuse."""
    found = GAPS.get(format_name, {}).get(case)
    return found if found is not None and precision in found.precisions else None
