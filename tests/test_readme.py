"""The README's Python runs as it stands there, only shorter."""

import re

from tests.conftest import PROJECT


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
