"""The README's Python and the notebook run as they stand there, only shorter; its tables are what the
benchmarks wrote."""

import json
import re

import pytest

from benchmarks import preset, preset_multi, tables
from panet_keras import presets
from tests.conftest import PROJECT


@pytest.mark.slow
def test_the_training_example_runs(tmp_path, python):
    blocks = re.findall(r"```python\n(.*?)```", (PROJECT / "README.md").read_text("utf-8"), re.DOTALL)
    code = next(block for block in blocks if "model.fit" in block)
    for long, short in (("steps=40", "steps=1"), ("epochs=6", "epochs=1"), ("(128, 128)", "(64, 64)")):
        assert long in code
        code = code.replace(long, short)
    write = "from panet_keras.data import write_phantom\nwrite_phantom('demo/data', patients=4, images=3, size=(96, 128))\n"
    path = f"import sys; sys.path.insert(0, {str(PROJECT)!r})\n"
    done = python(path + write + code, cwd=tmp_path)
    assert re.search(r"\(96, 128\) 0\.\d+", done.stdout)


def test_the_notebook_has_its_stored_picture():
    """Of every code cell as it ran in order, by scripts/notebook."""
    cells = json.loads((PROJECT / "examples" / "few_shot_segmentation.ipynb").read_text("utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1)), "run scripts/notebook"
    assert any("image/png" in output.get("data", {}) for output in code[-1]["outputs"])


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, python):
    cells = json.loads((PROJECT / "examples" / "few_shot_segmentation.ipynb").read_text("utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert "steps=10" in code and "epochs=2" in code
    code = code.replace("steps=10", "steps=1").replace("epochs=2", "epochs=1")
    start = f"import sys, matplotlib; sys.path.insert(0, {str(PROJECT)!r}); matplotlib.use('Agg')\n"
    done = python(start + code + "\nfigure.savefig('figure.png')", cwd=tmp_path)
    assert (
        re.search(r"presence [01]\.\d+, area", done.stdout)
        and (tmp_path / "figure.png").stat().st_size > 10_000
    )


@pytest.mark.parametrize("page", tables.PAGES)
def test_the_tables_are_what_the_benchmarks_wrote(page):
    text = (PROJECT / page).read_text("utf-8")
    assert "<!-- table " in text
    assert tables.filled(text) == text, "a result has changed since; run python -m benchmarks.tables"


def test_the_table_of_hospitals():
    """Normal frames are preferred where there are rows of both; an absent cell is empty."""
    row = {
        "hospital": "A",
        "normals": 0,
        "adapted": False,
        "interval": [0.6, 0.8],
        "missed": 0.1,
        "minus one support": None,
    }
    rows = [
        row | {"supports": 1, "dice": 0.7},
        row | {"supports": 5, "dice": 0.75},
        row
        | {
            "supports": 5,
            "dice": 0.76,
            "normals": 10,
            "marked": 0.2,
            "marked interval": [0.1, 0.3],
            "presence AUROC": 0.9,
        },
        row | {"supports": 5, "dice": 0.99, "adapted": True},
        row | {"supports": 1, "dice": 0.5, "hospital": "B"},
    ]
    assert tables.hospitals_in_short(rows).splitlines()[2:] == [
        "| A | 0.700 (0.600 to 0.800) | 0.760 (0.600 to 0.800) | 0.990 (0.600 to 0.800) | 10% | 20% |",
        "| B | 0.500 (0.600 to 0.800) |  |  | 10% |  |",
    ]
    assert (
        tables.hospitals(rows).splitlines()[4]
        == "| A | 5 | 10 |  | 0.760 (0.600 to 0.800) |  | 10% | 20% (10% to 30%) | 0.900 |"
    )
    head, *lines = (line.count("|") for line in tables.hospitals(rows).splitlines())
    assert set(lines) == {head}


@pytest.mark.parametrize("name", presets.names())
def test_the_model_card_is_what_its_preset_says(name):
    folder = presets.FOLDER / name
    made_by = preset if name == preset.NAME else preset_multi
    about = json.loads((folder / "preset.json").read_text("utf-8"))
    assert made_by.card(about) == (folder / "README.md").read_text("utf-8")
