import importlib.metadata
import re
import sys

import pytest

from panet_keras.commands import start


def test_tensorflow_is_imported_without_what_it_only_looks_for(monkeypatch):
    for name in start.UNUSED:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "pandas", sys)  # a caller's own import, which stays
    seen = {}

    def keras(name):
        seen["asked"] = name
        seen["missing"] = []
        for looked_for in start.UNUSED:
            try:
                __import__(looked_for)
            except ImportError:
                seen["missing"].append(looked_for)

    monkeypatch.setattr(start.importlib, "import_module", keras)
    start.import_tensorflow()
    assert seen == {"asked": "keras", "missing": ["googleapiclient", "matplotlib"]}
    assert sys.modules["pandas"] is sys
    assert not {"googleapiclient", "matplotlib"} & sys.modules.keys()


def test_a_failed_import_leaves_nothing_behind(monkeypatch):
    for name in start.UNUSED:
        monkeypatch.delitem(sys.modules, name, raising=False)

    def broken(name):
        raise ImportError(name)

    monkeypatch.setattr(start.importlib, "import_module", broken)
    with pytest.raises(ImportError, match="keras"):
        start.import_tensorflow()
    assert not set(start.UNUSED) & sys.modules.keys()


@pytest.mark.parametrize("package", ["tensorflow", "keras"])
def test_neither_requires_what_is_left_out(package):
    """A version that does, does not start without: then `UNUSED` must be shorter."""
    required = {re.split(r"[^\w.-]", line)[0] for line in importlib.metadata.requires(package)}
    assert "numpy" in required and not required & {*start.UNUSED, "google-api-python-client"}
