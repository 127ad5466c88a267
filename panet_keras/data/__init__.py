"""From files to episodes."""

import importlib
import typing

if typing.TYPE_CHECKING:
    from panet_keras.data.episodic.augmentation import Augmentation
    from panet_keras.data.episodic.dataset import episodes
    from panet_keras.data.episodic.rule import EpisodeRule
    from panet_keras.data.examples import read_examples, to_example, write_examples
    from panet_keras.data.phantom import write_phantom
    from panet_keras.data.readers.bus_uclm import load_bus_uclm
    from panet_keras.data.readers.coco import load_coco
    from panet_keras.data.readers.dicom import load_dicom
    from panet_keras.data.readers.folder import load_folder
    from panet_keras.data.readers.labelme import load_labelme
    from panet_keras.data.readers.nifti import load_nifti
    from panet_keras.data.readers.table import load_bus_bra, load_csv
    from panet_keras.data.records import Record, Sample, decode_all
    from panet_keras.data.splits import hold_out, hold_out_each, k_folds, patients, split_by_patients
    from panet_keras.pictures.decode import decode_image
    from panet_keras.recipes.episode import EpisodeSpec, Layout

__all__ = [
    "Augmentation",
    "EpisodeRule",
    "EpisodeSpec",
    "Layout",
    "Record",
    "Sample",
    "decode_all",
    "decode_image",
    "episodes",
    "hold_out",
    "hold_out_each",
    "k_folds",
    "load_bus_bra",
    "load_bus_uclm",
    "load_coco",
    "load_csv",
    "load_dicom",
    "load_folder",
    "load_labelme",
    "load_nifti",
    "patients",
    "read_examples",
    "split_by_patients",
    "to_example",
    "write_examples",
    "write_phantom",
]

_FILES = {
    "Augmentation": "data.episodic.augmentation",
    "EpisodeRule": "data.episodic.rule",
    "EpisodeSpec": "recipes.episode",
    "Layout": "recipes.episode",
    "Record": "data.records",
    "Sample": "data.records",
    "decode_all": "data.records",
    "decode_image": "pictures.decode",
    "episodes": "data.episodic.dataset",
    "hold_out": "data.splits",
    "hold_out_each": "data.splits",
    "k_folds": "data.splits",
    "load_bus_bra": "data.readers.table",
    "load_bus_uclm": "data.readers.bus_uclm",
    "load_coco": "data.readers.coco",
    "load_csv": "data.readers.table",
    "load_dicom": "data.readers.dicom",
    "load_folder": "data.readers.folder",
    "load_labelme": "data.readers.labelme",
    "load_nifti": "data.readers.nifti",
    "patients": "data.splits",
    "read_examples": "data.examples",
    "split_by_patients": "data.splits",
    "to_example": "data.examples",
    "write_examples": "data.examples",
    "write_phantom": "data.phantom",
}


def __getattr__(name):
    # Readers need no TensorFlow, whose import would take most of a pipeline run from the cache.
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"panet_keras.{_FILES[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
