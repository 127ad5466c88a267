import pathlib

import pytest

from pipeline.config import load_config, to_yaml
from pipeline.errors import ConfigError

CONFIGS = pathlib.Path(__file__).resolve().parent.parent.parent / "pipeline" / "configs"
PATHS = ["data.path=/d", "run.root=/r"]


@pytest.mark.parametrize("name", ["demo", "bus_uclm"])
def test_committed_configurations_load_and_round_trip(name, tmp_path):
    config = load_config(CONFIGS / f"{name}.yaml", [*PATHS, "trainer.steps=7", "trainer.learning_rate=1e-4"])
    assert config.trainer.steps == 7 and config.trainer.learning_rate == 1e-4 and config.evaluator.shots[0] == 1
    (tmp_path / "again.yaml").write_text(to_yaml(config))
    assert load_config(tmp_path / "again.yaml") == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["trainer.step=7"], "unknown key trainer.step; did you mean trainer.steps"),
        (["trianer.steps=7"], "unknown key trianer; did you mean trainer"),
        (["trainer.steps=many"], r"trainer.steps is 'many' \(str\); expected int"),
        (["trainer.steps=true"], r"trainer.steps is True \(bool\); expected int"),
        (["trainer"], "expected SECTION.KEY=VALUE"),
        (["run.root="], "data.path|run.root"),
    ],
)
def test_mistakes_are_named_with_what_was_expected(settings, message):
    with pytest.raises(ConfigError, match=message):
        load_config(None, [*PATHS, *settings])


def test_broken_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match="nowhere.yaml: no such file"):
        load_config(tmp_path / "nowhere.yaml")
    (tmp_path / "bad.yaml").write_text("trainer: [")
    with pytest.raises(ConfigError, match="bad.yaml: not YAML"):
        load_config(tmp_path / "bad.yaml")


def test_a_table_changes_when_one_of_its_pictures_does(tmp_path):
    from pipeline.orchestration.cache import digest_path

    (tmp_path / "pictures").mkdir()
    for name in ("a", "b", "other"):
        (tmp_path / "pictures" / f"{name}.png").write_text(name)
    (tmp_path / "set.csv").write_text("image,mask\npictures/a.png,pictures/b.png|nowhere.png\n")
    first = digest_path(tmp_path / "set.csv")
    (tmp_path / "pictures" / "other.png").write_text("changed")
    assert digest_path(tmp_path / "set.csv") == first
    (tmp_path / "pictures" / "b.png").write_text("changed")
    assert digest_path(tmp_path / "set.csv") != first
