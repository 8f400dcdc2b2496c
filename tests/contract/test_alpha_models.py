"""Every model in the registry keeps every promise of the alpha contract, and has its page in the docs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgefleet.alpha.model import AlphaModel
from edgefleet.alpha.registry import all_models
from edgefleet.testing.alpha_contract import CHECKS, Check

CARDS = Path(__file__).parents[2] / "docs" / "reference" / "models"
MODELS = list(all_models().values())


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
def test_every_alpha_model(model: AlphaModel[Any, Any], check: Check) -> None:
    check(model)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
def test_every_alpha_model_has_a_page_that_names_its_parameters(model: AlphaModel[Any, Any]) -> None:
    page = (CARDS / f"{model.id}.md").read_text()

    for heading in ("## Formula", "## Inputs", "## Bar", "## Warm-up", "## Horizon", "## What it cannot do"):
        assert heading in page
    for name in model.parameters_type.model_fields:
        assert f"`{name}`" in page


def test_registry_finds_the_shipped_models_by_itself() -> None:
    assert {"ob_pressure", "ma_momentum"} <= set(all_models())
