"""A client with grpcio and numpy; it imports no TensorFlow, and talks to tensorflow_model_server just as
well.

python -m serving.client segment --server HOST:PORT --support-dir DIR --query IMG_OR_FOLDER ... --out DIR
"""

import argparse
import dataclasses
import hashlib
import logging
import os
import pathlib
import re
import sys

import grpc
import numpy as np

from . import tracing
from .commands import arguments as options
from .commands.files import write_whole
from .commands.outputs import ENDINGS, plan_outputs
from .commands.queries import describe, find_queries
from .commands.table import name_unread, write_table
from .commands.trouble import ended_by_signals, exit_code, open_streams, told, unread
from .pictures import (
    encode_png,
    enlarge,
    open_mask,
    open_rgb,
    overlay,
    query_bytes,
    shrink,
    shrink_mask,
    unite_masks,
)
from .protos import wire_pb2
from .rules.dicom import is_dicom
from .segmentations import png_bytes, seg_bytes

DTYPES = {
    **{1: np.float32, 2: np.float64, 3: np.int32, 4: np.uint8, 5: np.int16, 6: np.int8, 9: np.int64},
    **{10: np.bool_, 17: np.uint16, 19: np.float16, 22: np.uint32, 23: np.uint64},
}
"""tensorflow.DataType numbers of fixed-size types; 7 is a string."""
FIELDS = {
    **{np.float32: "float_val", np.float64: "double_val", np.int64: "int64_val", np.bool_: "bool_val"},
    **dict.fromkeys((np.int32, np.uint8, np.int16, np.int8, np.uint16), "int_val"),
}
"""Where a Tensor message keeps values that are not in `tensor_content`, of the types that the client's has."""
STRING = 7
ANSWER_ID, SUPPORTS, MOST_TOLD = "panet-answer-id", "panet-supports", 200
"""Names of metadata that serving/api/provenance.py knows, and the most digests in one."""
PRESENCE_SHARE = 0.001
OF_PICTURE = re.compile(r"query_bytes[:\[]|png|jpeg", re.IGNORECASE)
"""In what a server, TensorFlow's own too, says of a picture that it cannot decode; others it may answer."""
COMMAND = "python -m serving.client" if __package__ == "serving" else "panet-client"
"""What a person typed: this file is also installed alone, as panet_client (serving/pyproject.toml)."""
NAME = COMMAND.split()[-1]
PREDICT = "/tensorflow.serving.PredictionService/Predict"
METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"


class ServingError(Exception):
    """A request that the server refused, or that did not reach it.

    Attributes:
        code: `grpc.StatusCode`.
    """

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """As `panet_keras.Segmentation`, for one way: mask bool [H, W], probability float32 [H, W], presence in
    [0, 1]; the id by which the server's audit log knows the answer, empty from other servers; and the
    threshold below which a presence leaves the mask empty."""

    mask: np.ndarray
    probability: np.ndarray
    presence: float
    answer_id: str = ""
    presence_threshold: float = 0.0


