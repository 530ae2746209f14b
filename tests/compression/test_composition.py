"""Pruning, distillation and rounded training in one recipe, on the demo's digits."""

from dataclasses import replace
from pathlib import Path

import edgecomp
from edgecomp.recipe import Recipe, load_recipe


def test_pruning_distillation_and_rounded_training_compose(tmp_path: Path) -> None:
    recipe = load_recipe(Path(__file__).parents[2] / "examples" / "prune_distill_qat.toml")
    distill, qat = (next(step for step in recipe.steps if step.kind == kind) for kind in ("distill", "qat"))
    quick = {distill: replace(distill, epochs=3), qat: replace(qat, epochs=1)}  # type: ignore[type-var]
    recipe = replace(recipe, steps=tuple(quick.get(step, step) for step in recipe.steps))  # type: ignore[call-overload]
    result = edgecomp.compress("edgecomp.demo:model", recipe.target, tmp_path / "digits", recipe=recipe)
    steps = {step["name"]: step["facts"] for step in result.manifest["provenance"]}
    assert list(steps)[:3] == ["original", "prune-channels", "distill"]
    assert list(steps)[-1] == "qat"
    assert steps["distill"]["macs"] <= 0.5 * steps["original"]["macs"]
    assert steps["distill"]["metric"] > steps["prune-channels"]["metric"]
    metrics = [verdict.metrics["accuracy"] for verdict in result.verification.verdicts]
    assert len(metrics) == 4
    assert min(metrics) > steps["original"]["metric"] - 0.03
    assert max(metrics) - min(metrics) <= 0.0061
    assert Recipe.from_dict(recipe.as_dict(), subject="again") == recipe
