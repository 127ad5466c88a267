"""Joins requests that wait at the same time along their first axis, where all other axes agree."""

import collections
import threading
import time

import grpc
import tensorflow as tf

from serving import tracing
from serving.api.tensors import size_problem
from serving.errors import RpcError


class Batcher:
    """Runs signatures for requests of many threads, several requests at a time.

    The thread that opens a batch waits `batch_timeout_micros` for others, or until the batch is full, and
    runs it; at most `num_batch_threads` run at once, and while they do, batches fill without waiting. What
    would be too large joined (`serving.api.tensors.size_problem`) is not joined. A request whose deadline has
    passed leaves before it costs anything. When a joined run fails, its requests are run one by one, so that
    only the guilty one fails.

    Args:
        settings: `serving.models.config_files.Batching`.
    """

    def __init__(self, settings):
        self.settings = settings
        self._lock = threading.Lock()
        self._open = {}
        self._waiting = 0
        self._slots = threading.Semaphore(settings.num_batch_threads)

    def run(self, version, signature, inputs, deadline=None):
        """Outputs of a signature.

        Args:
            version: `Version`. signature: name. inputs: dictionary of tensors; joined if they all begin with B.
            deadline: `time.monotonic()` after which the answer is worth nothing, or None.

        Raises:
            RpcError: UNAVAILABLE when too many batches wait, DEADLINE_EXCEEDED.
            What the signature raises.
        """
        sizes = {tensor.shape[:1].num_elements() if tensor.shape.rank else None for tensor in inputs.values()}
        if len(sizes) != 1 or None in sizes:
            # Nothing to join along; of ours the graph says what is wrong.
            return version.signatures[signature](**inputs)
        [size] = sizes
        key = (
            id(version),
            signature,
            *((name, t.dtype, tuple(t.shape[1:])) for name, t in sorted(inputs.items())),
        )
        item = _Item(inputs, size, deadline)
        with self._lock:
            batch = self._open.get(key)
            leads = batch is None or not self._fits(batch.size + size, inputs, version)
            if leads:
                if self._waiting >= self.settings.max_enqueued_batches:
                    raise RpcError(
                        grpc.StatusCode.UNAVAILABLE,
                        f"The batch scheduling queue to which this task was submitted is full: {self._waiting} batches wait. Try again later.",
                    )
                self._waiting += 1
                batch = self._open[key] = _Batch()
            batch.add(item)
            if batch.size >= self.settings.max_batch_size:
                batch.full.set()
        if leads:
            self._lead(key, batch, version.signatures[signature])
        item.done.wait()
        tracing.past("batch", item.queued, item.began or time.time_ns())
        if item.began:
            tracing.past("tensorflow", item.began, item.ended, requests=item.requests)
        if item.error:
            raise item.error
        return item.outputs

    def _fits(self, episodes, inputs, version):
        shapes = {name: [episodes, *tensor.shape[1:]] for name, tensor in inputs.items()}
        return episodes <= self.settings.max_batch_size and not size_problem(shapes, version.image_size)

    def _lead(self, key, batch, function):
        try:
            if self.settings.batch_timeout_micros:
                batch.full.wait(self.settings.batch_timeout_micros / 1e6)
            with self._slots:
                with self._lock:
                    if self._open.get(key) is batch:
                        del self._open[key]
                    self._waiting -= 1
                _run(batch.items, function)
        finally:
            for item in batch.items:
                item.ended = time.time_ns()
                item.done.set()


class _Batch:
    def __init__(self):
        self.items, self.size, self.full = collections.deque(), 0, threading.Event()

    def add(self, item):
        self.items.append(item)
        self.size += item.size


class _Item:
    def __init__(self, inputs, size, deadline):
        self.inputs, self.size, self.deadline = inputs, size, deadline
        self.outputs = self.error = None
        self.done = threading.Event()
        # For its spans, ns since 1970; and how many requests TensorFlow was called with.
        self.queued, self.began, self.ended, self.requests = time.time_ns(), None, None, 1


def check_deadline(deadline):
    """Raises DEADLINE_EXCEEDED when `time.monotonic()` has passed `deadline`."""
    if deadline is not None and time.monotonic() > deadline:
        raise RpcError(
            grpc.StatusCode.DEADLINE_EXCEEDED,
            "the deadline passed while the request waited; nothing was computed.",
        )


def _run(items, function):
    live = []
    for item in items:
        try:
            check_deadline(item.deadline)
            item.began = time.time_ns()
            live.append(item)
        except RpcError as error:
            item.error = error
    if len(live) > 1:
        try:
            joined = function(
                **{name: tf.concat([item.inputs[name] for item in live], 0) for name in live[0].inputs}
            )
            sizes = [item.size for item in live]
            parts = {name: tf.split(tensor, sizes) for name, tensor in joined.items()}
            for number, item in enumerate(live):
                item.requests = len(live)
                item.outputs = {name: tensors[number] for name, tensors in parts.items()}
            return
        except Exception:  # whatever one of them did: each for itself
            pass
    for item in live:
        try:
            item.outputs = function(**item.inputs)
        except Exception as error:
            item.error = error
