"""ExampleGen: files to tf.train.Examples, split by patient."""

import functools
import json
import os
import warnings

from pipeline.orchestration.annotations import Engine, InputPath, OutputArtifact, Parameter, WorkDir, component
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
):
    """Decodes every image and mask, and writes them by split.

    What the index says wrongly (missing files, rows, values) is named in one error together with all broken pictures, and nothing is
    written. With a right index a broken picture is left out and kept in `findings.json`, with the repairs (stretched masks, mixed
    colours): ExampleValidator makes anomalies of them, and stops the run unless it is told to go on.

    Args:
        data_path, layout: the data set. test_patients, test_share, split_seed: see `pipeline.config.Data`.
        engine: fields of `pipeline.config.Beam`.
        work_dir: where workers leave their findings; a folder that all of them see.
        examples: output.
    """
    from panet_keras.data import (
        hold_out,
        load_bus_bra,
        load_bus_uclm,
        load_coco,
        load_csv,
        load_dicom,
        load_folder,
        load_labelme,
        load_nifti,
        patients,
        split_by_patients,
    )
    from panet_keras.errors import DataError, DataWarning, PANetError
    from pipeline.components import shards
    from pipeline.errors import ConfigError

    loaders = {
        "bus_uclm": load_bus_uclm,
        "bus_bra": load_bus_bra,
        # BUSI: x.png with x_mask.png, x_mask_1.png in benign/, malignant/, normal/.
        "busi": load_folder,
        "coco": load_coco,
        "csv": load_csv,
        "dicom": functools.partial(load_dicom, salt=os.environ.get("PANET_DICOM_SALT", "")),
        "folder": load_folder,
        "labelme": load_labelme,
        "nifti": load_nifti,
    }
    if layout not in loaders:
        raise ConfigError(f"data.layout is {layout!r}; expected one of {sorted(loaders)}.")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        try:
            records = loaders[layout](data_path)
        except DataError as error:
            # The index is broken; say what else is, so that one mending is enough.
            raise _with_broken_pictures(error, data_path, layout) from None
        try:
            splits = split_by_patients(records, test_patients) if test_patients else hold_out(records, test_share, split_seed)
        except PANetError as error:
            way = "; or draw them at random: the same command with --set data.test_patients=[]" if test_patients else ""
            raise ConfigError(f"{data_path}: {error}{way}") from None

    told = shards.run(shards.tasks(splits, examples.split), engine, work_dir)
    pictures = [item for shard in told for item in shard["pictures"]]
    counts = {name: sum(shard["count"] for shard in told if shard["split"] == name) for name in splits}
    findings = {
        "warnings": [str(w.message) for w in caught if issubclass(w.category, DataWarning)]
        + [item["description"] for item in pictures if item["type"].startswith("MASK_") and item["type"] != "MASK_COLOUR"],
        "pictures": pictures,
        "counts": counts,
        "patients": {name: patients(members) for name, members in splits.items()},
        "labels": {
            name: {label: sum(r.label == label for r in members) for label in sorted({r.label for r in members})}
            for name, members in splits.items()
        },
        "files": {name: [record.filename for record in members] for name, members in splits.items()},
    }
    examples.findings.write_text(json.dumps(findings, indent=1, ensure_ascii=False), "utf-8")
    examples.properties |= {f"{name}_count": count for name, count in counts.items()}
    count = len(findings["warnings"])
    warned = f"{count} warning{'' if count == 1 else 's'}" if count else "no warning"
    return {"summary": f"{counts['train']} train, {counts['test']} test, {warned}{_broken(pictures)}"}


def _broken(pictures):
    count = sum(item["type"] in ("IMAGE_UNREADABLE", "MASK_COLOUR") for item in pictures)
    return f", {count} broken picture{'' if count == 1 else 's'} left out" if count else ""


def _with_broken_pictures(error, data_path, layout):
    import pathlib

    from panet_keras.errors import DataError, ImageError
    from panet_keras.pictures.decode import decode_image

    problems = list(error.problems)
    folder = pathlib.Path(data_path) / "images"
    for path in sorted(folder.iterdir()) if layout == "bus_uclm" and folder.is_dir() else []:
        try:
            decode_image(str(path))
        except ImageError as broken:
            problems.append(str(broken))
    return DataError(data_path, problems)
