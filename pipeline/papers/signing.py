"""Signs the folder of a model with a private key."""

import os
import pathlib
import tempfile

from pipeline.errors import PipelineError
from serving.models.signatures import NAME, hashing, library

PASSWORD = "PANET_SIGNING_KEY_PASSWORD"
"""Environment variable with the password of an encrypted key."""


def sign(folder, private_key):
    """Writes the signature of a folder into it, in place of an older one.

    Args:
        folder: of a version, with its SavedModel. private_key: PEM file of the curve P-256, P-384 or P-521.

    Returns:
        `pathlib.Path` of the signature.

    Raises:
        PipelineError: no such folder, or no such key.
        SignatureError: the package is missing.
    """
    folder = pathlib.Path(folder).resolve()
    if not (folder / "saved_model.pb").is_file():
        raise PipelineError(
            f"{folder} has no saved_model.pb; expected the folder of a version, such as serving/panet/1."
        )
    config = library().signing.Config().set_hashing_config(hashing())
    password = os.environ.get(PASSWORD)
    try:
        config.use_elliptic_key_signer(
            private_key=private_key, password=password.encode() if password is not None else None
        )
    except (OSError, ValueError, TypeError) as error:
        raise PipelineError(
            f"signing key {private_key}: {getattr(error, 'strerror', None) or str(error).partition(chr(10))[0][:300]}; expected a private "
            f"key in PEM form of the curve P-256, P-384 or P-521 (openssl ecparam -name prime256v1 -genkey -noout); the password of an "
            f"encrypted one is read from {PASSWORD}."
        ) from None
    # Beside the folder, for a file that comes and goes in it would look like one that somebody added.
    with tempfile.TemporaryDirectory(prefix=".signing-", dir=folder.parent) as building:
        made = pathlib.Path(building) / NAME
        config.sign(folder, made)
        os.replace(made, folder / NAME)
    return folder / NAME
