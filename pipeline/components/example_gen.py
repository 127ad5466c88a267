"""ExampleGen: files to tf.train.Examples, split by patient."""

import json
import time
import warnings

from pipeline.artifacts import Examples
from pipeline.component import InputPath, OutputArtifact, Parameter, component


@component
def ExampleGen(
    data_path: InputPath,
    layout: Parameter[str],
    test_patients: Parameter[tuple],
    test_share: Parameter[float],
    split_seed: Parameter[int],
    examples: OutputArtifact[Examples],
):
    """Decodes every image and mask, and writes them by split.

    All broken or missing files are named in one error, and nothing is written. Warnings (stretched masks, mixed colours,
    masks without image) are kept in `findings.json`.
    """
    from panet_keras.data import (
        decode_all,
        hold_out,
        load_bus_uclm,
        load_folder,
        patients,
        split_by_patients,
        to_example,
        write_examples,
    )
    from panet_keras.errors import DataError, DataWarning
    from pipeline.errors import ConfigError

    loaders = {"bus_uclm": load_bus_uclm, "folder": load_folder}
    if layout not in loaders:
        raise ConfigError(f"data.layout is {layout!r}; expected one of {sorted(loaders)}.")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        try:
            records = loaders[layout](data_path)
        except DataError as error:
            # The index is broken; say what else is, so that one mending is enough.
            raise _with_broken_pictures(error, data_path, layout) from None
        if test_patients:
            splits = split_by_patients(records, test_patients)
        else:
            splits = hold_out(records, test_share, split_seed)
        counts = {}
        # One pass over all splits, so that the broken pictures of every split are named together.
        split_of = {record.filename: name for name, members in splits.items() for record in members}
        serialised = {name: [] for name in splits}
        shown = time.monotonic()
        for number, sample in enumerate(decode_all([*splits["train"], *splits["test"]], data_path), 1):
            serialised[split_of[sample.record.filename]].append(to_example(sample))
            if time.monotonic() - shown > 5:
                shown = time.monotonic()
                print(f"      {number}/{len(records)} images", flush=True)
        for name, items in serialised.items():
            counts[name] = write_examples(items, examples.split(name))
    findings = {
        "warnings": [str(warning.message) for warning in caught if issubclass(warning.category, DataWarning)],
        "counts": counts,
        "patients": {name: patients(members) for name, members in splits.items()},
        "labels": {
            name: {label: sum(r.label == label for r in members) for label in sorted({r.label for r in members})}
            for name, members in splits.items()
        },
        "files": {name: [record.filename for record in members] for name, members in splits.items()},
    }
    examples.findings.write_text(json.dumps(findings, indent=1), "utf-8")
    examples.properties |= {f"{name}_count": count for name, count in counts.items()}
    return {"summary": f"{counts['train']} train, {counts['test']} test, {len(findings['warnings'])} warning(s)"}


def _with_broken_pictures(error, data_path, layout):
    import pathlib

    from panet_keras.data.images import decode_image
    from panet_keras.errors import DataError, ImageError

    problems = list(error.problems)
    folder = pathlib.Path(data_path) / "images"
    for path in sorted(folder.iterdir()) if layout == "bus_uclm" and folder.is_dir() else []:
        try:
            decode_image(str(path))
        except ImageError as broken:
            problems.append(str(broken))
    return DataError(data_path, problems)
