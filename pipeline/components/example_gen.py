"""ExampleGen: files to tf.train.Examples, split by patient."""

import collections
import functools
import json
import warnings

from pipeline.orchestration.annotations import (
    Engine,
    InputPath,
    OutputArtifact,
    Parameter,
    WorkDir,
    component,
)
from pipeline.orchestration.artifacts import Examples


@component
def ExampleGen(
    data_path: InputPath,
    layout: Parameter[str],
    test_patients: Parameter[tuple],
    test_share: Parameter[float],
    split_seed: Parameter[int],
    engine: Engine[dict],
    work_dir: WorkDir,
    examples: OutputArtifact[Examples],
    sources: Parameter[tuple] = (),
    salt: Parameter[str] = "",
):
    """Decodes every image and mask, and writes them by split.

    What the index says wrongly (missing files, rows, values) is named in one error together with all broken
    pictures, and nothing is written. With a right index a broken picture is left out and kept in
    `findings.json`, with the repairs (stretched masks, mixed colours): ExampleValidator makes anomalies of
    them, and stops the run unless it is told to go on.

    Args:
        data_path, layout: the data set; with sources a tuple of paths. test_patients, test_share, split_seed:
            see `pipeline.config.Data`.
        engine: fields of `pipeline.config.Beam`.
        work_dir: where workers leave their findings; a folder that all of them see.
        examples: output.
        sources: name and layout of each source, in dictionaries; empty for the one data set.
        salt: digits of the salt that DICOM patients are hashed with, for the cache: the salt itself is in the
            environment.
    """
    from panet_keras.data import patients
    from panet_keras.errors import DataWarning, PANetError
    from pipeline.components import shards
    from pipeline.components import sources as data_sets
    from pipeline.errors import ConfigError
    from pipeline.orchestration import spark
    from pipeline.papers import croissant

    with spark.session(engine):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DataWarning)
            groups = data_sets.read(data_path, layout, sources)
            try:
                on_workers = functools.partial(shards.digests, engine=engine, scratch=work_dir)
                splits = data_sets.split(
                    groups, test_patients, test_share, split_seed, on_workers if engine["runner"] else None
                )
            except PANetError as error:
                way = (
                    "; or draw them at random: the same command with --set data.test_patients=[]"
                    if test_patients
                    else ""
                )
                raise ConfigError(f"{'data.sources' if sources else data_path}: {error}{way}") from None
        told = shards.run(shards.tasks(splits, examples.split), engine, work_dir)
    pictures = [item for shard in told for item in shard["pictures"]]
    counts = {name: sum(shard["count"] for shard in told if shard["split"] == name) for name in splits}
    findings = {
        "warnings": [str(w.message) for w in caught if issubclass(w.category, DataWarning)]
        + [
            item["description"]
            for item in pictures
            if item["type"].startswith("MASK_") and item["type"] != "MASK_COLOUR"
        ],
        "pictures": pictures,
        "counts": counts,
        "patients": {name: patients(members) for name, members in splits.items()},
        "labels": {
            name: {
                label: sum(r.label == label for r in members) for label in sorted({r.label for r in members})
            }
            for name, members in splits.items()
        },
        "sources": _sources(splits),
        "files": {name: [record.filename for record in members] for name, members in splits.items()},
    }
    examples.findings.write_text(json.dumps(findings, indent=1, ensure_ascii=False), "utf-8")
    (examples.path / croissant.NAME).write_text(croissant.croissant(examples), "utf-8")
    examples.properties |= {f"{name}_count": count for name, count in counts.items()}
    count = len(findings["warnings"])
    warned = f"{count} warning{'' if count == 1 else 's'}" if count else "no warning"
    of = f" of {len(sources)} sources" if sources else ""
    return {"summary": f"{counts['train']} train, {counts['test']} test{of}, {warned}{_broken(pictures)}"}


def _sources(splits):
    """Numbers of lesion images, frames without lesion and patients by source and split, where there are
    several sources."""
    groups = collections.defaultdict(list)
    for side, members in splits.items():
        for record in members:
            groups[record.source, side].append(record)
    names = sorted({source for source, _ in groups})
    return {
        name: {
            side: {
                "lesions": sum(record.label != "Normal" for record in groups[name, side]),
                "normals": sum(record.label == "Normal" for record in groups[name, side]),
                "patients": len({record.patient for record in groups[name, side]}),
            }
            for side in splits
        }
        for name in (names if len(names) > 1 else ())
    }


def _broken(pictures):
    count = sum(item["type"] in ("IMAGE_UNREADABLE", "MASK_COLOUR") for item in pictures)
    return f", {count} broken picture{'' if count == 1 else 's'} left out" if count else ""
