"""What is out of tolerance is found and named."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecomp.errors import ConversionError, VerificationError
from edgecomp.interface import Interface, TensorInterface
from edgecomp.system.columns import read_column, write_columns
from edgecomp.verification import recording
from edgecomp.verification.agreement import verify
from edgecomp.verification.metrics import Metrics
from edgecomp.verification.result import Verification
from edgecomp.verification.samples import Unlabelled
from edgecomp.verification.tolerance import Tolerance

Function = Any
MODEL = Path("model.fake")


class Labelled:
    """Six pairs of samples, the last one filled up."""

    def __init__(self, rows: int = 11) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return 6

    places = None

    def __iter__(self) -> Iterator[tuple[tuple[Any, ...], Any]]:
        random = np.random.default_rng(0)
        for start in range(0, 12, 2):
            labels = np.arange(start, min(start + 2, self.rows))
            yield (random.normal(size=(2, 5)).astype(np.float32),), labels


def original(inputs: Sequence[Any]) -> list[Any]:
    return [np.asarray(inputs[0])]


def run(
    monkeypatch: pytest.MonkeyPatch,
    artifact: Function,
    *,
    simulation: Function = None,
    source: Function = original,
    outputs: Sequence[str] = ("y",),
    samples: Any = None,
    **options: Any,
) -> Verification:
    """`verify` with a function in place of an artifact in a process of its own."""

    def run_isolated(function: str, *, inputs: Any, outputs: Any, **_: Any) -> str:
        batches = zip(*map(read_column, inputs.values()), strict=True)
        write_columns(list(outputs.values()), map(artifact, batches))
        return Interface((TensorInterface("x", "float32", (2, 5)),), ()).to_json()

    monkeypatch.setattr(recording, "run_isolated", run_isolated)
    samples = samples or Unlabelled([inputs for inputs, _ in Labelled()])
    return verify(
        [MODEL],
        lambda: source,
        simulation and (lambda: simulation),
        samples,
        inputs=["x"],
        outputs=outputs,
        steps={"y": 0.1},
        **options,
    )


def off_by(amount: float) -> Function:
    return lambda inputs: [np.asarray(inputs[0]) + np.float32(amount)]


def swapped(inputs: Sequence[Any]) -> list[Any]:
    return [np.asarray(inputs[0])[:, ::-1].copy()]


def test_an_artifact_that_agrees_violates_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, off_by(0.02), simulation=off_by(0.01))
    assert found.violations == ()
    assert [verdict.name for verdict in found.verdicts] == ["simulation", "model.fake"]
    artifact = found.verdicts[1]
    assert artifact.against_simulation[0].max_difference == pytest.approx(0.1, rel=1e-3)
    assert artifact.against_original[0].max_difference == pytest.approx(0.2, rel=1e-3)
    assert found.samples == artifact.against_original[0].samples == 12


@pytest.mark.parametrize(
    ("artifact", "simulation", "words"),
    [
        (swapped, original, r"dB from the simulation, at least 20 dB expected"),
        (swapped, swapped, r"agrees with the original on .* of 12 samples, at least 95.0% expected"),
        (off_by(0.02), None, r"dB from the original, at least 60 dB expected"),
        (lambda inputs: [np.full((2, 5), np.nan, np.float32)], original, "60 numbers that are NaN or infinite"),
        (lambda inputs: [np.full((2, 5), np.inf, np.float32)], None, "60 numbers that are NaN or infinite"),
    ],
)
def test_what_is_out_of_tolerance_is_said(
    monkeypatch: pytest.MonkeyPatch, artifact: Function, simulation: Function, words: str
) -> None:
    violations = run(monkeypatch, artifact, simulation=simulation).violations
    assert violations
    with pytest.raises(AssertionError, match=words):
        raise AssertionError("\n".join(violations))
    assert all(text.startswith("model.fake: output 'y' ") for text in violations)


def test_an_artifact_may_be_as_far_from_the_simulation_as_that_is_from_the_original(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And 3 dB further, as two roundings of one size are: in a network that magnifies rounding."""
    column = lambda amount: lambda inputs: [np.asarray(inputs[0])[:, :1] + np.float32(amount)]  # noqa: E731
    compared = lambda artifact: run(  # noqa: E731
        monkeypatch, column(artifact), simulation=column(0.1), source=column(0), tolerance=Tolerance(original_sqnr=-99)
    )
    assert compared(0.18).violations == ()
    assert compared(0.23).violations == ()
    assert "dB from the simulation, at least 1" in compared(0.25).violations[0]
    strict = Tolerance(original_sqnr=-99, simulation_sqnr=60)
    asked = run(monkeypatch, column(0.18), simulation=column(0.1), source=column(0), tolerance=strict)
    assert "at least 60 dB expected" in asked.violations[0]
    exact = run(monkeypatch, column(0.08), simulation=column(0), source=column(0))
    assert "dB from the simulation, at least 20 dB expected" in exact.violations[0]


