"""The index beside the Examples says what the Examples say."""

import shutil

from panet_keras.data import load_bus_uclm, split_by_patients
from pipeline.components import shards
from pipeline.orchestration.artifacts import Examples
from pipeline.validation.image_checks import INDEX, read_rows


def test_rows_come_from_the_index_and_are_those_of_the_examples(phantom, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD", 2)
    records = load_bus_uclm(phantom)
    splits = split_by_patients(records, [records[0].patient])
    examples = Examples(tmp_path)
    shards.run(shards.tasks(splits, examples.split), {"runner": "", "options": ()}, tmp_path)
    indexed = {split: read_rows(examples.split(split), split) for split in Examples.SPLITS}
    assert [row.filename for row in indexed["train"]] == [record.filename for record in splits["train"]]
    assert (
        indexed["test"][0].patient == records[0].patient and len(indexed["test"]) == len(splits["test"]) > 2
    )
    # An artifact of an older version has none.
    shutil.rmtree(tmp_path / INDEX)
    assert {split: read_rows(examples.split(split), split) for split in Examples.SPLITS} == indexed
