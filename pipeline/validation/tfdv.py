"""Imports TensorFlow Data Validation without its advice.

At import it tells, on standard error, how to draw plots in a notebook that is not there, and TensorFlow
announces deprecations of TFDV's own calls; between the lines of a pipeline's progress that reads like a
failure.
"""

import contextlib
import io
import logging


def import_tfdv():
    """The module `tensorflow_data_validation`."""
    # Beam warns about crcmod although google-crc32c does its work.
    logging.getLogger().addFilter(lambda record: "crcmod" not in str(record.msg))
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        import tensorflow_data_validation
    return tensorflow_data_validation
