import pickle

import pytest

from panet_keras import errors


@pytest.mark.parametrize(
    "error",
    [
        errors.DataError("folder", ["a.png: cut off", "b.png: empty"]),
        errors.MaskColourError("a.png: pixel"),
        errors.KerasSettingsError("keras.json"),
    ],
)
def test_an_error_comes_whole_out_of_another_process(error):
    """One that cannot be made anew from its pickle breaks the pool that it came from."""
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
