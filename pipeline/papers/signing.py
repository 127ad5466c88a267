"""Signs the folder of a model with a private key."""

import os
import pathlib
import tempfile

from pipeline.errors import PipelineError
from serving.models.signatures import NAME, hashing, library

PASSWORD = "PANET_SIGNING_KEY_PASSWORD"
"""Environment variable with the password of an encrypted key."""


def signer(private_key):
    """What signs with a key: a configuration of the package model_signing.

    Args:
        private_key: PEM file of the curve P-256, P-384 or P-521.

    Raises:
        PipelineError: no such file, no such key, or a password that does not open it.
        SignatureError: the package is missing.
    """
    config = library().signing.Config().set_hashing_config(hashing())
    password = os.environ.get(PASSWORD)
    try:
        return config.use_elliptic_key_signer(
            private_key=private_key, password=None if password is None else password.encode()
        )
    except (OSError, ValueError, TypeError, AttributeError) as error:
        why = getattr(error, "strerror", None) or str(error).partition("\n")[0][:300]
        raise PipelineError(
            f"signing key {private_key}: {why}; expected a private key in PEM form of the curve P-256, P-384 or P-521 "
            f"(openssl ecparam -name prime256v1 -genkey -noout). The password of an encrypted one is read from {PASSWORD}."
        ) from None


def sign(folder, private_key):
    """Writes the signature of a folder into it, in place of an older one.

    Args:
        folder: of a version, with its SavedModel. private_key: see `signer`.

    Returns:
        `pathlib.Path` of the signature.

    Raises:
        PipelineError: no such folder, a link in it, or no such key.
        SignatureError: the package is missing.
    """
    folder = pathlib.Path(folder).resolve()
    if not (folder / "saved_model.pb").is_file():
        raise PipelineError(
            f"{folder} has no saved_model.pb; expected the folder of a version, such as serving/panet/1."
        )
    config = signer(private_key)
    # Beside the folder, for a file that comes and goes in it would look like one that somebody added.
    with tempfile.TemporaryDirectory(prefix=".signing-", dir=folder.parent) as building:
        made = pathlib.Path(building) / NAME
        try:
            config.sign(folder, made)
        except ValueError as error:
            raise PipelineError(f"{folder} cannot be signed: {error}") from None
        os.replace(made, folder / NAME)
    return folder / NAME
