import numpy as np
import pytest

from panet_keras import DataWarning
from panet_keras.data import decode_all, load_bus_uclm, write_phantom


def test_phantom_is_a_bus_uclm_folder(phantom, tmp_path):
    records = load_bus_uclm(phantom)
    assert len(records) == 12
    with pytest.warns(DataWarning, match="stretched"):
        samples = list(decode_all(records))
    for sample in samples:
        assert (
            set(np.unique(sample.mask)) - {0}
            == {"Normal": set(), "Benign": {1}, "Malignant": {2}}[sample.record.label]
        )
    again = write_phantom(tmp_path / "again", patients=4, images=3, seed=1, size=(96, 128))
    for file in sorted(phantom.rglob("*.*")):
        assert file.read_bytes() == (again / file.relative_to(phantom)).read_bytes()
    with pytest.raises(FileExistsError, match="not empty"):
        write_phantom(again)
