"""Workers of any kind: work goes to them in pieces and comes back in its order, and the bytes are the same."""

import collections
import json
import pathlib

import numpy as np
import pytest

from panet_keras.data import load_bus_uclm, split_by_patients
from pipeline.components import partial_statistics, shards
from pipeline.errors import ConfigError, PipelineError
from pipeline.orchestration import pieces, spark
from pipeline.orchestration.artifacts import Examples
from pipeline.orchestration.beam import map_told, pipeline_options


def double(item):
    return json.dumps({"item": item, "double": 2 * item})


@pytest.mark.parametrize("count", [0, 1, 511, 600])
def test_pieces_come_back_in_the_order_of_the_items(tmp_path, count):
    places = pieces.lay_out(list(range(count)), tmp_path)
    # Up to 511 items are a piece each; 600 // 256 = 2 of them share one.
    assert len(places) == (count if count < 512 else 300)
    work = pieces.Work(double, str(tmp_path), str(pathlib.Path.cwd()))
    for place in [*reversed(places), *places[:1]]:  # a piece may be worked on twice
        work(place)
    assert [one["double"] for one in pieces.told(places, tmp_path)] == [2 * n for n in range(count)]


def test_a_worker_that_does_not_see_the_folder_is_noticed(tmp_path):
    places = pieces.lay_out([1, 2], tmp_path)
    pieces.Work(double, str(tmp_path), str(pathlib.Path.cwd()))(places[0])
    with pytest.raises(PipelineError, match="told-0000001: the runner ended without it.*Do all workers see"):
        list(pieces.told(places, tmp_path))


def test_spark_s_options_are_those_of_spark_submit():
    assert spark.settings(("--master=spark://a:7077", "--conf=spark.executor.memory=4g")) == {
        "spark.master": "spark://a:7077",
        "spark.executor.memory": "4g",
    }
    for wrong in ("--direct_num_workers=2", "--conf=memory=4g", "--master="):
        with pytest.raises(ConfigError, match=r"with PySpark expected --master=spark://HOST:7077"):
            pipeline_options({"runner": "pyspark", "options": (wrong,)})


def test_garbage_collection_after_every_spark_task_passes_over_tensorflow(monkeypatch):
    frozen, worked = [], []
    monkeypatch.setattr("gc.freeze", lambda: frozen.append(list(worked)))
    spark._freeze_once.cache_clear()
    for item in (1, 2):
        spark._worked(worked.append, item)
    spark._freeze_once.cache_clear()
    assert (worked, frozen) == ([1, 2], [[1]])  # once, when what the first item imported and opened is there


def test_spark_names_what_a_worker_said():
    told = """An error occurred while calling z:org.apache.spark.api.python.PythonRDD.collectAndServe.
: org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage 0.0 failed 4 times (executor 1): Traceback (most recent call last):
  File "/x/pieces.py", line 47, in __call__
OSError: [Errno 28] No space left on device
\tat org.apache.spark.api.python.BasePythonRunner.handlePythonException(PythonRunner.scala:572)
"""
    assert spark._cause(told) == "OSError: [Errno 28] No space left on device"


@pytest.fixture(scope="module")
def examples(phantom, tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "SHARD", 2)
        records = load_bus_uclm(phantom)
        splits = split_by_patients(records, [records[0].patient])
        artifact = Examples(folder)
        shards.run(shards.tasks(splits, artifact.split), {"runner": "", "options": ()}, folder)
    return artifact, splits["train"]


def count(examples, folder, order):
    """Statistics of the train split, whose shards are counted in an order."""
    features = ("label", "patient/id", "image/filename", "image/brightness")
    files = sorted(examples.split("train").glob("data_tfrecord-*.gz"))
    folder.mkdir()
    made = partial_statistics.shards_of(files, features, folder)
    counted = sum(json.loads(partial_statistics.count(made[n]))["count"] for n in order(range(len(made))))
    return counted, partial_statistics.merge(made)


def test_statistics_are_the_same_in_whatever_order_shards_are_counted(examples, tmp_path):
    artifact, records = examples
    counted, statistics = count(artifact, tmp_path / "forward", list)
    _, again = count(artifact, tmp_path / "backward", lambda numbers: reversed(list(numbers)))
    assert statistics.SerializeToString() == again.SerializeToString()

    [dataset] = statistics.datasets
    assert dataset.num_examples == counted == len(records) > 4
    found = {feature.path.step[0]: feature for feature in dataset.features}
    labels = {item.value: item.frequency for item in found["label"].string_stats.top_values}
    assert labels == collections.Counter(record.label for record in records)
    assert found["image/filename"].string_stats.unique == len(records)
    assert found["patient/id"].string_stats.unique == len({record.patient for record in records})
    brightness = [record.decode_with_repairs()[0].brightness for record in records]
    assert found["image/brightness"].num_stats.mean == pytest.approx(np.mean(brightness), rel=1e-6)
    assert found["image/brightness"].num_stats.std_dev == pytest.approx(np.std(brightness), rel=1e-4)


def test_a_split_without_examples_has_statistics(tmp_path):
    [dataset] = partial_statistics.merge([]).datasets
    assert dataset.num_examples == 0 and not dataset.features


def test_spark_writes_the_same_rows(tmp_path):
    pytest.importorskip("pyspark", reason="Spark is an extra: pip install pyspark (Java 17)")
    engine = {"runner": "PySpark", "options": ("--master=local[2]", "--conf=spark.driver.host=127.0.0.1")}
    expected = list(map_told(double, list(range(7)), {"runner": "", "options": ()}, tmp_path, "numbers"))
    assert list(map_told(double, list(range(7)), engine, tmp_path, "numbers")) == expected
    with pytest.raises(PipelineError, match="Spark: TypeError: unsupported operand"):
        list(map_told(double, [None], engine, tmp_path, "numbers"))
    assert not list(tmp_path.iterdir())
