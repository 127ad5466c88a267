"""How `benchmarks.soak` asks at each door: always `ask(signature, inputs)`, which gives outputs, the version that
the answer names (None where it names none) and its id; and what each door is sent that it must refuse."""

import base64
import http.client
import json
import re
import socket
import time
import uuid

import grpc
import numpy as np

from serving.client import PREDICT, read_tensor, write_tensor
from serving.protos import wire_pb2

NAME = "panet"
PATIENCE = 300.0
"""Seconds for a request: the machine may be busy."""
ID = "panet-answer-id"
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
DATATYPES = {"float32": "FP32", "uint8": "UINT8", "object": "BYTES"}
HEADER_LENGTH = "Inference-Header-Content-Length"


class Refused(Exception):
    """What the server said, as a status."""


class TfServingGrpc:
    """TensorFlow Serving's gRPC, by plain stubs."""

    name = "TF Serving gRPC"

    def __init__(self, address, rest):
        self.channel = grpc.insecure_channel(address, options=UNLIMITED)
        self.predict = self.channel.unary_unary(
            PREDICT, wire_pb2.PredictRequest.SerializeToString, wire_pb2.PredictResponse.FromString
        )
        self.raw = self.channel.unary_unary(PREDICT, lambda content: content, lambda content: content)

    def ask(self, signature, inputs):
        request = wire_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = NAME, signature
        for alias, value in inputs.items():
            write_tensor(request.inputs[alias], value)
        try:
            response, call = self.predict.with_call(request, timeout=PATIENCE)
        except grpc.RpcError as error:
            raise Refused(error.code().name) from None
        outputs = {alias: read_tensor(tensor) for alias, tensor in response.outputs.items()}
        return outputs, response.model_spec.version.value, dict(call.trailing_metadata())[ID]

    def garbage(self, content):
        try:
            self.raw(content, timeout=PATIENCE)
        except grpc.RpcError as error:
            raise Refused(error.code().name) from None

    def cut(self, content, seconds):
        call = self.raw.future(content, timeout=PATIENCE)
        time.sleep(seconds)
        call.cancel()


class TfServingRest:
    """TensorFlow Serving's REST, by the standard library."""

    name, path = "TF Serving REST", f"/v1/models/{NAME}:predict"

    def __init__(self, address, rest):
        self.rest = rest

    def ask(self, signature, inputs):
        values = {alias: _json(value) for alias, value in inputs.items()}
        body = json.dumps({"signature_name": signature, "inputs": values}).encode()
        headers, content = self._post(body)
        outputs = {alias: np.array(value) for alias, value in json.loads(content)["outputs"].items()}
        return outputs, None, headers[ID]

    def _post(self, body, headers=()):
        connection = http.client.HTTPConnection(self.rest, timeout=PATIENCE)
        try:
            connection.request("POST", self.path, body, dict(headers))
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise Refused(f"{response.status}")
        return response.headers, content

    def garbage(self, content):
        self._post(content)

    def cut(self, content, seconds):
        host, _, port = self.rest.rpartition(":")
        with socket.create_connection((host, int(port))) as connection:
            head = f"POST {self.path} HTTP/1.1\r\nHost: x\r\nContent-Length: {2 * len(content)}\r\n\r\n"
            connection.sendall(head.encode() + content)
            time.sleep(seconds)


class OpenInferenceGrpc:
    """The Open Inference Protocol by tritonclient, which nobody here wrote."""

    name = "Open Inference gRPC"

    def __init__(self, address, rest):
        import tritonclient.grpc as triton

        self.triton, self.client = triton, triton.InferenceServerClient(address)
        self.channel = grpc.insecure_channel(address, options=UNLIMITED)
        method = "/inference.GRPCInferenceService/ModelInfer"
        self.raw = self.channel.unary_unary(method, lambda content: content, lambda content: content)

    def ask(self, signature, inputs):
        parameters = None if signature == "serving_default" else {"signature_name": signature}
        try:
            result = self.client.infer(
                NAME, _triton(self.triton, inputs), parameters=parameters, client_timeout=PATIENCE
            )
        except self.triton.InferenceServerException as error:
            raise Refused(str(error.status()).removeprefix("StatusCode.")) from None
        response = result.get_response()
        outputs = {one.name: result.as_numpy(one.name) for one in response.outputs}
        return outputs, int(response.model_version), response.parameters[ID].string_param

    garbage, cut = TfServingGrpc.garbage, TfServingGrpc.cut


