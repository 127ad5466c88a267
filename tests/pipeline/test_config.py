import dataclasses
import json
import os
import pathlib
import typing

import pytest
import yaml

from pipeline.config import load_config, to_yaml
from pipeline.errors import ConfigError
from pipeline.settings import build, plain, read_file, read_setting

CONFIGS = pathlib.Path(__file__).resolve().parent.parent.parent / "pipeline" / "configs"
PATHS = ["data.path=/d", "run.root=/r"]


@pytest.mark.parametrize("name", ["demo", "bus_uclm", "hospitals"])
def test_committed_configurations_load_and_round_trip(name, tmp_path):
    settings = [
        "trainer.steps=7",
        "trainer.learning_rate=1e-4",
        "data.test_patients=[001,Müller #2]",
        "evaluator.quick=yes",
    ]
    config = load_config(CONFIGS / f"{name}.yaml", [*PATHS, *settings])
    assert config.evaluator.shots[0] == 1 and config.evaluator.quick is True
    assert config.data.test_patients == ("001", "Müller #2")
    text = to_yaml(config)
    assert "steps: 7\n" in text and "Müller #2" in text
    (tmp_path / "again.yaml").write_text(text, "utf-8")
    assert load_config(tmp_path / "again.yaml") == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["trainer.step=7"],
            "^--set trainer.step=7: unknown key trainer.step; did you mean trainer.recipe.steps",
        ),
        (["trianer.steps=7"], "^--set trianer.steps=7: unknown key trianer; did you mean trainer"),
        (
            ["trainer.steps=many"],
            r"^--set trainer.steps=many: trainer.recipe.steps is 'many' \(str\); expected int",
        ),
        (["trainer.steps=true"], r"trainer.recipe.steps is True \(bool\); expected int"),
        (["trainer.steps.more=1"], "trainer.recipe.steps is a value and has no key more"),
        (["trainer"], "expected SECTION.KEY=VALUE"),
        (["trainer=5"], "expected SECTION.KEY=VALUE"),
        (["run.root="], "run.root is not set; give it in the file or with --set run.root=DIR"),
        (["run.cache=perhaps"], r"run.cache is 'perhaps' \(str\); expected bool"),
        (["evaluator.min_dice=7"], r"evaluator.min_dice is 7.0; expected a number in \[0, 1\]"),
        (["evaluator.min_dice=.nan"], r"evaluator.min_dice is nan; expected a number in \[0, 1\]"),
        (["evaluator.seed=-1"], r"evaluator.seed is -1; expected a number in \[0, inf\)"),
        (["evaluator.shots=[1, 0]"], r"evaluator.shots has \[0\]; expected numbers in \[1, inf\)"),
        (["evaluator.shots=[]"], "evaluator.shots is empty; expected at least one"),
        (["evaluator.shots=1,5"], r"evaluator.shots is '1,5' \(str\); expected a list .* of int"),
        (
            ["evaluator.protocols=[cross-patent]"],
            r"has \['cross-patent'\]; expected names of .*did you mean cross-patient",
        ),
        (["data.layout=cocoa"], "data.layout is 'cocoa'; expected one of .bus_bra, bus_uclm"),
        (["data.test_share=2"], r"data.test_share is 2.0; expected a number in \(0, 1\)"),
        (["data.split_seed=-3"], "data.split_seed is -3"),
        (
            ["validator.go_on=[MASK_COLOR]"],
            r"has \['MASK_COLOR'\]; expected names of .*did you mean MASK_COLOUR",
        ),
        (["infra_validator.timeout=0"], r"infra_validator.timeout is 0.0; expected a number in \(0, inf\)"),
        (["pusher.model_name=a/b"], "pusher.model_name is 'a/b'; expected a plain name"),
        (["data.sources=[{layout: csv}]"], "a source has no path; expected {path: FOLDER or CSV FILE"),
        (
            ["data.sources=[{path: a, layot: csv}]"],
            r"unknown key layot in .*; did you mean layout\? Known: path, layout, name, share",
        ),
        (["data.sources=[{path: a, layout: cvs}]"], "layout is 'cvs'; expected one of .*did you mean csv"),
        (["data.sources=[{path: a, share: -1}]"], r"share is -1.0; expected a number in \[0, inf\)"),
        (["data.sources=[{path: a, name: a/b}]"], "name is 'a/b'; expected a plain name"),
        (["data.sources=[{path: a.csv}]"], "the source at a.csv has the name ''; expected a plain one"),
        (
            ["data.sources=[{path: x/A}, {path: y/a}]"],
            "data.sources has more than one named A, a; give each a name",
        ),
        (
            ["data.sources=[{path: A, share: 1}, {path: B}]"],
            "data.sources has no share for B; expected one for each, or none",
        ),
        (["data.path=~no-such-user-here/x"], "there is no such user; expected a path"),
        (["run.root=${NO_SUCH_THING}/x"], r"there is no variable \$\{NO_SUCH_THING\}; expected a path"),
        (["trainer.steps=1:30"], r"trainer.recipe.steps is '1:30' \(str\); expected int"),
        (["infra_validator.timeout=2:00"], r"infra_validator.timeout is '2:00' \(str\); expected float"),
    ],
)
def test_a_wrong_setting_is_blamed_on_the_command_line(settings, message, tmp_path):
    # A file is there, too, and is not to blame.
    (tmp_path / "good.yaml").write_text("trainer:\n  seed: 1\n")
    with pytest.raises(ConfigError, match=message) as error:
        load_config(tmp_path / "good.yaml", [*PATHS, *settings])
    assert "good.yaml" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "trainer:\n  seed: 1\n  stepz: 3\n",
            r"bad.yaml:3: unknown key trainer.stepz; did you mean trainer.recipe.steps\?",
        ),
        (
            "evaluator:\n  shots: [1, two]\n",
            "bad.yaml:2: evaluator.shots is .1, 'two'. .list.; expected a list .* of int",
        ),
        (
            "evaluator:\n  min_dice: 0.1\n  min_dice: 0.2\n",
            "bad.yaml:3: evaluator.min_dice is there already in line 2",
        ),
        ("data: 5\n", "bad.yaml:1: data is 5; expected keys: path, layout"),
        ("data:\n  path: null\n", r"bad.yaml:2: data.path is None \(NoneType\); expected str"),
        ("[a]: 1\n", "bad.yaml:1: a key is a list or a mapping; expected a name"),
        ("- a\n", "bad.yaml: found a list; expected sections: data, run"),
        ("trainer: [", "bad.yaml: not YAML"),
        ("data: &d {path: *d}\n", "bad.yaml: a section that is part of itself .an alias"),
        # Inside lists as in sections.
        ("data:\n  sources:\n  - path: /x\n    path: /y\n", "bad.yaml:2: path is there already in line 3"),
        (
            "data: {sources: [{path: /x, layot: csv}]}\n",
            "unknown key layot in .*; did you mean layout. Known: path",
        ),
        ("data: {sources: [{path: /x, share: much}]}\n", r"share is 'much' \(str\) in .*; expected float"),
        ("data: {sources: [{path: ..}]}\n", r"the source at \.\. has the name '\.\.'; expected a plain one"),
        (
            "data: {sources: [{path: /x, name: Köln}, {path: /y, name: Ko\u0308ln}]}\n",
            "more than one named K",
        ),
        (
            "data: {sources: [{path: /x, name: B}]}\ntrainer: {source_shares: {A: 1}}\n",
            r"source_shares has \['A'\], and data.sources has \['B'\]",
        ),
        ("trainer:\n  <<: 3\n", "bad.yaml:2: << joins expected a mapping or list of mappings"),
        ("data: {path: !env DATA}\n", "bad.yaml:1: !env DATA is a tag of another program's"),
        ("run:\n  root: ${OUT:-runs}\n", r"run.root is .*, and there is no variable \$\{OUT:-runs\}"),
    ],
)
def test_a_wrong_file_is_blamed_with_its_line(text, message, tmp_path):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "bad.yaml", PATHS)
    with pytest.raises(ConfigError, match="nowhere.yaml: no such file"):
        load_config(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("data.path=2024", "2024"),
        ("data.path=/my data/set #1: new", "/my data/set #1: new"),
        ("data.path='/quoted'", "/quoted"),
        ("data.path=~/set", os.path.expanduser("~/set")),
        ("data.path=~", os.path.expanduser("~")),
        ("data.path=Größe/超音波", "Größe/超音波"),
        ("data.path=yes", "yes"),
        ("data.test_patients=[001,002]", ("001", "002")),
        ("data.test_patients=[ '0,1' , \"b c\", d #3 ]", ("0,1", "b c", "d #3")),
        ("data.test_patients=[ANFO]", ("ANFO",)),
        ("data.test_patients=007", ("007",)),
        ("data.test_patients=[]", ()),
        ("data.test_patients=", ()),
        ("beam.options=--a=1", ("--a=1",)),
        ("evaluator.shots=3", (3,)),
        ("evaluator.shots=[2,4]", (2, 4)),
        ("evaluator.shots=[010,1_000]", (10, 1000)),
        ("evaluator.seed=0x10", 16),
        ("data.path=$HOME/x", os.path.expandvars("$HOME/x")),
        ("run.root=~/runs", os.path.expanduser("~/runs")),
        ("validator.schema=~/s.pbtxt", os.path.expanduser("~/s.pbtxt")),
        ("pusher.destination=~/served", os.path.expanduser("~/served")),
    ],
)
def test_text_is_taken_as_it_stands(setting, value):
    config = load_config(None, [*PATHS, setting])
    section, key = setting.partition("=")[0].split(".")
    assert getattr(getattr(config, section), key) == value


