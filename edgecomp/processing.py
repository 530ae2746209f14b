"""The processing around a model: from a picture to its input, and from its output to an answer.

It is plain data with a schema, so that every platform does the same. `Preprocessing.apply` and `Processing.answer` are
the reference implementation for the other platforms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgecomp.errors import SourceError
from edgecomp.frontends.pictures import Preprocessing

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgecomp.frontends.source import Source

SCHEMA = 1

#: Operators that produce probabilities at the end of a model.
_PROBABILITIES = frozenset({"Softmax", "LogSoftmax", "Sigmoid", "HardSigmoid"})


@dataclass(frozen=True)
class Ranked:
    """One line of an answer.

    Attributes:
        index: The index of the class.
        label: Its name, or its index in words.
        score: Its probability after softmax, else what the model gave.
    """

    index: int
    label: str
    score: float


@dataclass(frozen=True)
class Processing:
    """The steps before and after a model.

    Attributes:
        preprocessing: From a picture to the only input; None when the input is no picture, or nobody said how.
        softmax: Whether softmax makes probabilities of the first output, because the graph does not end in one itself.
            It matters to `answer` only: who asks for the outputs themselves gets them as they are.
        labels: Class names, by index.
    """

    preprocessing: Preprocessing | None = None
    softmax: bool = True
    labels: tuple[str, ...] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known but how the graph ends."""
        return self.preprocessing is None and self.labels is None

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as the manifest holds it."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], subject: str) -> Processing:
        """Reads what `as_dict` gave.

        Raises:
            SourceError: It is damaged or from a newer edgecomp.
        """
        try:
            if fields["schema"] > SCHEMA:
                raise ValueError(f"schema {fields['schema']}")
            steps, labels = fields["preprocessing"], fields["labels"]
            return cls(
                None if steps is None else Preprocessing.parse(steps, f"{subject}: preprocessing"),
                bool(fields["softmax"]),
                None if labels is None else tuple(map(str, labels)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise SourceError(
                f"{subject}: processing",
                expected=f"the steps before and after the model, schema {SCHEMA} or older",
                actual=f"{type(error).__name__}: {error}",
                cure="run compress again with this version of edgecomp",
            ) from None

    def answer(self, output: npt.ArrayLike, top: int = 5) -> list[Ranked]:
        """The best classes of the first output, best first; of equals the lower index.

        Args:
            output: One sample's scores, any shape that holds one number per class.
            top: How many.
        """
        scores = np.asarray(output, np.float64).reshape(-1)
        if self.softmax:
            powers = np.exp(scores - scores.max())
            scores = powers / powers.sum()
        order = np.argsort(-scores, kind="stable")[:top]
        return [Ranked(int(i), self.labels[i] if self.labels else f"class {i}", float(scores[i])) for i in order]


def describe_processing(source: Source, model: ir.Model) -> Processing:
    """What a source says about the steps around it.

    Args:
        source: With its labels and preprocessing.
        model: Its graph, simplified.

    Raises:
        SourceError: There are more or fewer labels than classes.
    """
    output = model.graph.outputs[0]
    classes = output.shape[-1] if output.shape is not None and len(output.shape) else None
    if source.labels is not None and isinstance(classes, int) and classes != len(source.labels):
        raise SourceError(
            f"{source.name}: labels()",
            expected=f"{classes} names, one per number of the output {output.name!r}",
            actual=f"{len(source.labels)}",
            cure="return the class names in the order of the outputs",
        )
    producer = output.producer()
    softmax = producer is None or producer.op_type not in _PROBABILITIES
    return Processing(source.preprocessing, softmax, source.labels)
