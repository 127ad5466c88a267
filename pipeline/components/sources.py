"""The data sets of a run: one, or those of several hospitals, where each keeps its own file names and
patients."""

import collections
import dataclasses
import functools
import os
import pathlib

from pipeline.errors import ConfigError


def loaders():
    """Readers by the name of the layout."""
    from panet_keras import data

    return {
        "bus_uclm": data.load_bus_uclm,
        "bus_bra": data.load_bus_bra,
        # BUSI: x.png with x_mask.png, x_mask_1.png in benign/, malignant/, normal/.
        "busi": data.load_folder,
        "coco": data.load_coco,
        "csv": data.load_csv,
        "dicom": functools.partial(data.load_dicom, salt=os.environ.get("PANET_DICOM_SALT", "")),
        "folder": data.load_folder,
        "labelme": data.load_labelme,
        "nifti": data.load_nifti,
    }


def read(data_path, layout, sources=()):
    """Reads every index.

    Args:
        data_path: the data set, or a tuple of those of the sources.
        layout: of the one data set, where there are no sources.
        sources: a dictionary of name and layout for each path.

    Returns:
        List of lists of `Record`, one for each source. Those of named sources have the name before file name
        and patient (`NAME/PATIENT`), the name as `source`, and as `device` what the reader said of their
        source.

    Raises:
        ConfigError: an unknown layout, or not a path for each source.
        DataError: what all indices say wrongly, with the broken pictures beside it, so that one mending is
            enough.
    """
    from panet_keras.errors import DataError

    if not sources:
        return [_load(data_path, layout)]
    if isinstance(data_path, str) or len(data_path) != len(sources):
        raise ConfigError(f"data_path is {data_path!r}; expected {len(sources)} paths, one for each source.")
    groups, problems = [], []
    for path, source in zip(data_path, sources):
        try:
            groups.append([_of_source(record, source["name"]) for record in _load(path, source["layout"])])
        except DataError as error:
            problems += [f"{source['name']} ({path}): {problem}" for problem in error.problems]
    if problems:
        raise DataError("data.sources", problems)
    return groups


def split(groups, test_patients, test_share, seed, digests_of=None):
    """Splits by patient; what is drawn is drawn in each source, so that every hospital is on both sides.
    Patients of several hospitals that share a picture stay on one side.

    Args:
        groups: of `read`. test_patients, test_share, seed: see `pipeline.config.Data`.
        digests_of: function of the records to their `panet_keras.data.splits.content_digest`s, which only a drawn split
            needs; without it they are computed in this process.

    Returns:
        Dictionary of `"train"` and `"test"` to lists of records.

    Raises:
        PANetError: as `panet_keras.data.split_by_patients` and `hold_out`; or a patient that several sources
            have.
    """
    from panet_keras.data import hold_out, hold_out_each, patients, split_by_patients

    records = [record for group in groups for record in group]
    if test_patients:
        return split_by_patients(
            records, _whole(test_patients, patients(records)) if len(groups) > 1 else test_patients
        )
    content = digests_of and digests_of(records)
    if len(groups) == 1:
        return hold_out(records, test_share, seed, content)
    return hold_out_each(groups, test_share, seed, content)


def _load(path, layout):
    from panet_keras.errors import DataError

    known = loaders()
    if layout not in known:
        raise ConfigError(f"data.layout is {layout!r}; expected one of {sorted(known)}.")
    try:
        return known[layout](path)
    except DataError as error:
        # The index is broken; say what else is, so that one mending is enough.
        raise _with_broken_pictures(error, path, layout) from None


def _of_source(record, name):
    return dataclasses.replace(
        record,
        filename=f"{name}/{record.filename}",
        patient=f"{name}/{record.patient}",
        source=name,
        device=record.device or record.source,
    )


def _whole(names, known):
    """Patients with their source before them; one that only one source has may come without."""
    from panet_keras.errors import PANetError

    whole, known, bare = [], set(known), collections.defaultdict(list)
    for patient in sorted(known):
        bare[patient.partition("/")[2]].append(patient)
    for name in names:
        found = [name] if name in known else bare.get(name, [])
        if len(found) > 1:
            raise PANetError(
                f"test_patients: {name} is a patient of several sources; expected one of {', '.join(found)}."
            )
        whole += found or [name]
    return whole


def _with_broken_pictures(error, data_path, layout):
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