def test_names_of_a_file_keep_their_zeros_and_the_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    text = "data: {path: ~/x, test_patients: [001, 1e3, no, 2024-01-01]}\nrun:\n  root: ~/Ergebnisse ü\ntrainer:\n"
    (tmp_path / "c.yaml").write_text(text, "utf-8")
    config = load_config("~/c.yaml")
    assert config.data.path == f"{tmp_path}/x" and config.run.root == f"{tmp_path}/Ergebnisse ü"
    assert config.data.test_patients == ("001", "1e3", "no", "2024-01-01")


@dataclasses.dataclass(frozen=True)
class Spec:
    shots: int = 1
    size: tuple[int, int] = (256, 256)
    seed: int | None = None
    shares: float | tuple[float, ...] = 0.5


@dataclasses.dataclass(frozen=True)
class Schedule:
    steps: int = 100
    rate: float = dataclasses.field(default=1e-3, metadata={"range": "(0, 1]"})
    kind: typing.Literal["cosine", "flat"] = "cosine"
    shots: int = 0


@dataclasses.dataclass(frozen=True)
class Extra:
    share: float = 0.0


@dataclasses.dataclass(frozen=True)
class Recipe:
    model: dict = dataclasses.field(default_factory=lambda: {"encoder": "lite0", "head": {"refine": False}})
    episodes: Spec = Spec()
    schedule: Schedule = Schedule()
    extra: Extra | None = None
    mix: tuple[Spec, ...] = ()
    weights: dict[str, float] = dataclasses.field(
        default_factory=dict, metadata={"keys": lambda: ("St. Ä", "B")}
    )

    def __post_init__(self):
        if self.schedule.steps == 13:
            raise ValueError("13 steps bring bad luck.")


