"""The outcomes of a whole run as a file that lies next to the page, grouped so that it stays small and readable."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trial import Outcome, Status

#: Test -> outcome.
Column = dict[str, Outcome]


@dataclass
class Results:
    """A run.

    Attributes:
        versions: Package -> version that it ran with.
        columns: (format, precision) -> what became of each test.
    """

    versions: Mapping[str, str]
    columns: dict[tuple[str, str], Column] = field(default_factory=lambda: defaultdict(dict))

    def write(self, path: Path) -> None:
        """As JSON: format -> precision -> status -> reason -> tests; a test with constant operands ends in "*"."""
        document: dict[str, dict[str, object]] = defaultdict(dict)
        for (format_name, precision), column in sorted(self.columns.items()):
            grouped: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
            for name, outcome in sorted(column.items()):
                grouped[outcome.status][outcome.reason].append(name + "*" * outcome.constants)
            document[format_name][precision] = {
                status: {reason: " ".join(names) for reason, names in sorted(reasons.items())}
                for status, reasons in sorted(grouped.items())
            }
        path.write_text(json.dumps({"versions": self.versions, "results": document}, indent=1) + "\n", "utf-8")

    @classmethod
    def read(cls, path: Path) -> Results:
        """What `write` wrote."""
        document = json.loads(path.read_text("utf-8"))
        results = cls(document["versions"])
        for format_name, precisions in document["results"].items():
            for precision, statuses in precisions.items():
                results.columns[format_name, precision] = dict(_entries(statuses))
        return results


def _entries(statuses: Mapping[Status, Mapping[str, str]]) -> Iterator[tuple[str, Outcome]]:
    for status, reasons in statuses.items():
        for reason, names in reasons.items():
            for name in names.split():
                yield name.removesuffix("*"), Outcome(status, reason, constants=name.endswith("*"))
