"""An effort is a list of steps; whatever the command line asks for, the recipe has them in order."""

import pytest

from edgecomp.errors import InputError
from edgecomp.options import adjusted
from edgecomp.recipe import Recipe, default_recipe, load_recipe
from edgecomp.recovery.effort import DEFAULT, INT8_STEPS, Effort
from edgecomp.target import load_target

TARGET = "raspberry-pi-4b"
BALANCED = default_recipe(load_target(TARGET), "int8")


def kinds(recipe: Recipe) -> list[str]:
    return [step.kind for step in recipe.steps]


@pytest.mark.parametrize("effort", INT8_STEPS)
def test_every_effort_is_a_recipe_that_survives_the_journey(effort: Effort, tmp_path) -> None:
    recipe = adjusted(BALANCED, effort=effort)
    assert recipe == default_recipe(load_target(TARGET), "int8", effort)
    (tmp_path / "recipe.toml").write_text(recipe.to_toml())
    assert load_recipe(tmp_path / "recipe.toml") == recipe


def test_each_effort_does_what_the_one_below_does_and_more() -> None:
    fast, balanced, best = (kinds(adjusted(BALANCED, effort=effort)) for effort in INT8_STEPS)
    assert set(fast) < set(balanced) < set(best)
    assert kinds(BALANCED) == balanced
    assert DEFAULT == "balanced"


def test_an_estimator_is_for_the_step_that_has_one() -> None:
    recipe = adjusted(BALANCED, estimator="minmax")
    assert [getattr(step, "estimator", None) for step in recipe.steps] == [None, None, "minmax"]


@pytest.mark.parametrize(
    ("options", "expected", "actual"),
    [
        ({"effort": "heroic"}, "one of fast, balanced, best", "heroic"),
        ({"effort": "best", "precision": "fp16"}, "precision int8", "precision fp16"),
    ],
)
def test_an_effort_that_makes_no_difference_is_refused(options: dict[str, str], expected: str, actual: str) -> None:
    with pytest.raises(InputError) as raised:
        adjusted(BALANCED, **options)
    assert expected in raised.value.expected
    assert actual in raised.value.actual