class OpenInferenceRest(TfServingRest):
    """The Open Inference Protocol, its bodies written and read by tritonclient."""

    name, path = "Open Inference REST", f"/v2/models/{NAME}/infer"

    def __init__(self, address, rest):
        import tritonclient.http as triton

        super().__init__(address, rest)
        self.triton = triton

    def ask(self, signature, inputs):
        parameters = None if signature == "serving_default" else {"signature_name": signature}
        write = self.triton.InferenceServerClient.generate_request_body
        body, size = write(_triton(self.triton, inputs), parameters=parameters)
        headers, content = self._post(body, {HEADER_LENGTH: str(size)} if size else {})
        length = headers.get(HEADER_LENGTH)
        read = self.triton.InferenceServerClient.parse_response_body
        result = read(content, header_length=length and int(length))
        response = result.get_response()
        outputs = {one["name"]: result.as_numpy(one["name"]) for one in response["outputs"]}
        return outputs, int(response["model_version"]), response["parameters"][ID]


DOORS = (TfServingGrpc, TfServingRest, OpenInferenceGrpc, OpenInferenceRest)


def _json(value):
    if value.dtype != object:
        return value.tolist()
    flat = [{"b64": base64.b64encode(item).decode()} for item in value.ravel()]
    return np.array(flat, object).reshape(value.shape).tolist()


def _triton(module, inputs):
    made = []
    for alias, value in inputs.items():
        made.append(module.InferInput(alias, list(value.shape), DATATYPES[value.dtype.name]))
        made[-1].set_data_from_numpy(value)
    return made


class DicomDoor:
    """Objects for the C-STORE door, by pynetdicom, and its answers on disk.

    Args:
        port: of the door. output: `pathlib.Path`, its folder.
    """

    name = "DICOM"
    ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6.1"

    def __init__(self, port, output):
        import pynetdicom

        self.port, self.output = port, output
        self.entity = pynetdicom.AE()
        self.entity.add_requested_context(self.ULTRASOUND)

    def made(self, picture):
        """An ultrasound image of uint8 [H, W], with a new identity."""
        from pydicom.dataset import FileDataset, FileMetaDataset
        from pydicom.uid import ExplicitVRLittleEndian

        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = self.ULTRASOUND, ExplicitVRLittleEndian
        meta.MediaStorageSOPInstanceUID = f"2.25.{uuid.uuid4().int}"
        data = FileDataset("made", {}, file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        data.PatientID = data.PatientName = "phantom"
        data.StudyInstanceUID, data.SeriesInstanceUID, data.Modality = "2.25.1", "2.25.2", "US"
        data.Rows, data.Columns = picture.shape
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
        data.PixelData = picture.tobytes()
        return data

    def _associated(self):
        association = self.entity.associate("127.0.0.1", self.port)
        if not association.is_established:
            raise Refused("no association")
        return association

    def store(self, data):
        """Sends an object; refusals are raised."""
        association = self._associated()
        try:
            status = association.send_c_store(data).get("Status")
        finally:
            association.release()
        if status != 0:
            raise Refused(f"0x{status:04X}" if status is not None else "no status")

    def record(self, data):
        """Sends an object, and keeps what goes over the wire, for `cut`."""
        from pynetdicom import evt

        messages = []
        handlers = [(evt.EVT_DATA_SENT, lambda event: messages.append(event.data))]
        association = self.entity.associate("127.0.0.1", self.port, evt_handlers=handlers)
        association.send_c_store(data)
        association.release()
        self.asking, *self.sending = messages[:-1]  # the last asks for the release

    def cut(self, share):
        """Sends a share of the object that was recorded, and ends the connection without a word.

        pynetdicom's own requestor may hang for ever when its connection ends under it.
        """
        content = b"".join(self.sending)
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            connection.sendall(self.asking)
            if not connection.recv(1 << 16):
                raise Refused("no association")
            connection.sendall(content[: int(share * len(content))])

    def answer(self, uid, seconds):
        """The SEG of an object as (bool [H, W], version, id, presence), or the text of its refusal; None
        where there is neither in time."""
        import pydicom

        made, failed = self.output / f"{uid}_mask.dcm", self.output / "failed" / f"{uid}.txt"
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if failed.is_file():
                return failed.read_text("utf-8")
            if made.is_file():
                data = pydicom.dcmread(made)
                identified = data.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
                presence = re.search(r"presence=([0-9.e-]+)", identified.AlgorithmParameters)
                made.unlink()
                return (
                    data.pixel_array.reshape(-1, data.Rows, data.Columns).any(0),
                    int(identified.AlgorithmVersion),
                    data.ContentDescription.rpartition("mask ")[2],
                    float(presence[1]),
                )
            time.sleep(0.05)
        return None
