"""Statistics of what a server was asked."""

import json
import os
import pathlib
import re
import shutil
import types

import numpy as np
import pytest
import yaml
from tensorflow_metadata.proto.v0 import statistics_pb2

from panet_keras.data import Record
from serving.api import monitoring, statistics
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


def test_a_kept_support_set_is_as_old_as_its_newest_file(phantom, tmp_path, monkeypatch):
    import tensorflow as tf

    from serving.models.support_sets import SupportSets

    folder = tmp_path / "sets" / "clinic"
    folder.mkdir(parents=True)
    for age, (kind, name) in enumerate((("images", "a.png"), ("masks", "a_mask.png"))):
        shutil.copy(phantom / kind / "PHAA_000.png", folder / name)
        os.utime(folder / name, (1000 + age, 1000 + age))
    version = types.SimpleNamespace(
        number=3, supports={}, refused={}, signatures={"encode_support": lambda **_: {"prototypes": None}}
    )
    SupportSets(tmp_path / "sets", (32, 32)).encode(version)
    monkeypatch.setattr(statistics.time, "time", lambda: 1061.0)
    named = types.SimpleNamespace(inputs={"support_set": tf.make_tensor_proto(["clinic"])})
    request = types.SimpleNamespace(**vars(REQUEST) | vars(named))
    observer = Statistics(tmp_path / "out", period=1e6)
    outputs = Fake(presence=np.ones((1, 1, 1), np.float32), masks=np.ones((1, 1, 2, 2), np.uint8))
    observer(None, request, version, "segment", {}, outputs)
    observer.close()
    assert read(tmp_path / "out")[1]["support/age_seconds"].mean == 60


def test_pictures_are_measured_as_the_training_s_are():
    # Of three quarters black and a quarter white: mean 1/4, variance 1/4 - 1/16 = 3/16.
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:4, :4] = 255
    mask = encode_png(np.zeros((8, 8), np.uint8))
    sample = Record("a", "a", "Normal", encode_png(picture), (mask,), "binary").decode()
    facts = facts_of(encode_png(picture))
    assert facts["image/brightness"] == sample.brightness == 0.25
    assert facts["image/contrast"] == pytest.approx((3 / 16) ** 0.5)
    assert facts["image/contrast"] == pytest.approx(sample.contrast)
    assert facts_of(picture / np.float32(255))["image/contrast"] == pytest.approx(sample.contrast)


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


CONFIG = pathlib.Path(__file__).parents[2] / "serving" / "config"


def drawn():
    """(where it stands, PromQL expression) of the dashboard's panels and the alert rules."""
    board = json.loads((CONFIG / "grafana-dashboard.json").read_text("utf-8"))
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for group in yaml.safe_load((CONFIG / "alerts.yaml").read_text("utf-8"))["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def test_dashboard_and_alerts_name_metrics_that_there_are():
    metrics = Metrics()
    core = types.SimpleNamespace(managers={"panet": types.SimpleNamespace(available=lambda: [1])})
    metrics.note(core, "panet", "OK", 0.1)
    facts = dict.fromkeys(monitoring.ANSWERS, 0.5) | {"mask/empty": True}
    metrics.answers.observe("panet", 1, facts)
    samples = re.findall(r"^([\w:]+)\{([^}]*)\}", metrics.text(core).decode(), re.MULTILINE)
    found = {name: set(re.findall(r'(\w+)="', labels)) for name, labels in samples}
    places = list(drawn())
    for place, expression in places:
        assert expression.count("(") == expression.count(")") and "\n" not in expression.strip(), place
        selectors = re.findall(r'\{__name__=(~?)"([^"]+)"([^}]*)\}', expression)
        assert selectors, place
        for pattern, name, more in selectors:
            known = [one for one in found if (re.fullmatch(name, one) if pattern else one == name)]
            assert known, f"{place}: no metric {name}"
            labels = set(re.findall(r"(\w+)!?=~?\"", more))
            labels |= {one for by in re.findall(r"by \(([^)]+)\)", expression) for one in by.split(", ")}
            assert labels <= found[known[0]], place
    everything = " ".join(expression for _, expression in places)
    assert all(f":panet_bus:serving:{name}" in everything for name, _, _ in monitoring.ANSWERS.values())
    assert "contrast" in everything and len(places) > 15


def test_alerts_are_rules_that_prometheus_loads():
    rules = yaml.safe_load((CONFIG / "alerts.yaml").read_text("utf-8"))
    names = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    assert len(names) == len(set(names)) == 6 and [group["name"] for group in rules["groups"]] == ["panet"]
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
            assert re.fullmatch(r"\d+[smhd]", rule["for"]) and rule["labels"]["severity"] in (
                "page",
                "ticket",
            )
            assert set(rule["annotations"]) == {"summary", "mend"}
    scraped = yaml.safe_load((CONFIG / "prometheus.yaml").read_text("utf-8"))
    mounted = yaml.safe_load((CONFIG / "compose.yaml").read_text("utf-8"))["services"]["prometheus"][
        "volumes"
    ]
    for file in scraped["rule_files"]:
        name = pathlib.PurePosixPath(file).name
        assert (CONFIG / name).is_file() and any(one.startswith(f"./{name}:{file}:") for one in mounted)
