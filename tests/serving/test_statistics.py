"""Statistics of what a server was asked."""

import pathlib
import re
import types

import numpy as np
import pytest
from tensorflow_metadata.proto.v0 import statistics_pb2

from serving.api import statistics
from serving.api.monitoring import Metrics
from serving.api.statistics import Statistics, Values, facts_of
from serving.pictures import encode_png


def tensor(array):
    """What an observer needs of an eager tensor."""
    array = np.asarray(array)
    return types.SimpleNamespace(
        numpy=lambda: array,
        dtype=types.SimpleNamespace(is_floating=array.dtype.kind == "f"),
        __getitem__=array.__getitem__,
    )


class Fake(dict):
    """Tensors by alias."""

    def __init__(self, **arrays):
        super().__init__({alias: tensor(array) for alias, array in arrays.items()})


REQUEST = types.SimpleNamespace(model_spec=types.SimpleNamespace(name="panet"), inputs={})
VERSION = types.SimpleNamespace(number=3, supports={})


def answer(observer, presence, marked, state):
    masks = np.zeros((1, 1, 10, 10), np.uint8)
    masks.reshape(-1)[:marked] = 1
    outputs = Fake(presence=np.array([[[presence]]], np.float32), masks=masks)
    observer(None, REQUEST, VERSION, "segment", Fake(prototypes=state), outputs)


def read(folder):
    [file] = folder.rglob("*.pb")
    assert file.parent == folder / "panet" / "3" and not list(folder.rglob(".*"))
    listed = statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read_bytes())
    return listed.datasets[0], {f.path.step[0]: f.num_stats for f in listed.datasets[0].features}


def test_a_period_becomes_a_file_that_tfdv_reads(tmp_path, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(statistics.time, "time", lambda: now)
    metrics = Metrics()
    observer = Statistics(tmp_path, period=1e6, metrics=metrics.answers)
    state = np.ones((1, 4), np.float32)
    observer(None, REQUEST, VERSION, "encode_support", {}, Fake(prototypes=state))
    now = 1090.0
    answer(observer, 0.905, 20, state)
    answer(observer, 0.205, 0, state * 2)  # of a state that this server did not encode
    picture = np.full((40, 60, 3), 51, np.uint8)
    observer._add(("panet", 3), [facts_of(encode_png(picture))])
    observer.close()
    dataset, found = read(tmp_path)
    assert dataset.num_examples == 2 and dataset.name == "panet/3"
    assert found["presence"].mean == pytest.approx(0.555) and found["mask/empty"].mean == 0.5
    assert found["mask/area_fraction"].max == pytest.approx(0.2)
    age = found["support/age_seconds"]
    assert age.mean == 90 and age.common_stats.num_missing == 1
    assert found["image/brightness"].mean == pytest.approx(0.2) and found["image/contrast"].max == 0
    [bucket] = found["image/width"].histograms[0].buckets
    assert (bucket.low_value, bucket.high_value, bucket.sample_count) == (60, 60, 1)
    buckets = found["presence"].histograms[0].buckets
    assert [(round(b.low_value, 2), b.sample_count) for b in buckets if b.sample_count] == [
        (0.2, 1),
        (0.9, 1),
    ]
    text = metrics.text(types.SimpleNamespace(managers={})).decode()
    assert ':panet_bus:serving:empty_masks_total{model_name="panet",version="3"} 1.0' in text
    assert ':panet_bus:serving:presence_count{model_name="panet",version="3"} 2.0' in text


def test_memory_and_files_are_bounded(tmp_path):
    values = Values()
    for number in range(10_000):
        values.add(number)
    assert len(values.counts) <= statistics.DISTINCT + 10_000 // statistics.STEP + 1 and values.n == 10_000
    observer = Statistics(tmp_path, period=1e6, keep=2)
    for _ in range(3):
        answer(observer, 0.5, 1, np.ones((1, 2), np.float32))
        observer.write()
    for number in range(statistics.STATES + 10):
        observer._remember(number)
    assert len(observer._states) == statistics.STATES
    for number in range(statistics.VERSIONS + 10):
        observer._add(("panet", number), [{"presence": 0.5}])
    assert len(observer._windows) == statistics.VERSIONS
    observer._windows.clear()
    observer.close()
    assert len(list(tmp_path.rglob("*.pb"))) == 2


def test_pictures_are_looked_at_beside_the_requests(tmp_path, monkeypatch):
    monkeypatch.setattr(statistics, "PER_SECOND", 1e6)
    observer = Statistics(tmp_path, period=1e6)
    picture = encode_png(np.full((8, 9, 3), 255, np.uint8))
    for content in (b"no picture", picture):
        observer._pictures.put((("panet", 3), types.SimpleNamespace(numpy=lambda content=content: content)))
    for _ in range(500):
        if observer._windows:
            break
        statistics.time.sleep(0.01)
    observer.close()
    _, found = read(tmp_path)
    assert found["image/brightness"].mean == 1.0 and found["image/height"].max == 8


def test_the_dashboard_draws_metrics_that_there_are():
    text = (pathlib.Path(__file__).parents[2] / "serving" / "config" / "grafana-dashboard.json").read_text()
    known = Metrics().text(types.SimpleNamespace(managers={})).decode()
    families = set(re.findall(r"# TYPE (\S+) ", known))
    drawn = set(re.findall(r":panet_bus:serving:\w+", text))
    assert len(drawn) > 10
    assert {re.sub("_(sum|count)$", "", name) for name in drawn} <= families
