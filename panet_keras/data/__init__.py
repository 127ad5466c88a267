"""From files to episodes."""

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
