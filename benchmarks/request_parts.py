"""Where does the time of a Predict request go, outside TensorFlow?

    python -m benchmarks.request_parts MODEL_BASE_PATH          about 2 minutes on a quiet machine

Processor time alone, which a busy machine changes little. A step of Python is measured on its own thread
right after the model has run, as a request finds it: caches are cold then, and each step takes three to ten
times what a loop over it would say. What gRPC takes is measured with a server that answers as many bytes and
has no model, in both processes together.
"""

import contextlib
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks import record
from benchmarks.serving import SIZE, inputs, processor_seconds

REPEATS, CALLS, CLIENTS = 40, 400, 4


def echo(address, size):
    """Answers every request with `size` bytes, until its input ends; a server without a model."""
    import concurrent.futures

    import grpc

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(lambda request, context: bytes(size))

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(CLIENTS), options=UNLIMITED)
    server.add_generic_rpc_handlers((Handler(),))
    print(server.add_insecure_port(address), flush=True)
    server.start()
    sys.stdin.read()


UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def transport(address, sent, received):
    """Milliseconds of the processor for a call with `sent` bytes and an answer of `received`, client and
    server."""
    import concurrent.futures

    import grpc

    command = [sys.executable, "-m", "benchmarks.request_parts", "--echo", address, str(received)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        port = server.stdout.readline().strip()
        target = address if address.startswith("unix:") else f"127.0.0.1:{port}"
        with grpc.insecure_channel(target, options=UNLIMITED) as channel:
            call = channel.unary_unary("/echo/Echo")
            call(bytes(sent), wait_for_ready=True)
            pids = (server.pid, os.getpid())
            before = sum(map(processor_seconds, pids))
            with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
                list(pool.map(lambda _: call(bytes(sent)), range(CALLS)))
            return 1000 * (sum(map(processor_seconds, pids)) - before) / CALLS
    finally:
        server.stdin.close()
        server.wait()


def main(base):
    import numpy as np
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    from serving.api.prediction_service import PredictionService
    from serving.api.tensors import fill_tensor, read_inputs
    from serving.client import read_tensor, wire_pb2, write_tensor
    from serving.models.model_manager import LoadOptions, load_version

    number = max(int(path.name) for path in pathlib.Path(base).iterdir() if path.name.isdecimal())
    version = load_version(number, pathlib.Path(base) / str(number), LoadOptions(warm_up=False))

    class Core:
        @contextlib.contextmanager
        def lease(self, spec):
            yield version

    given = inputs(1)
    support = {name: tf.constant(given[name]) for name in ("support_images", "support_masks")}
    state = {name: value.numpy() for name, value in version.signatures["encode_support"](**support).items()}
    arrays = {**state, "query_images": given["query_images"]}
    tensors = {name: tf.constant(value) for name, value in arrays.items()}
    segment = version.signatures["segment"]

    def ask():
        request = wire_pb2.PredictRequest()
        request.model_spec.signature_name = "segment"
        for name, value in arrays.items():
            write_tensor(request.inputs[name], value)
        return request.SerializeToString()

    def answer(outputs):
        response = predict_pb2.PredictResponse()
        for name, value in outputs.items():
            fill_tensor(response.outputs[name], value)
        return response.SerializeToString()

    def understand():
        response = wire_pb2.PredictResponse.FromString(answered)
        return {name: read_tensor(value) for name, value in response.outputs.items()}

    asked = ask()
    request = predict_pb2.PredictRequest.FromString(asked)
    expected = version.definitions["segment"].inputs
    outputs = segment(**tensors)
    answered = answer(outputs)
    service = PredictionService(Core())
    wrong = {name for name, value in understand().items() if not np.array_equal(value, outputs[name].numpy())}
    if wrong:
        raise SystemExit(f"answers differ from the model's: {sorted(wrong)}")
    steps = {
        "client: arrays to bytes": ask,
        "server: bytes to message": lambda: predict_pb2.PredictRequest.FromString(asked),
        "server: message to checked tensors": lambda: read_inputs(
            request.inputs, expected, None, version.image_size
        ),
        "server: tensors to bytes": lambda: answer(outputs),
        "client: bytes to arrays": understand,
        "the model, of the calling thread": lambda: segment(**tensors),
        "all of Predict, of the calling thread": lambda: service.predict(request),
    }
    spans = {name: [] for name in steps}
    for _ in range(REPEATS):
        for name, step in steps.items():
            segment(**tensors)
            start = time.thread_time()
            step()
            spans[name].append(1000 * (time.thread_time() - start))
    table = {name: statistics.median(found) for name, found in spans.items()}
    with tempfile.TemporaryDirectory() as folder:
        for name, address in (("TCP", "127.0.0.1:0"), ("UNIX socket", f"unix:{folder}/socket")):
            rounds = [transport(address, len(asked), len(answered)) for _ in range(3)]
            table[f"gRPC over {name}, client and server"] = statistics.median(rounds)
    start = time.process_time()
    for _ in range(REPEATS):
        segment(**tensors)
    table["the model, all threads"] = 1000 * (time.process_time() - start) / REPEATS
    result = {"picture": [SIZE, SIZE], "bytes sent": len(asked), "bytes answered": len(answered)}
    record.write(
        "request_parts",
        "Where does the time of a Predict request go, outside TensorFlow?",
        {**result, "load after": os.getloadavg()[0], "processor, ms": table},
    )


if __name__ == "__main__":
    if sys.argv[1] == "--echo":
        echo(sys.argv[2], int(sys.argv[3]))
    else:
        main(sys.argv[1])
