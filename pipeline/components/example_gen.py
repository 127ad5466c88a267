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

    What the index says wrongly (missing files, rows, values) is named in one error together with all broken pictures, and nothing is
    written. With a right index a broken picture is left out and kept in `findings.json`, with the repairs (stretched masks, mixed
    colours): ExampleValidator makes anomalies of them, and stops the run unless it is told to go on.
    """
    from panet_keras.data import (
        hold_out,
        load_bus_uclm,
        load_folder,
        patients,
        split_by_patients,
        to_example,
        write_examples,
    )
    from panet_keras.errors import DataError, DataWarning, ImageError
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
        counts, pictures, number, shown = {}, [], 0, time.monotonic()
        for name, members in splits.items():
            serialised = []
            for record in members:
                seen = len(caught)
                try:
                    serialised.append(to_example(record.decode()))
                except ImageError as error:
                    pictures.append(_finding(error, name))
                pictures += [_finding(w.message, name) for w in caught[seen:] if issubclass(w.category, DataWarning)]
                number += 1
                if time.monotonic() - shown > 5:
                    shown = time.monotonic()
                    print(f"      {number}/{len(records)} images", flush=True)
            counts[name] = write_examples(serialised, examples.split(name))
    findings = {
        "warnings": [str(warning.message) for warning in caught if issubclass(warning.category, DataWarning)],
        "pictures": pictures,
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
    return {
        "summary": f"{counts['train']} train, {counts['test']} test, {len(findings['warnings'])} warning(s)" + _broken(pictures)
    }


def _finding(message, split):
    """Anomaly of an error or warning that decoding met."""
    from panet_keras.errors import ImageError, MaskColourError, MaskSizeWarning

    if isinstance(message, ImageError):
        colour = isinstance(message, MaskColourError)
        kind, feature = ("MASK_COLOUR", "mask/encoded") if colour else ("IMAGE_UNREADABLE", "image/encoded")
    else:
        kind, feature = ("MASK_SIZE" if isinstance(message, MaskSizeWarning) else "MASK_MIXED_COLOURS"), "mask/encoded"
    return {"type": kind, "split": split, "feature": feature, "description": str(message)}


def _broken(pictures):
    count = sum(item["type"] in ("IMAGE_UNREADABLE", "MASK_COLOUR") for item in pictures)
    return f", {count} broken picture(s) left out" if count else ""


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
