"""From files to episodes."""

from panet_keras.data.augment import Augmentation
from panet_keras.data.bus_uclm import load_bus_uclm
from panet_keras.data.dicom import load_dicom
from panet_keras.data.episodes import episodes
from panet_keras.data.examples import read_examples, to_example, write_examples
from panet_keras.data.folder import load_folder
from panet_keras.data.images import decode_image
from panet_keras.data.phantom import write_phantom
from panet_keras.data.records import Record, Sample, decode_all
from panet_keras.data.sampling import EpisodeRule
from panet_keras.data.splits import hold_out, k_folds, patients, split_by_patients
from panet_keras.data.table import load_bus_bra, load_csv

__all__ = [
    "Augmentation",
    "EpisodeRule",
    "Record",
    "Sample",
    "decode_all",
    "decode_image",
    "episodes",
    "hold_out",
    "k_folds",
    "load_bus_bra",
    "load_bus_uclm",
    "load_csv",
    "load_dicom",
    "load_folder",
    "patients",
    "read_examples",
    "split_by_patients",
    "to_example",
    "write_examples",
    "write_phantom",
]