@dataclasses.dataclass(frozen=True)
class House:
    trainer: Recipe = Recipe()


def made(*settings):
    return build(House, [read_setting(setting) for setting in settings]).trainer


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        ("trainer.schedule.steps=7", {"schedule": Schedule(steps=7)}),
        ("trainer.steps=7", {"schedule": Schedule(steps=7)}),
        ("trainer.size=[64, 32]", {"episodes": Spec(size=(64, 32))}),
        ("trainer.episodes.seed=3", {"episodes": Spec(seed=3)}),
        ("trainer.episodes.seed=null", {}),
        ("trainer.episodes.shares=[1, 5e-1]", {"episodes": Spec(shares=(1.0, 0.5))}),
        ("trainer.episodes={shots: 5, size: [8, 8]}", {"episodes": Spec(shots=5, size=(8, 8))}),
        ("trainer.kind=flat", {"schedule": Schedule(kind="flat")}),
        ("trainer.encoder=vgg16", {"model": {"encoder": "vgg16", "head": {"refine": False}}}),
        ("trainer.model.head.refine=true", {"model": {"encoder": "lite0", "head": {"refine": True}}}),
        ("trainer.model.new=1", {"model": {"encoder": "lite0", "head": {"refine": False}, "new": 1}}),
        ("trainer.share=2", {"extra": Extra(2.0)}),
        ("trainer.extra=null", {}),
        ("trainer.mix=[{shots: 2}, [3, [8, 8]]]", {"mix": (Spec(shots=2), Spec(3, (8, 8)))}),
        ("trainer.weights={St. Ä: 2}", {"weights": {"St. Ä": 2.0}}),
        ("trainer.B=1", {"weights": {"B": 1.0}}),
    ],
)
def test_sections_nest_and_short_keys_find_the_one_they_mean(setting, changed, tmp_path):
    recipe = made(setting)
    assert plain(recipe) == plain(dataclasses.replace(Recipe(), **changed))
    assert type(recipe.episodes.size) is tuple
    # What is written is read back.
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(plain(House(recipe))))
    assert build(House, read_file(tmp_path / "r.yaml", House)).trainer == recipe


