"""Data of several hospitals: configuration, Examples, anomalies and report, without a run."""

import json
import shutil

import pytest

from panet_keras.data import read_examples, write_phantom
from panet_keras.errors import DataError
from panet_keras.training import BUS_MULTI
from pipeline.components import ExampleGen
from pipeline.config import Source, load_config
from pipeline.errors import ConfigError, PipelineError
from pipeline.lineage import queries
from pipeline.lineage.metadata import Metadata
from pipeline.orchestration import light_components
from pipeline.orchestration.artifacts import Examples
from pipeline.orchestration.cache import PROJECT, cache_key
from pipeline.pipeline import create_pipeline
from pipeline.report.html import _hospital, _marks, render
from pipeline.validation.image_checks import Row, check_rows, read_rows
from tests.checks import write_bus_uclm


def test_the_committed_configuration_is_the_preset_s(tmp_path):
    config = load_config(PROJECT / "pipeline" / "configs" / "hospitals.yaml", ["data.path=/d", "run.root=/r"])
    assert config.trainer.recipe == BUS_MULTI
    assert [source.name for source in config.data.sources] == ["BUS-UCLM", "BUSI", "BUS-BRA"]
    assert config.data.paths == ("/d/BUS-UCLM", "/d/BUSI/table.csv", "/d/BUS-BRA/table.csv")


def test_shares_are_the_recipe_s_where_it_has_none():
    sources = "data.sources=[{path: /a/A/t.csv, share: 2}, {path: ~/B, layout: folder, share: 0.5}, {path: /c, name: Ü, share: 1}]"

    def settings(*more):
        nodes = {
            node.component.name: node.arguments
            for node in create_pipeline(load_config(None, ["run.root=/r", *more]))
        }
        return nodes["Trainer"]["settings"]["recipe"]["episodes"]["source_shares"], nodes["ExampleGen"]

    shares, gen = settings(sources)
    assert shares == {"A": 2.0, "B": 0.5, "Ü": 1.0}
    assert gen["sources"] == (
        {"name": "A", "layout": "csv"},
        {"name": "B", "layout": "folder"},
        {"name": "Ü", "layout": "csv"},
    )
    assert gen["data_path"][0] == "/a/A/t.csv" and "~" not in gen["data_path"][1]
    assert settings(sources, "trainer.recipe.episodes.source_shares={A: 1, B: 1}")[0] == {"A": 1.0, "B": 1.0}
    # One source has nothing to share with, and equal shares are the recipe's own rule.
    assert (
        settings("data.sources=[{path: /a, share: 1}]")[0]
        == settings("data.sources=[[/a], [/b, csv]]")[0]
        == {}
    )
    assert Source("/data/BUSI/table.csv").name == "BUSI" and Source("/data/x.y", "folder").name == "x.y"