class Client:
    """Segments images on a server; `set_support` and `predict` are those of `panet_keras.FewShotSegmenter`.

    Args:
        server: `"HOST:PORT"`, or `"unix:PATH"` for a server on this machine with `--grpc_socket_path`.
        model_name: name the server knows the model by.
        size: (height, width) to which annotated images are brought; None asks the server for the model's own,
            once.
        timeout: seconds for a request.
        options: gRPC channel options, pairs of name and value (or a dictionary); they win over the client's
            own.
        credentials: `grpc.ChannelCredentials` for a server with TLS, such as
            `grpc.ssl_channel_credentials(root)`.
        version_label: of the version that answers, such as `"stable"`; None for the latest.
        presence_threshold: from 0 to 1; below it `predict` marks nothing. None: the one that the model was
            exported with.

    Attributes:
        answered: number of the version that answered last; None before.

    Raises:
        ValueError: a threshold outside [0, 1].
    """

    def __init__(
        self,
        server,
        model_name="panet",
        size=None,
        timeout=60.0,
        options=(),
        credentials=None,
        version_label=None,
        presence_threshold=None,
    ):
        if presence_threshold is not None and not 0 <= presence_threshold <= 1:
            raise ValueError(
                f"presence_threshold={presence_threshold!r}; expected a probability from 0 to 1."
            )
        self.server, self.model_name, self.timeout = server, model_name, timeout
        self.version_label, self.presence_threshold = version_label, presence_threshold
        self._size = None if size is None else tuple(size)
        self.answered = None
        # A name stands once, so that what the caller asks for holds.
        unlimited = {"grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1}
        options = list((unlimited | dict(options)).items())
        if credentials is None:
            self._channel = grpc.insecure_channel(server, options=options)
        else:
            self._channel = grpc.secure_channel(server, credentials, options=options)
        self._predict = self._channel.unary_unary(
            PREDICT, wire_pb2.PredictRequest.SerializeToString, wire_pb2.PredictResponse.FromString
        )
        self._metadata = self._channel.unary_unary(
            METADATA,
            wire_pb2.GetModelMetadataRequest.SerializeToString,
            wire_pb2.GetModelMetadataResponse.FromString,
        )
        self._status = self._channel.unary_unary(
            STATUS,
            wire_pb2.GetModelStatusRequest.SerializeToString,
            wire_pb2.GetModelStatusResponse.FromString,
        )
        self._state = self._made_by = None

    def close(self):
        self._channel.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def size(self):
        """(height, width) of the model: as given, or what the server says of `segment_encoded`.

        Raises:
            ServingError: no answer. ValueError: the model does not say its size; give it.
        """
        if self._size is None:
            shape = self.signatures()["segment_encoded"].outputs["probabilities"].tensor_shape
            size = tuple(dim.size for dim in shape.dim[2:4])
            if len(size) != 2 or min(size) < 1:
                raise ValueError(
                    f"{self.model_name} at {self.server} does not say its size (it was exported by an older version); give "
                    "size=(height, width) or --size HEIGHT WIDTH, or export the model again."
                )
            self._size = size
        return self._size

    def signatures(self):
        """What the model takes and gives: map of signature name to SignatureDef (`inputs` and `outputs` by
        name).

        Raises:
            ServingError: with the server's status and message.
        """
        request = wire_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._name_model(request.model_spec)
        packed = self._send(self._metadata, request).metadata["signature_def"]
        return wire_pb2.SignatureDefMap.FromString(packed.value).signature_def

    def call(self, signature, inputs, version=None, output_filter=()):
        """Calls a signature.

        Args:
            signature: name, such as `"serving_default"`.
            inputs: dictionary of name to array; bytes or arrays of bytes objects become strings.
            version: number, or None for the latest.
            output_filter: names of the outputs that are sent back; all of them when empty.

        Returns:
            Dictionary of name to array.

        Raises:
            ServingError: with the server's status and message.
        """
        return self._call(signature, inputs, version, output_filter)[0]

    def _call(self, signature, inputs, version=None, output_filter=(), metadata=()):
        """As `call`, with request metadata; the outputs and the answer's id."""
        request = wire_pb2.PredictRequest(output_filter=output_filter)
        request.model_spec.signature_name = signature
        self._name_model(request.model_spec, version)
        for name, value in inputs.items():
            write_tensor(request.inputs[name], value)
        asked = {"model": self.model_name, "signature": signature, **tracing.counts(inputs)}
        with tracing.call(PREDICT, **asked):
            metadata = (*metadata, *tracing.outgoing())
            response, trailing = self._answered(self._predict, request, metadata)
            answer_id = dict(trailing or ()).get(ANSWER_ID, "")
            self.answered = response.model_spec.version.value or None
            tracing.note(version=self.answered, answer_id=answer_id or None)
        outputs = {name: read_tensor(tensor) for name, tensor in response.outputs.items()}
        return outputs, answer_id

    def _name_model(self, spec, version=None):
        spec.name = self.model_name
        if version is not None:
            spec.version.value = version
        elif self.version_label:
            spec.version_label = self.version_label

    def versions(self):
        """Versions the server knows: list of (number, state, message); state 30 is AVAILABLE."""
        request = wire_pb2.GetModelStatusRequest()
        request.model_spec.name = self.model_name
        found = self._send(self._status, request).model_version_status
        return [(item.version, item.state, item.status.error_message) for item in found]

    @tracing.traced("Client.set_support")
    def set_support(self, images, masks, normals=()):
        """Encodes K annotated images on the server, once. The version that does so answers `predict` from then on,
        for as long as it serves (with `version_label`: the one that has the label at the time).

        Args:
            images: paths, file bytes or arrays. masks: their masks; not black is foreground.
            normals: images without lesion, of the same scanner; they tell what normal tissue looks like
                there.

        Returns:
            The client itself.

        Raises:
            ValueError: numbers or sizes differ, or a mask is empty. ServingError: the server refused.
        """
        if any(_is_one(given) for given in (images, masks, normals)):
            raise ValueError(
                "set_support expects a list of images, of masks and of normals: set_support([image], [mask], normals=[image])."
            )
        images, masks, normals = list(images), list(masks), list(() if normals is None else normals)
        if len(images) != len(masks) or not images:
            raise ValueError(
                f"set_support got {len(images)} images and {len(masks)} masks; expected as many, at least 1."
            )
        pictures, labels = [open_rgb(image) for image in images], [open_mask(mask) for mask in masks]
        for shot, (picture, label) in enumerate(zip(pictures, labels)):
            if picture.shape[:2] != label.shape:
                raise ValueError(
                    f"support shot {shot}: image is {picture.shape[:2]}, mask {label.shape}; expected one size."
                )
            if not label.any():
                raise ValueError(
                    f"support shot {shot}: its mask has no foreground pixel. Mark the lesion, or give a frame without one in normals."
                )
        pictures += [open_rgb(image) for image in normals]
        small_masks = [shrink_mask(label, self.size) for label in labels]
        small_masks += [np.zeros(self.size, np.uint8)] * (len(pictures) - len(labels))
        self._state, _ = self._call(
            "encode_support",
            {
                "support_images": np.stack([shrink(picture, self.size) for picture in pictures])[None, None],
                "support_masks": np.stack(small_masks)[None, None, ..., None],
            },
            metadata=_told(pictures),
        )
        # The latest version may be another one soon, and would refuse the state.
        self._made_by = None if self.version_label else self.answered
        return self

    def use_support_set(self, name):
        """Takes a support set that the server keeps (`--support_dir`), in place of `set_support`; our own
        server only.

        Args:
            name: of the set.

        Returns:
            The client itself; an unknown name is refused by the first `predict`.
        """
        self._state, self._made_by = {"support_set": np.array([name.encode()], object)}, None
        return self

    @tracing.traced("Client.predict")
    def predict(self, image):
        """Segments one image of any size with the support that was set.

        Args:
            image: path, file bytes or array.

        Returns:
            `Segmentation` at the image's own size; its mask is empty where the presence is below the
            threshold.
        """
        if self._state is None:
            raise ValueError("predict was called before set_support; the model needs annotated images first.")
        inputs = {**self._state, "query_bytes": np.array([[query_bytes(image)]], object)}
        try:
            answer, answer_id = self._call("segment_encoded", inputs, self._made_by)
        except ServingError as error:
            if self._made_by is None or error.code is not grpc.StatusCode.NOT_FOUND:
                raise
            mend = (
                f"The support was encoded by version {self._made_by}, which is gone; call set_support again."
            )
            raise ServingError(error.code, f"{error} {mend}") from None
        small = answer["probabilities"][0, 0, ..., 1]
        if "presence" in answer:
            presence, exported = float(answer["presence"][0, 0, 0]), float(answer["presence_threshold"][0])
        else:  # exported before these were outputs
            highest = np.sort(small.ravel())[-max(1, round(PRESENCE_SHARE * small.size)) :]
            presence, exported = float(highest.mean()), 0.0
        threshold = exported if self.presence_threshold is None else self.presence_threshold
        picture = open_rgb(image)
        full = enlarge(small, picture.shape[:2])
        mask = (full > 0.5) & (presence >= threshold)
        return Segmentation(mask, full, presence, answer_id, float(threshold))

    def _send(self, method, request):
        return self._answered(method, request)[0]

    def _answered(self, method, request, metadata=()):
        """The response, and the answer's trailing metadata."""
        try:
            response, call = method.with_call(request, timeout=self.timeout, metadata=metadata)
            return response, call.trailing_metadata()
        except grpc.RpcError as error:
            message = f"{self.server} answered {error.code().name}: {error.details()}"
            if "larger than max" in str(error.details()):
                message += (
                    f" The request has {request.ByteSize():,} bytes. Raise the server's limit with "
                    "--grpc_channel_arguments=grpc.max_receive_message_length=BYTES, or send smaller images."
                )
            elif error.code() is grpc.StatusCode.UNAVAILABLE:
                message += " Is the server running there?"
            raise ServingError(error.code(), message) from None


def _is_one(given):
    """Whether a single picture came in place of a list: the rows [W, 3] of an array would pass as grey pictures."""
    if isinstance(given, (str, bytes, os.PathLike)):
        return True
    shape = getattr(given, "shape", ())
    return len(shape) == 2 or len(shape) == 3 and shape[-1] <= 4


def _told(pictures):
    """Metadata that says which pictures are the support: digests of their pixels, no name; see
    `serving.api.provenance`."""
    if len(pictures) > MOST_TOLD:
        return ()
    digests = (hashlib.sha256(repr(p.shape).encode() + p.tobytes()).hexdigest()[:32] for p in pictures)
    return ((SUPPORTS, ",".join(digests)),)


def write_tensor(proto, value):
    """Fills a Tensor message from an array, or from bytes and text, alone or in lists."""
    first = value
    while isinstance(first, (list, tuple)) and first:
        first = first[0]
    # numpy's own texts lose zero bytes at their end.
    array = np.asarray(value, object if isinstance(first, (bytes, str)) else None)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if array.dtype.kind in "OSU":
        proto.dtype = STRING
        proto.string_val.extend(map(_bytes, array.ravel()))
        return
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    for number, dtype in DTYPES.items():
        if array.dtype == dtype:
            proto.dtype = number
            proto.tensor_content = np.ascontiguousarray(array).tobytes()
            return
    raise ValueError(
        f"dtype {array.dtype} cannot be sent; expected one of {[np.dtype(d).name for d in DTYPES.values()]} or bytes."
    )


def _bytes(item):
    if isinstance(item, str):
        return item.encode()
    # bytes(5) would be five zeros.
    if not isinstance(item, (bytes, bytearray, memoryview)):
        raise ValueError(
            f"found {type(item).__name__} in an array of objects; expected bytes or text in each place, or an array of numbers of one shape."
        )
    return bytes(item)


def read_tensor(proto):
    """Array of a Tensor message.

    Raises:
        ValueError: a type that the client does not know.
    """
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if proto.dtype == STRING:
        return np.array(list(proto.string_val), object).reshape(shape)
    dtype = DTYPES.get(proto.dtype)
    if dtype is None or not (proto.tensor_content or dtype in FIELDS or 0 in shape):
        raise ValueError(
            f"the answer has a tensor of TensorFlow's DataType {proto.dtype}, which this client does not read; leave it out with output_filter."
        )
    if proto.tensor_content:
        return np.frombuffer(proto.tensor_content, np.dtype(dtype).newbyteorder("<")).reshape(shape)
    values = np.array(getattr(proto, FIELDS.get(dtype, "int_val")), dtype)
    # TensorFlow leaves out repeated trailing values.
    count = int(np.prod(shape))
    values = np.concatenate([values, np.full(count - len(values), values[-1] if len(values) else 0, dtype)])
    return values.reshape(shape)


def main(argv=None):
    open_streams()
    parser = argparse.ArgumentParser(prog=COMMAND, description="Asks a server for masks.")
    commands = parser.add_subparsers(dest="command", required=True)
    segment = commands.add_parser("segment", help="write masks and overlays of the query images")
    segment.add_argument("--server", default="127.0.0.1:8500", metavar="HOST:PORT")
    segment.add_argument("--model_name", default="panet")
    options.add_support(segment)
    segment.add_argument(
        "--support_set", metavar="NAME", help="a set that the server keeps, in place of pictures sent to it"
    )
    segment.add_argument(
        "--ssl_root", metavar="PEM", help="certificate of the authority that the server's is signed by: TLS"
    )
    segment.add_argument("--version_label", help="such as stable; the latest version without it")
    options.add_queries(segment, recursive=False)
    options.add_answers(segment)
    segment.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"), help="model size; the served model's own without it"
    )
    segment.add_argument(
        "--format",
        choices=["png", "dicom-seg"],
        default="png",
        help="dicom-seg: also a DICOM SEG of every query, all of which are DICOM (default: PNG alone)",
    )
    segment.add_argument("--timeout", type=float, default=60.0, help="seconds for a request")
    arguments = parser.parse_args(argv)
    tracing.start("panet-client", logging.getLogger("serving"))
    try:
        with ended_by_signals():
            return _segment(arguments)
    except KeyboardInterrupt as interrupt:
        print(f"{NAME}: interrupted; what was written is whole", file=sys.stderr)
        return exit_code(interrupt)
    except BrokenPipeError:
        return unread()
    except (ServingError, OSError, ValueError, ImportError) as error:
        print(f"{NAME}: {told(error) or error}", file=sys.stderr)
        return 1
    finally:
        tracing.stop()


