"""Runs the notebook and stores in it what its cells print and draw: `scripts/notebook`, some minutes. All of
it is synthetic."""

import base64
import contextlib
import io
import json
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

from panet_keras.files import write_whole  # noqa: E402

NOTEBOOK = pathlib.Path(__file__).parent / "few_shot_segmentation.ipynb"


def run(cell, number, names):
    """Executes a code cell among the names of those before it, and keeps its output."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    outputs = []
    if printed.getvalue():
        outputs.append(
            {"name": "stdout", "output_type": "stream", "text": printed.getvalue().splitlines(keepends=True)}
        )
    for figure in map(pyplot.figure, pyplot.get_fignums()):
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=70)
        data = {"image/png": base64.b64encode(picture.getvalue()).decode(), "text/plain": ["<Figure>"]}
        outputs.append({"data": data, "metadata": {}, "output_type": "display_data"})
    pyplot.close("all")
    cell |= {"execution_count": number, "outputs": outputs}


def main():
    notebook = json.loads(NOTEBOOK.read_text("utf-8"))
    names = {"__name__": "__main__"}
    for number, cell in enumerate((cell for cell in notebook["cells"] if cell["cell_type"] == "code"), 1):
        run(cell, number, names)
    write_whole(NOTEBOOK, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
