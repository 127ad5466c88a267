"""What a version leaves behind when it ends: nothing."""

import gc
import types
import weakref

import pytest

from serving.api import monitoring
from serving.models import memory, model_manager
from serving.models.model_manager import LoadOptions, ModelManager, Version


class Graph:
    """As a loaded SavedModel, part of a cycle that counting references does not free."""

    def __init__(self):
        self.itself = self


@pytest.fixture
def loaded(monkeypatch):
    """Stands for TensorFlow: weak references to the graphs that were loaded."""
    graphs = []

    def load(number, path, options):
        if (path / "broken").exists():
            raise ValueError("broken")
        graph = Graph()
        graphs.append(weakref.ref(graph))
        return Version(number, graph, {}, {})

    monkeypatch.setattr(model_manager, "load_version", load)
    return graphs


def test_a_version_that_ended_is_freed_and_given_back(loaded, tmp_path, monkeypatch):
    given = []
    give_back = memory.give_back
    monkeypatch.setattr(memory, "give_back", lambda: given.append("asked"))
    (tmp_path / "1").mkdir()
    manager = ModelManager("panet", tmp_path, options=LoadOptions(retries=0))
    gc.disable()
    try:
        manager.refresh()
        manager.refresh()
        assert len(given) == 1  # it was loaded once; nothing changed since
        with manager.lease() as version:
            (tmp_path / "2").mkdir()
            manager.refresh()
            assert version.number == 1 and manager.available() == [2] and loaded[0]() is not None
            del version
        assert len(given) == 2
        # Its last request was answered after it was unloaded: the next look finds that.
        manager.refresh()
        manager.refresh()
        assert len(given) == 3 and loaded[0]() is not None
        give_back()
        assert loaded[0]() is None and loaded[1]() is not None
        (tmp_path / "3").mkdir()
        (tmp_path / "3" / "broken").touch()
        for _ in range(3):
            manager.refresh()
        assert len(given) == 4 and manager.available() == [2]  # a failed load counts once
    finally:
        gc.enable()


def test_what_is_free_is_returned_where_the_c_library_can(monkeypatch):
    asked = []
    monkeypatch.setattr(memory.gc, "collect", lambda: asked.append("collect"))
    memory.give_back()
    assert asked == ["collect"]
    monkeypatch.setattr(memory, "_function", lambda name: lambda *values: asked.append((name, *values)))
    memory.give_back()
    assert asked[1:] == ["collect", ("malloc_trim", 0)]
    monkeypatch.setattr(memory, "_function", lambda name: None)  # another C library
    memory.give_back()


def test_time_series_of_versions_do_not_pile_up():
    metrics = monitoring.Metrics()
    for number in range(monitoring.VERSIONS + 3):
        metrics.answers.observe("panet", number, {"presence": 0.5, "mask/empty": number == 1})
    text = metrics.text(types.SimpleNamespace(managers={})).decode()
    told = {
        line.split('version="')[1].split('"')[0] for line in text.splitlines() if "presence_count{" in line
    }
    assert told == {str(number) for number in range(3, monitoring.VERSIONS + 3)}
    assert "empty_masks_total{" not in text