def test_where_the_simulation_rounds_no_activations_answers_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    dynamic = Tolerance().promised("dynamic-int8")
    many = Unlabelled(2 * [inputs for inputs, _ in Labelled()])
    noisy = lambda inputs: [np.asarray(inputs[0]) * np.float32(1.2)]  # noqa: E731  # 14 dB, the same answers
    assert run(monkeypatch, noisy, simulation=original, tolerance=dynamic, samples=many).violations == ()
    few = run(monkeypatch, noisy, simulation=original, tolerance=dynamic)  # 12 answers may be equal by chance
    assert "at least 20 dB expected" in few.violations[0]
    assert "at least 20 dB expected" in run(monkeypatch, noisy, simulation=original).violations[0]
    asked = Tolerance(simulation_sqnr=30).promised("dynamic-int8")
    assert "at least 30 dB expected" in run(monkeypatch, noisy, simulation=original, tolerance=asked).violations[0]
    wrong = run(monkeypatch, swapped, simulation=original, tolerance=dynamic, samples=many).violations
    assert "at least 10 dB expected" in wrong[0]
    column = lambda factor: lambda inputs: [np.asarray(inputs[0])[:, :1] * np.float32(factor)]  # noqa: E731
    without = run(monkeypatch, column(1.2), simulation=column(1), source=column(1), tolerance=dynamic)
    assert "at least 20 dB expected" in without.violations[0]


def test_outputs_without_an_argmax_are_held_to_their_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    column = lambda function: lambda inputs: [function(inputs)[0][:, :1]]  # noqa: E731
    found = run(monkeypatch, column(off_by(2)), simulation=column(off_by(2)), source=column(original))
    assert "at least 8 dB expected" in found.violations[0]


def test_class_numbers_are_held_to_agreement(monkeypatch: pytest.MonkeyPatch) -> None:
    classify = lambda function: lambda inputs: [function(inputs)[0].argmax(axis=1)]  # noqa: E731
    same = classify(original)
    assert run(monkeypatch, same, simulation=same, source=same).violations == ()
    found = run(monkeypatch, classify(swapped), source=same)
    assert "agrees with the original on" in found.violations[0]


def test_the_rounding_of_a_share_that_is_nearly_nothing_is_no_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    nearly_nothing = lambda amount: lambda inputs: [np.full((2, 1), 3e-5 + amount, np.float32)]  # noqa: E731
    source = nearly_nothing(0)
    assert "at least 60 dB expected" in run(monkeypatch, nearly_nothing(5e-8), source=source).violations[0]
    assert run(monkeypatch, nearly_nothing(5e-8), source=source, shares=["y"]).violations == ()
    assert run(monkeypatch, nearly_nothing(5e-7), source=source, shares=["y"]).violations
    assert run(monkeypatch, nearly_nothing(np.nan), source=source, shares=["y"]).violations


