"""Where a mask comes from: an id for each answer, and a log that resolves it.

A line of the log is a JSON object without a picture and without a name of a file or a person:

    id, time (UTC), model, version, model_version (digest of the weights), signature
    support_set     name of a set that the server keeps, or null
    state           digest of the support state: what `encode_support` answered, and what later requests bring
    supports        digests of the annotated pictures, or null where nobody told them: `pixels` of each
    pictures        digests of the pictures that were asked about: of the file's bytes (`sha256sum`) where a
                    file was sent, else of the tensor
    presence        of each of them, and `marked`, the share of its mask
    trace_id        of the trace that the request was on (`serving.tracing`), or null where none was

All digests are the first 32 hexadecimal digits of a SHA-256.
"""

import dataclasses
import datetime
import hashlib
import json
import pathlib
import secrets
import time
import uuid

import numpy as np

from serving import tracing
from serving.api.audit_file import LineFile

HEADER = "panet-answer-id"
"""Trailing metadata of a gRPC answer and header of a REST answer."""
SUPPORTS = "panet-supports"
"""Metadata by which a client says the digests of the annotated pictures that it sends, with commas."""
DIGITS = 32
MOST = 200
"""Digests that a client may say: gRPC takes 8 KB of metadata."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """One request on its way: its id, and the digests of its supports, as the client said them or as they are
    of the support set that it names."""

    id: str
    supports: tuple = ()


def begin(metadata=()):
    """`Answer` of a request.

    Args:
        metadata: pairs of name and value, as gRPC's invocation metadata or HTTP's headers. What is no list of
            digests is ignored.
    """
    said = next((value for name, value in metadata if name.lower() == SUPPORTS), "")
    digests = tuple(part.strip() for part in said.split(",")) if isinstance(said, str) and said else ()
    right = len(digests) <= MOST and all(
        len(digest) == DIGITS and not digest.strip("0123456789abcdef") for digest in digests
    )
    return Answer(new_id(), digests if right else ())


def new_id():
    """UUID of version 7 (RFC 9562): those of later answers are larger."""
    number = (time.time_ns() // 1_000_000 << 80) | secrets.randbits(80)
    number = number & ~(0xF << 76) | 7 << 76
    return str(uuid.UUID(int=number & ~(0x3 << 62) | 2 << 62))


def pixels(picture):
    """Digest of a decoded picture, uint8 [H, W, 3]; the beginning of `image/digest` in the pipeline's
    Examples."""
    return hashlib.sha256(repr(picture.shape).encode() + picture.tobytes()).hexdigest()[:DIGITS]


def state_digest(tensors):
    """Digest of a support state: dictionary of alias to tensor or array. The model's version in it does not
    count."""
    digest = hashlib.sha256()
    for alias in sorted(tensors):
        array = np.asarray(tensors[alias])
        if array.dtype.kind == "f":
            digest.update(f"{alias}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:DIGITS]


class AuditLog:
    """Appends a line for each answer (`serving.api.audit_file.LineFile`).

    Args:
        path: file; its folder is made. max_bytes, keep: as for `LineFile`.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, path, max_bytes=100_000_000, keep=10):
        self.path = pathlib.Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = LineFile(self.path, max_bytes, keep)
        except OSError as error:
            raise OSError(f"--audit_log {path}: cannot be written ({error.strerror}).") from None

    def __call__(self, answer, request, version, signature, inputs, outputs):
        """Notes an answer; see `serving.api.prediction_service.PredictionService`."""
        line = {
            "id": answer.id,
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
            "model": request.model_spec.name,
            "version": version.number,
            "model_version": version.fingerprint,
            "signature": signature,
            **_support(answer, request, signature, inputs, outputs),
            **_pictures(request, inputs, outputs),
            "trace_id": tracing.trace_id(),
        }
        self.write(line)

    def write(self, line):
        """Appends a dictionary."""
        self._file.append(json.dumps(line, ensure_ascii=False))

    def close(self):
        self._file.close()


def _support(answer, request, signature, inputs, outputs):
    from serving.models.support_sets import ALIAS, name_in

    name = name_in(request.inputs[ALIAS]) if ALIAS in request.inputs else None
    supports = list(answer.supports) or None
    if name is not None:
        inputs = {alias: tensor[:1] for alias, tensor in inputs.items()}
    if signature == "encode_support":
        state = state_digest(outputs)
    elif "support_images" in inputs:
        # No state is passed on; the pictures as they came stand for it.
        state = state_digest({alias: inputs[alias] for alias in ("support_images",)})
    else:
        state = state_digest({k: v for k, v in inputs.items() if not k.startswith("query_")})
    return {"support_set": name, "state": state, "supports": supports}


def _pictures(request, inputs, outputs):
    queries = next((inputs[alias] for alias in ("query_bytes", "query_images") if alias in inputs), None)
    if queries is None:
        return {}
    queries = queries.numpy()
    if queries.dtype == object:
        digests = [hashlib.sha256(content).hexdigest()[:DIGITS] for content in queries.ravel()]
    else:
        flat = np.ascontiguousarray(queries).reshape(-1, *queries.shape[2:])
        digests = [hashlib.sha256(picture.data).hexdigest()[:DIGITS] for picture in flat]
    facts = {"pictures": digests}
    if "presence" in outputs:
        presence = outputs["presence"].numpy().astype(np.float64)
        facts["presence"] = np.round(presence.reshape(-1, presence.shape[-1]), 4).tolist()
        if presence.shape[-1] == 1:
            facts["presence"] = [value for [value] in facts["presence"]]
    if "masks" in outputs:
        masks = outputs["masks"].numpy() > 0
        facts["marked"] = np.round(masks.mean((-2, -1)).ravel(), 5).tolist()
    return facts