def test_every_source_counts_in_the_key_and_travels_as_text(tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_text(name)
    [gen, *_] = create_pipeline(
        load_config(
            None, [f"data.path={tmp_path}", "run.root=/r", "data.sources=[[one, folder], [two, folder]]"]
        )
    )
    first = cache_key(gen, {})
    assert cache_key(gen, {}) == first
    (tmp_path / "two" / "x.png").write_text("changed")
    assert cache_key(gen, {}) != first

    values = light_components.parameters(gen)
    assert all(type(value) in light_components.PLAIN for value in values.values())
    assert json.loads(values["data_path"]) == [f"{tmp_path}/one", f"{tmp_path}/two"]
    given = {}
    function = lambda **arguments: given.update(arguments)  # noqa: E731
    monkeypatch.setattr(
        "pipeline.components.ExampleGen",
        gen.component.__class__(**{**vars(gen.component), "function": function}),
    )
    monkeypatch.setattr(light_components, "cache_key", lambda *_: "key")
    light_components.execute("ExampleGen", values, {}, {"examples": tmp_path / "out"}, "")
    assert {name: given[name] for name in ("data_path", "sources")} == {
        name: gen.arguments[name] for name in ("data_path", "sources")
    }


@pytest.fixture(scope="module")
def hospitals(phantom, tmp_path_factory):
    """Two hospitals whose patients and files have the same names, and one picture that both have."""
    other = write_phantom(
        tmp_path_factory.mktemp("data") / "other", patients=3, images=3, seed=7, size=(96, 128)
    )
    shutil.copy(phantom / "images" / "PHAA_000.png", other / "images")
    return {"A": phantom, "B": other}


def generate(hospitals, folder, test_patients=(), share=0.3):
    folder.mkdir()
    examples = Examples(folder / "examples")
    examples.path.mkdir()
    said = ExampleGen.function(
        data_path=tuple(map(str, hospitals.values())),
        layout="",
        sources=tuple({"name": name, "layout": "bus_uclm"} for name in hospitals),
        test_patients=test_patients,
        test_share=share,
        split_seed=0,
        engine={"runner": "", "options": ()},
        work_dir=str(folder),
        examples=examples,
    )
    return examples, json.loads(examples.findings.read_text("utf-8")), said


def test_hospitals_keep_their_names_apart_and_are_on_both_sides(hospitals, tmp_path):
    examples, findings, said = generate(hospitals, tmp_path / "drawn")
    records = {split: read_examples(examples.split(split)) for split in Examples.SPLITS}
    every = [record for members in records.values() for record in members]
    assert (
        len({record.filename for record in every}) == len(every) == 21 and "of 2 sources" in said["summary"]
    )
    for record in every:
        assert record.patient == f"{record.source}/{record.filename.split('/')[1][:4]}"
    for split, members in records.items():
        assert {record.source for record in members} == {"A", "B"}
        assert findings["files"][split] == [record.filename for record in members]
        for name in "AB":
            own = [record for record in members if record.source == name]
            counts = findings["sources"][name][split]
            assert counts["patients"] == len({record.patient for record in own})
            assert (
                counts["lesions"] + counts["normals"] == len(own) and counts["normals"] == counts["patients"]
            )
    patients = [{record.patient for record in members} for members in records.values()]
    assert not patients[0] & patients[1] and len(patients[0] | patients[1]) == 7
    # They share a picture.
    assert len({"A/PHAA", "B/PHAA"} & patients[0]) in (0, 2)
    assert any("A/PHAA_000.png = B/PHAA_000.png" in warning for warning in findings["warnings"])

    metadata = Metadata(tmp_path / "m.db")
    metadata.put_execution("ExampleGen", metadata.start_run("r"), {}, {"examples": examples}, "COMPLETE")
    [entry] = queries.forward(metadata, "B/PHAA")
    assert entry["split"] == ("train" if "B/PHAA" in patients[0] else "test")
    with pytest.raises(PipelineError, match=r"'PHAA'; .*did you mean A/PHAA or B/PHAA\?"):
        queries.forward(metadata, "PHAA")


def test_patients_are_named_with_their_hospital(hospitals, tmp_path):
    # PHAD is a patient of A only, so that the name alone will do.
    examples, findings, _ = generate(hospitals, tmp_path / "named", ("A/PHAA", "PHAD"))
    assert findings["patients"]["test"] == ["A/PHAA", "A/PHAD"]
    found = check_rows([row for split in Examples.SPLITS for row in read_rows(examples.split(split), split)])
    assert {item["type"]: (item["split"], item["description"]) for item in found} == {
        "DUPLICATE_IMAGE": (
            "test and train",
            "B/PHAA_000.png, A/PHAA_000.png: one picture, pixel for pixel, of 2 patients of 2 sources, in test and train. Keep one.",
        ),
        "SOURCE_ON_ONE_SIDE": (
            "train",
            "source B: all 9 images are in train, so that no score is of it. Test some of its patients.",
        ),
    }
    with pytest.raises(
        ConfigError, match="PHAB is a patient of several sources; expected one of A/PHAB, B/PHAB"
    ):
        generate(hospitals, tmp_path / "unclear", ("PHAB",))
    single = write_bus_uclm(tmp_path / "single", [("AAAA_000.png", "Benign"), ("AAAA_001.png", "Normal")])
    with pytest.raises(ConfigError, match=r"data.sources: source C: hold_out got 1 patient\(s\) \(C/AAAA\)"):
        generate({**hospitals, "C": single}, tmp_path / "one")


def test_faults_of_all_hospitals_are_told_at_once(hospitals, tmp_path):
    broken = {name: shutil.copytree(folder, tmp_path / name) for name, folder in hospitals.items()}
    for name, file in (("A", "PHAA_001"), ("B", "PHAC_002")):
        (broken[name] / "masks" / f"{file}.png").unlink()
    with pytest.raises(DataError, match=r"data.sources: 2 problem\(s\)") as error:
        generate(broken, tmp_path / "run")
    for name, file in (("A", "PHAA_001"), ("B", "PHAC_002")):
        assert f"{name} ({broken[name]}): masks/{file}.png: missing" in str(error.value)


def test_a_flag_is_compared_with_the_label_in_each_hospital():
    def row(source, number, lesion, marks):
        name = f"{source}/{number}"
        return Row(
            "train",
            name,
            name,
            "Benign" if lesion else "Normal",
            int(lesion),
            name,
            False,
            marks,
            False,
            source,
        )

    # In A marks say all; in B, where they are on every second picture of either kind, nothing.
    rows = [row("A", i, i % 2, bool(i % 2)) for i in range(30)] + [
        row("B", i, i % 2, bool(i % 4 // 2)) for i in range(32)
    ]
    flags = [item["description"] for item in check_rows(rows) if item["type"] == "FLAG_TELLS_LABEL"]
    assert len(flags) == 1 and flags[0].startswith(
        "A: marks go with the label: 15 of 15 lesion images have it, and 0 of 15"
    )


def test_the_report_tells_hospitals_apart():
    figures = {
        "lesions": 7,
        "found": 6 / 7,
        "false_marks": 1.25,
        "froc": {"0.25": 0.5, "0.5": 0.5, "1.0": 0.75, "2.0": 6 / 7},
    }
    hospital = {
        "images": 6,
        "patients": 4,
        "dice": {"mean": 0.7512, "low": 0.6, "high": 0.9},
        "miss_rate": 0.125,
        "marks": figures,
        "normals": 0,
        "false_any": None,
    }
    page = render(
        "lesions.html",
        scores={"headline": "cross-patient, 1 shot", "settings": {"supports": ()}},
        marks=[("cross-patient, 1 shot", *_marks(figures))],
        hospitals=[
            _hospital("Klinik <Ü>", hospital),
            _hospital("Screening", {"images": 0, "not_scored": 9}),
        ],
    )
    for cells in (
        ("cross-patient, 1 shot", "7", "85.7%", "1.25", "50.0%", "50.0%", "75.0%", "85.7%"),
        (
            "Klinik &lt;Ü&gt;",
            "6 (4)",
            "0.751 (0.600 to 0.900)",
            "12.5%",
            "85.7% of 7",
            "1.25",
            "no such frame",
        ),
        ("Screening", "none of 9: no lesion could be scored", *[""] * 5),
    ):
        assert "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>" in page
    # Scores of an earlier version have neither.
    assert "<h3>" not in render("lesions.html", scores={"settings": {}}, marks=[], hospitals=[])