def test_a_tolerance_can_be_chosen_and_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    lenient = Tolerance(float_sqnr=1.0)
    found = run(monkeypatch, off_by(0.02), tolerance=lenient)
    assert found.violations == ()
    assert found.tolerance == lenient


def test_what_a_batch_was_filled_up_with_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def metric(outputs: Sequence[Any], labels: Any) -> float:
        seen.append((len(outputs[0]), labels.tolist()))
        return float(outputs[0].sum())

    found = run(monkeypatch, original, samples=Labelled(rows=11), metrics=Metrics(metric))
    assert found.samples == 11
    assert found.verdicts[0].against_original[0].samples == 11
    assert seen == [(11, list(range(11)))] * 2
    assert found.metrics == found.verdicts[0].metrics


def test_an_output_without_a_batch_is_compared_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    flat = lambda inputs: [np.asarray(inputs[0]).reshape(-1)]  # noqa: E731
    broken = lambda inputs: [flat(inputs)[0] * np.float32([1] * 9 + [5])]  # noqa: E731
    assert run(monkeypatch, broken, source=flat, samples=Labelled(rows=11)).violations


def test_a_wrong_shape_is_no_broadcast(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VerificationError, match=r"\(2, 5\).*\n.*\(2, 1\)"):
        run(monkeypatch, lambda inputs: [inputs[0][:, :1]])


def test_the_first_sample_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, off_by(1), simulation=off_by(1))
    assert set(found.example) == {"inputs", "original", "model.fake"}
    np.testing.assert_array_equal(found.example["model.fake"]["y"], found.example["inputs"]["x"] + 1)


def test_a_crash_ends_the_run_and_leaves_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(recording.tempfile, "tempdir", str(tmp_path))

    def crash(inputs: Sequence[Any]) -> list[Any]:
        raise ConversionError("running model.fake", expected="", actual="", cure="")

    with pytest.raises(ConversionError):
        run(monkeypatch, crash)
    assert list(tmp_path.iterdir()) == []


def test_progress_reaches_its_total(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []
    run(monkeypatch, original, simulation=original, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_a_real_artifact_runs_in_a_process_of_its_own(onnx_file: Path, tmp_path: Path) -> None:
    from edgecomp.artifact import load

    artifact = load(onnx_file)
    batches = [(np.random.default_rng(seed).random((1, 2, 5, 5), np.float32),) for seed in range(3)]
    found = verify(
        [onnx_file],
        lambda: lambda inputs: list(artifact.predict(inputs[0]).values()),
        None,
        Unlabelled(batches),
        inputs=["image"],
        outputs=["scores"],
        steps={},
    )
    assert found.violations == ()
    assert found.interfaces["small.onnx"].inputs == artifact.inputs


def pitch(inputs: Sequence[Any]) -> list[Any]:
    """A number for each of five moments, all nearly the same."""
    return [100 + np.asarray(inputs[0])]


@pytest.mark.parametrize(
    ("noise", "tolerance", "words"),
    [
        (1.0, Tolerance(), None),  # 37 dB: close, whichever moment is the highest
        (30.0, Tolerance(), "agrees with the original"),
        (1.0, Tolerance(agreement=0.99), "agrees with the original"),  # asked for on purpose
    ],
)
def test_the_largest_of_places_is_no_answer_where_numbers_are_close(
    noise: float, tolerance: Tolerance, words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def noisy(inputs: Sequence[Any]) -> list[Any]:
        random = np.random.default_rng(int(abs(inputs[0][0, 0]) * 1e6))
        return [pitch(inputs)[0] + random.normal(0, noise, (2, 5)).astype(np.float32)]

    places = {"source": pitch, "simulation": noisy, "tolerance": tolerance}
    assert "agrees with" in run(monkeypatch, noisy, **places).violations[0]
    found = run(monkeypatch, noisy, places=["y"], **places)
    assert [words] == ([text.split("'y' ")[1][:24] for text in found.violations] or [None])
