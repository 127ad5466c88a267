"""What ends an RPC, and which status it gets."""

import grpc
import tensorflow as tf

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
    if isinstance(error, RpcError):
        return error.code, str(error)
    if isinstance(error, tf.errors.OpError):
        return STATUS_CODES.get(error.error_code, grpc.StatusCode.INTERNAL), error.message
    if isinstance(error, (ValueError, TypeError)):
        return grpc.StatusCode.INVALID_ARGUMENT, str(error)
    if isinstance(error, MemoryError):
        return grpc.StatusCode.RESOURCE_EXHAUSTED, "not enough memory for this request; send fewer or smaller images"
    return grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"
