"""Signatures of models: OpenSSF Model Signing with an elliptic-curve key pair, checked without a network.

The signature covers every file of a version's folder but itself: weights, warm-up requests and the papers
that the Pusher lays beside them. It is a Sigstore bundle, which `model_signing verify key` reads, too.

Source: https://github.com/sigstore/model-transparency.
"""

import base64
import hashlib
import json
import pathlib

NAME = "model.sig"
"""File of the signature, in the folder that it signs."""
INSTALL = "pip install model-signing pyopenssl"


class SignatureError(ValueError):
    """A model that is not signed as it must be, or a key that cannot be used."""


def library():
    """The package model_signing.

    Raises:
        SignatureError: it is missing, or something that it needs; gives the install line.
    """
    try:
        import model_signing.hashing
        import model_signing.signing
        import model_signing.verifying
    except ImportError as error:
        raise SignatureError(f"models cannot be signed or checked here: {error}; {INSTALL}") from None
    return model_signing


def hashing():
    """How a folder is hashed: every file but the signature, hidden ones and git's included."""
    return library().hashing.Config().set_ignored_paths(paths=[NAME], ignore_git_paths=False)


class SignatureCheck:
    """Checks folders against a public key.

    Args:
        public_key: path of a PEM file.

    Raises:
        SignatureError: no such file, no public key of the curves P-256, P-384 and P-521, or the package is
            missing.
    """

    def __init__(self, public_key):
        self.public_key = pathlib.Path(public_key)
        try:
            self._config()
        except SignatureError:
            raise
        except Exception as error:  # the package passes on whatever its own libraries raise
            raise SignatureError(
                f"{public_key}: {_first_line(error)}; expected a public key in PEM form of the curve P-256, P-384 or P-521 "
                "(openssl ec -in key.pem -pubout)."
            ) from None

    def _config(self):
        return library().verifying.Config().use_elliptic_key_verifier(public_key=self.public_key)

    def __call__(self, folder):
        """Returns when every file of a folder is as it was signed with the key.

        Raises:
            SignatureError: unsigned, signed with another key, or altered; names the files that differ.
        """
        # A link to the folder is fine, a link inside it is refused by the package.
        folder = pathlib.Path(folder).resolve()
        signature = folder / NAME
        if not signature.is_file():
            raise SignatureError(
                f"{folder} is not signed: it has no {NAME}; python -m pipeline sign {folder} --key PRIVATE.pem signs it."
            )
        try:
            self._config().set_hashing_config(hashing()).verify(folder, signature)
        except Exception as error:
            raise SignatureError(self._reason(folder, signature, error)) from None

    def _reason(self, folder, signature, error):
        text = _first_line(error)
        if text.startswith("Key mismatch"):
            return f"{signature} was made with another key than that of {self.public_key}."
        if text.startswith("Signature mismatch"):
            return f"{folder} is not as it was signed: {differences(folder, signature) or text}."
        return f"{signature} is no signature that {self.public_key} confirms: {text or type(error).__name__}."


def differences(folder, signature):
    """Which files differ from a signature, as text: changed, missing or added; "" where none does.

    Args:
        folder: `pathlib.Path`. signature: file whose own genuineness has been checked.
    """
    envelope = json.loads(signature.read_bytes())["dsseEnvelope"]
    predicate = json.loads(base64.b64decode(envelope["payload"]))["predicate"]
    signed = {item["name"]: item["digest"] for item in predicate["resources"]}
    there = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
    there.pop(NAME, None)
    # Another program may have signed with another hash; then only the names are compared.
    comparable = predicate["serialization"].get("hash_type") == "sha256"
    found = {
        "changed": [n for n in signed if n in there and comparable and _sha256(there[n]) != signed[n]],
        "missing": [name for name in signed if name not in there],
        "added": [name for name in there if name not in signed],
    }
    return "; ".join(f"{word}: {', '.join(sorted(names)[:10])}" for word, names in found.items() if names)


def _sha256(file):
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _first_line(error):
    return str(error).strip().partition("\n")[0][:300]
