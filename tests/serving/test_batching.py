"""Joined requests, deadlines, and a flood."""

import concurrent.futures
import threading
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf

from serving.api import tensors
from serving.api.batching import Batcher
from serving.client import Client, ServingError
from serving.errors import RpcError
from serving.models.config_files import Batching
from serving.models.model_manager import Version
from serving.server import create_server


class Doubler:
    """A signature that says how large its batches were, and fails for negative numbers."""

    def __init__(self, seconds=0.0):
        self.sizes, self.seconds = [], seconds

    def __call__(self, x):
        self.sizes.append(int(x.shape[0]))
        time.sleep(self.seconds)
        if (x.numpy() < 0).any():
            raise tf.errors.InvalidArgumentError(None, None, "negative")
        return {"y": 2 * x}


def run_all(batcher, function, values, deadline=None):
    version = Version(1, None, {"double": function}, {})

    def one(value):
        try:
            return batcher.run(version, "double", {"x": tf.constant(value)}, deadline)["y"].numpy()
        except Exception as error:
            return error

    with concurrent.futures.ThreadPoolExecutor(len(values)) as pool:
        return list(pool.map(one, values))


def test_requests_are_joined_where_shapes_agree_and_each_gets_its_own():
    function = Doubler()
    values = [np.full((1 + i % 2, 3), i, np.float32) for i in range(6)] + [np.full((1, 4), 9.0, np.float32)]
    answers = run_all(Batcher(Batching(batch_timeout_micros=200_000, num_batch_threads=1)), function, values)
    for value, answer in zip(values, answers):
        np.testing.assert_array_equal(answer, 2 * value)
    assert sum(function.sizes) == 10 and len(function.sizes) < len(values) and max(function.sizes) > 2


def test_a_full_batch_does_not_wait_and_none_is_larger_than_allowed():
    function = Doubler()
    start = time.monotonic()
    answers = run_all(
        Batcher(Batching(max_batch_size=2, batch_timeout_micros=2_000_000)),
        function,
        [np.ones((1, 1), np.float32)] * 4,
    )
    assert len(answers) == 4 and max(function.sizes) == 2 and time.monotonic() - start < 1.9


def test_only_the_guilty_request_fails():
    values = [np.full((1, 1), v, np.float32) for v in (1, -1, 3)]
    good, bad, other = run_all(Batcher(Batching(batch_timeout_micros=200_000)), Doubler(), values)
    assert good == 2 and other == 6 and isinstance(bad, tf.errors.InvalidArgumentError)


def test_what_has_no_first_axis_is_not_joined():
    """Signatures of models that are not ours."""
    batcher = Batcher(Batching())
    for inputs in ({}, {"x": tf.constant(2.0)}, {"x": tf.constant([2.0, 2.0]), "scale": tf.constant(1.0)}):
        version = Version(
            1, None, {"own": lambda **given: {name: 2 * value for name, value in given.items()}}, {}
        )
        answer = batcher.run(version, "own", inputs)
        assert {name: value.numpy().tolist() for name, value in answer.items()} == {
            name: (2 * value).numpy().tolist() for name, value in inputs.items()
        }


def test_what_would_be_too_large_joined_is_not_joined(monkeypatch):
    """Three episodes of 4 values each against a limit of 8: each batch holds two at most."""
    monkeypatch.setattr(tensors, "MAX_ELEMENTS", 8)
    function = Doubler()
    answers = run_all(
        Batcher(Batching(batch_timeout_micros=200_000, num_batch_threads=1)),
        function,
        [np.ones((1, 4), "f4")] * 3,
    )
    assert (
        [answer.shape for answer in answers] == [(1, 4)] * 3
        and sum(function.sizes) == 3
        and max(function.sizes) <= 2
    )


def test_a_late_request_costs_nothing_and_a_flood_is_shed():
    function = Doubler()
    [late] = run_all(
        Batcher(Batching()), function, [np.ones((1, 1), np.float32)], deadline=time.monotonic() - 1
    )
    assert (
        isinstance(late, RpcError) and late.code is grpc.StatusCode.DEADLINE_EXCEEDED and not function.sizes
    )
    slow = Doubler(0.2)
    batcher = Batcher(Batching(max_batch_size=1, max_enqueued_batches=2, num_batch_threads=1))
    answers = run_all(batcher, slow, [np.ones((1, 1), np.float32)] * 8)
    refused = [a for a in answers if isinstance(a, RpcError)]
    assert refused and all(
        a.code is grpc.StatusCode.UNAVAILABLE and "2 batches wait" in str(a) for a in refused
    )
    assert len(slow.sizes) == 8 - len(refused)


def test_joined_answers_are_the_model_s(base_path, predictions, model, episode):
    service = predictions(base_path, batcher=Batcher(Batching(batch_timeout_micros=100_000)))
    server, port = create_server(service, "127.0.0.1", 0)
    requests = [episode(1, 1, 1, (32, 32), seed=seed)[0] for seed in range(4)]

    def ask(inputs):
        with Client(f"127.0.0.1:{port}") as client:
            return client.call("serving_default", inputs)["probabilities"]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, requests))
    for inputs, answer in zip(requests, answers):
        expected = tf.nn.softmax(model({k: tf.constant(v) for k, v in inputs.items()}))
        np.testing.assert_allclose(answer, expected, atol=1e-5)
    server.stop(0)


def test_more_than_the_queue_is_refused_and_the_next_is_answered(base_path, predictions, episode):
    server, port = create_server(predictions(base_path), "127.0.0.1", 0, threads=1, queue=2)
    inputs, _ = episode(1, 1, 1, (256, 256))
    started = threading.Barrier(8)

    def ask(_):
        with Client(f"127.0.0.1:{port}") as client:
            started.wait()
            try:
                return client.call("serving_default", inputs)["masks"].shape
            except ServingError as error:
                return error.code

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert answers.count((1, 1, 256, 256)) >= 1
    assert answers.count(grpc.StatusCode.RESOURCE_EXHAUSTED) >= 1 and len(set(answers)) == 2
    with Client(f"127.0.0.1:{port}") as client:
        assert client.call("serving_default", inputs)["masks"].shape == (1, 1, 256, 256)
        with pytest.raises(ServingError) as caught:
            client.timeout = 0.001
            client.call("serving_default", inputs)
        assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    server.stop(0)