def test_the_last_of_several_settings_wins():
    assert made(
        "trainer.steps=1", "trainer.schedule={steps: 2, kind: flat}", "trainer.steps=3"
    ).schedule == Schedule(3, kind="flat")
    assert made("trainer.extra=null", "trainer.share=2").extra == Extra(2.0)
    assert made("trainer.share=2", "trainer.extra=null").extra is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["trainer.shots=2"],
            "trainer.shots may be trainer.episodes.shots or trainer.schedule.shots; write which",
        ),
        (
            ["trainer.sizes=[1, 2]"],
            r"unknown key trainer.sizes; did you mean trainer.episodes.size\? Known: model, episodes",
        ),
        (["trainer.rate=2"], r"trainer.schedule.rate is 2.0; expected a number in \(0, 1\]"),
        (["trainer.size=[1]"], r"trainer.episodes.size is \[1\] \(list\); expected a list \[int, int\]"),
        (["trainer.kind=linear"], r"is 'linear' \(str\); expected one of \['cosine', 'flat'\]"),
        (["trainer.episodes.seed=x"], r"expected int or nothing \(null\)"),
        (["trainer.model=5"], "trainer.model is 5; expected keys: encoder, head"),
        (
            ["trainer.mix=[{shot: 2}]"],
            r"unknown key shot in .*; did you mean shots\? Known: shots, size, seed, shares",
        ),
        (["trainer.weights.C=1"], "unknown key trainer.weights.C. Known: St. Ä, B"),
        (["trainer.steps=13"], "^--set trainer.steps=13: 13 steps bring bad luck"),
    ],
)
def test_what_a_nested_section_refuses(settings, message):
    with pytest.raises(ConfigError, match=message):
        made(*settings)


COCO = {"images": [{"id": 1, "file_name": "b.png"}], "annotations": []}