def _segment(arguments):
    """Writes `STEM_mask.png` and `STEM_overlay.png` for every query, and `--format`; 1 if some could not be
    read."""
    sent = bool(arguments.support or arguments.support_dir or arguments.normal)
    if arguments.support_set and sent:
        raise ValueError(
            "--support_set names pictures that the server keeps; give it, or --support, --support-dir and --normal, not both."
        )
    support = options.Support((), ()) if arguments.support_set else options.read_support(arguments)
    queries, skipped = find_queries(arguments.query, arguments.recursive, arguments.out)
    given = support.files + ([arguments.ssl_root] if arguments.ssl_root else [])
    endings = _endings(arguments.format, queries)
    outputs = plan_outputs(queries, arguments.out, endings, given, arguments.overwrite, [arguments.csv])
    if skipped:
        print(f"{NAME}: not segmented: {describe(skipped)}", file=sys.stderr)
    settings = {
        "credentials": grpc.ssl_channel_credentials(pathlib.Path(arguments.ssl_root).read_bytes())
        if arguments.ssl_root
        else None,
        "version_label": arguments.version_label,
        "presence_threshold": arguments.presence_threshold,
    }
    with Client(
        arguments.server, arguments.model_name, arguments.size, arguments.timeout, **settings
    ) as client:
        if arguments.support_set:
            client.use_support_set(arguments.support_set)
        else:
            masks = [masks[0] if len(masks) == 1 else unite_masks(masks) for masks in support.masks]
            client.set_support(support.images, masks, support.normals)
        pathlib.Path(arguments.out).mkdir(parents=True, exist_ok=True)
        rows, names = [], [arguments.support_set] if arguments.support_set else _bare(support.images)
        told = {"supports": names} | ({} if arguments.support_set else {"support_digest": _digest(support)})
        try:
            for query in queries:
                rows.append(_write_answer(client, query, outputs[query], told))
                row = rows[-1]
                if not row["error"]:
                    print(
                        f"{query.path}: presence {row['presence']:.3f}, area {row['area']:.2%}, {outputs[query][0]}",
                        flush=True,
                    )
        finally:
            # Of masks that are written the table tells, too, whatever ends the rest.
            if arguments.csv and rows:
                write_table(arguments.csv, rows)
    return name_unread(NAME, rows)


