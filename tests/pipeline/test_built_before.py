"""A model is built once to see that it can be: later runs need no TensorFlow for it."""

import json

import pytest

from panet_keras.errors import PANetError
from panet_keras.recipes import Recipe
from pipeline.orchestration import built_before


@pytest.fixture
def built(monkeypatch):
    """Models that were built."""
    models = []

    def check(recipe):
        models.append(recipe.model["decoder"])
        if recipe.model["decoder"] == "wrong":
            raise PANetError("no such head")

    monkeypatch.setattr(Recipe, "check", check)
    return models


def test_a_model_is_built_once_for_a_code(built, tmp_path, monkeypatch):
    light, unet, wrong = (Recipe().change(decoder=name) for name in ("bilinear", "unet", "wrong"))
    for recipe in (light, light, unet, light, light.change(steps=30, shots=5)):
        built_before.check(recipe, tmp_path)
    assert built == ["bilinear", "unet"]
    for _ in range(2):  # what cannot be built is said each time
        with pytest.raises(PANetError, match="no such head"):
            built_before.check(wrong, tmp_path)
    assert built[2:] == ["wrong", "wrong"]
    monkeypatch.setattr(built_before, "library_digest", lambda: "changed")
    built_before.check(light, tmp_path)
    assert built[4:] == ["bilinear"] and len(json.loads((tmp_path / ".built.json").read_text())) == 3
    # A file that somebody spoiled, a root that is not there yet, and one that cannot be.
    (tmp_path / ".built.json").write_text("[")
    for root in (tmp_path, tmp_path / "new", tmp_path / "new", tmp_path / ".built.json", tmp_path):
        built_before.check(light, root)
    assert built[5:] == ["bilinear"] * 3