@pytest.mark.parametrize(
    ("index", "text"),
    [
        ("set.csv", "image,mask\npictures/a.png,pictures/b.png|nowhere.png\n"),
        ("set.csv", "image;mask\npictures/a.png;pictures/b.png\n"),
        ("set.csv", "image\tmask\npictures\\a.png\tpictures\\b.png\n"),
        ("table.tsv", "image\tmask\npictures/a.png\tpictures/b.png\n"),
        ("table", "image;mask\npictures/a.png;pictures/b.png\n"),
        ("set.csv", "sep=;\nmask\n'pictures/b.png'\n".replace("'", '"')),
        ("pictures.json", json.dumps(COCO).replace("b.png", "pictures/b.png")),
        ("annotations/c.json", json.dumps(COCO).replace("b.png", "../pictures/b.png")),
        ("annotations", json.dumps({"shapes": [], "imagePath": "..\\pictures\\b.png"})),
        ("linked", None),
    ],
)
def test_a_data_set_changes_when_one_of_its_pictures_does(tmp_path, index, text):
    """What is read counts in the cache key, wherever it lies and however it is named."""
    from pipeline.orchestration.cache import digest_path

    for folder in ("pictures", "annotations", "linked"):
        (tmp_path / folder).mkdir()
    for name in ("a", "b", "other"):
        (tmp_path / "pictures" / f"{name}.png").write_text(name)
    place = tmp_path / index
    if text is None:
        (place / "images").symlink_to(tmp_path / "pictures")
        (place / "again").symlink_to(place)
    else:
        (place / "x.json" if place.is_dir() else place).write_text(text)
    first = digest_path(place)
    (tmp_path / "pictures" / "other.png").write_text("changed")
    assert (digest_path(place) == first) is (text is not None)
    first = digest_path(place)
    if place.is_dir():
        # What Jupyter, git and a look into the folder leave there is no data.
        for name in (
            ".ipynb_checkpoints/b.png",
            "sub/.git/index.json",
            "Thumbs.db",
            "__MACOSX/b.png",
            ".DS_Store",
        ):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text("x")
        assert digest_path(place) == first
    (tmp_path / "pictures" / "b.png").write_text("changed")
    assert digest_path(place) != first


def test_what_decides_a_result_and_is_no_setting_counts_in_the_key(tmp_path, monkeypatch):
    """Weights that a training begins from, by content; and the salt of DICOM patients, where there are any."""
    from pipeline.orchestration.cache import cache_key
    from pipeline.pipeline import create_pipeline

    def keys(*settings):
        config = load_config(None, [f"data.path={tmp_path}/data", "run.root=/r", *settings])
        nodes = {node.component.name: node for node in create_pipeline(config)}
        return cache_key(nodes["ExampleGen"], {}), cache_key(nodes["Trainer"], {})

    preset, weights = tmp_path / "preset", tmp_path / "w.h5"
    preset.mkdir()
    (preset / "preset.json").write_text("{}")
    for place, setting in (
        (preset / "weights.npz", f"trainer.start_from={preset}"),
        (weights, f"trainer.weights={weights}"),
    ):
        place.write_text("before")
        first = keys(setting)
        os.utime(place, (1, 1))
        assert keys(setting) == first
        place.write_text("after!")
        assert keys(setting)[0] == first[0] and keys(setting)[1] != first[1]
    shipped = {
        node.component.name: node
        for node in create_pipeline(
            load_config(None, ["data.path=/d", "run.root=/r", "trainer.start_from=bus_uclm_lite0"])
        )
    }["Trainer"].arguments["weights"]
    assert [pathlib.Path(path).parts[-3:] for path in shipped] == [
        ("panet_keras", "presets", "bus_uclm_lite0")
    ]

    for layout, counts in (
        ("data.layout=dicom", True),
        ("data.sources=[[a, dicom], [b]]", True),
        ("data.layout=csv", False),
    ):
        monkeypatch.setenv("PANET_DICOM_SALT", "one")
        first = keys(layout)
        monkeypatch.setenv("PANET_DICOM_SALT", "another")
        assert (keys(layout)[0] != first[0]) is counts and keys(layout)[1] == first[1]


def test_a_source_may_take_what_another_has(tmp_path):
    text = "data:\n  sources:\n  - &a {path: /x, layout: folder, share: 2}\n  - {<<: *a, path: /y, name: b}\n"
    (tmp_path / "c.yaml").write_text(text)
    first, second = load_config(tmp_path / "c.yaml", ["run.root=/r"]).data.sources
    assert (first.name, first.layout, first.share) == ("x", "folder", 2.0)
    assert second == dataclasses.replace(first, path="/y", name="b")