def _endings(form, queries):
    """Endings of the files of each query.

    Raises:
        ValueError: queries that are no DICOM, for dicom-seg. ImportError: highdicom is missing.
    """
    if form == "png":
        return ENDINGS
    foreign = [str(query.path) for query in queries if not is_dicom(query.path)]
    if foreign:
        raise ValueError(
            f"{', '.join(foreign[:20])}: no DICOM; a DICOM SEG refers to the DICOM file that it was drawn on. Give the DICOM files "
            "themselves, or leave --format away."
        )
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise ImportError("--format dicom-seg needs highdicom: pip install highdicom") from error
    return (*ENDINGS, "_mask.dcm")


def _digest(support):
    """As `panet_keras segment` says it of the same files: SHA-256 of their contents, shortened."""
    files = hashlib.sha256()
    for path in support.files:
        files.update(hashlib.sha256(pathlib.Path(path).read_bytes()).digest())
    return f"sha256:{files.hexdigest()[:16]}"


def _write_answer(client, query, targets, told):
    """Segments a picture and writes its mask (255 = lesion, with its provenance in text chunks), its overlay,
    and its SEG where a third target is; its row of the table."""
    try:
        picture = open_rgb(query.path)
    except ValueError as error:
        return {"file": query.name, "presence": "", "area": "", "error": str(error), "answer": ""}
    try:
        answer = client.predict(query.path)
    except ServingError as error:
        if error.code is not grpc.StatusCode.INVALID_ARGUMENT or not OF_PICTURE.search(str(error)):
            raise
        text = f"{query.path}: {error}"
        return {"file": query.name, "presence": "", "area": "", "error": text, "answer": ""}
    mask, drawn, *seg = targets
    try:
        # Nothing of a picture is written that lacks what a SEG refers to.
        content = [seg_bytes(client, query.path, answer, str(query.path), told) for _ in seg]
    except ValueError as error:
        return {"file": query.name, "presence": "", "area": "", "error": str(error), "answer": ""}
    mask.parent.mkdir(parents=True, exist_ok=True)
    write_whole(mask, png_bytes(client, answer, told))
    write_whole(drawn, encode_png(overlay(picture, answer.mask)))
    for path, made in zip(seg, content):
        write_whole(path, made)
    area = round(float(answer.mask.mean()), 8)
    presence = round(answer.presence, 6)
    return {
        "file": query.name,
        "presence": presence,
        "area": area,
        "error": "",
        "answer": answer.answer_id,
    }


def _bare(paths):
    return [os.path.basename(path) for path in paths]


if __name__ == "__main__":
    sys.exit(main())
