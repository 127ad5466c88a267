"""The annotations of a folder, for the writers of other tools' formats."""

import functools
import time
import warnings

import numpy as np

from panet_keras.annotate import masks
from panet_keras.annotate.store import Conflict

FORMATS = ("png", "coco", "labelme", "nifti", "dicom-seg", "cvat", "dataset")
"""Names of `panet_keras.writers.WRITERS`, whose import starts TensorFlow."""
STATES = {"accepted": "annotated", "corrected": "annotated", "normal": "normal", "rejected": "rejected"}
"""What a writer is told; everything else nobody has decided on: unseen."""


def annotations(store, version=""):
    """`panet_keras.writers.Annotation` of every frame that can be read, by name.

    Args:
        store: `Store`.
    """
    from panet_keras.writers import Annotation

    found = []
    for frame in store.frames.values():
        if why_not(store, frame):
            continue
        with store.lock:
            state = STATES.get(store.state(frame), "unseen")
            now = store.history(frame).now if state != "unseen" else None
        found.append(
            Annotation(
                name=frame.name,
                source=frame.path,
                frame=frame.number,
                image_size=(frame.height, frame.width),
                mask=functools.partial(_mask, store, frame, now),
                labels=tuple(store.labels),
                state=state,
                patient=frame.patient,
                provenance=_provenance(frame, now) if now else {},
            )
        )
    return found


def why_not(store, frame):
    """Why a frame is left out, whatever its state; None where it is not."""
    if frame.error is not None:
        return frame.error
    return store.misfit(frame)


def _mask(store, frame, now):
    """Read when it is wanted: thousands would not fit into memory."""
    if now is None:
        return np.zeros((frame.height, frame.width), np.uint8)
    return masks.decode(store.snapshot_png(frame, now))


def _provenance(frame, now):
    told = {"id": f"{frame.id}-{now.number}", "time": now.at}
    if now.by:
        told["author"] = now.by
    if "changed_pixels" in now.provenance:
        told["changed_pixels"] = now.provenance["changed_pixels"]
    if "model" in now.provenance:
        told |= {
            "model": now.provenance["model"]["name"],
            "model_version": now.provenance["model"]["version"],
            "presence": now.provenance["presence"],
            "supports": [
                f"{one['name']} ({one['id']}-{one['change']})" for one in now.provenance["supports"]
            ],
        }
    return told


def export(store, formats):
    """Writes a new folder with a sub-folder for each format.

    Args:
        store: `Store`. formats: some of `FORMATS`.

    Returns:
        (the folder, paths in it, list of {name, why} of what is missing).

    Raises:
        Conflict: an unknown format, or nothing that is annotated or normal.
    """
    from panet_keras.writers import WRITERS
    from panet_keras.writers.pictures import is_dicom

    unknown = [name for name in formats if name not in WRITERS]
    if unknown or not formats:
        raise Conflict(f"formats {formats}", f"name some of {', '.join(WRITERS)}")
    every = annotations(store)
    skipped = [
        {"name": frame.name, "why": why} for frame in store.frames.values() if (why := why_not(store, frame))
    ]
    done = [one for one in every if one.state in ("annotated", "normal")]
    if not done:
        raise Conflict("nothing is annotated yet", "accept a mask, or say of a picture that it has no lesion")
    folder = store.output / "exports" / time.strftime("%Y-%m-%d_%H%M%S")
    number = 1
    while folder.exists():
        number += 1
        folder = folder.with_name(f"{folder.name.partition('-n')[0]}-n{number}")
    folder.mkdir(parents=True)
    files = []
    for name in dict.fromkeys(formats):
        chosen = every
        if name == "dicom-seg":
            chosen = [one for one in every if is_dicom(one.source)]
            skipped += [
                {"name": one.title, "why": "dicom-seg: the picture is no DICOM"}
                for one in done
                if one not in chosen
            ]
            if not any(one.state in ("annotated", "normal") for one in chosen):
                continue
        try:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                files += WRITERS[name](chosen, folder / name)
        except Exception as error:  # one format that fails is no reason to lose the others
            skipped.append({"name": name, "why": str(error) or type(error).__name__})
            continue
        skipped += [
            {"name": name, "why": str(one.message)} for one in said if issubclass(one.category, UserWarning)
        ]
    return folder, [str(path) for path in files], skipped
