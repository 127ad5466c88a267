"""What ends an RPC, and which status it gets."""

import re

import grpc
import tensorflow as tf

MESSAGE_LIMIT = 1500
"""Characters."""
# Codes of tf.errors are those of gRPC.
STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


class RpcError(Exception):
    """Ends an RPC with a status."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code

    @classmethod
    def invalid(cls, message):
        return cls(grpc.StatusCode.INVALID_ARGUMENT, message)


def status_of(error):
    """gRPC status code and message of what serving a request raised."""
    code, message = _status_of(error)
    # What is around an assertion names the graph's nodes; a message of over 8 KB is no message to gRPC, but
    # RESOURCE_EXHAUSTED.
    message = re.sub(r"^Graph execution error:.*?(?=assertion failed: )", "", message, flags=re.DOTALL)
    message = re.sub(r"\s*\[\[\{\{node .*", "", message, flags=re.DOTALL)
    return code, _cut(message)


def _cut(message):
    """A message that fits gRPC's metadata, in which what is no printable ASCII takes three bytes for each of its
    own."""
    room = 3 * MESSAGE_LIMIT
    for place, letter in enumerate(message):
        room -= 1 if " " <= letter <= "~" else 3 * len(letter.encode("utf-8", "replace"))
        if room < 0 or place == MESSAGE_LIMIT:
            return f"{message[:place]}... ({len(message):,} characters)"
    return message


def _status_of(error):
    if isinstance(error, RpcError):
        return error.code, str(error)
    if isinstance(error, tf.errors.OpError):
        return STATUS_CODES.get(error.error_code, grpc.StatusCode.INTERNAL), error.message
    if isinstance(error, UnicodeDecodeError):
        # TensorFlow puts bytes of the request into a message, and Python cannot read it as text.
        return grpc.StatusCode.INVALID_ARGUMENT, bytes(error.object).decode("utf-8", "backslashreplace")
    if isinstance(error, RecursionError):
        return grpc.StatusCode.INVALID_ARGUMENT, "the request is nested too deep"
    if isinstance(error, (ValueError, TypeError)):
        return grpc.StatusCode.INVALID_ARGUMENT, str(error)
    if isinstance(error, MemoryError):
        return (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "not enough memory for this request; send fewer or smaller images",
        )
    return grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"
