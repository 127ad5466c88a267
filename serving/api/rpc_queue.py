"""The queue of gRPC's predictions, past which everything else is answered at once.

gRPC's own limit (`maximum_concurrent_rpcs`) and its one pool of threads treat all alike: a server with much to do
would refuse or delay the question whether it lives, and be killed for it.
"""

import threading
from concurrent import futures

import grpc

from serving import tracing

SLOW = tracing.ASKED | {"HandleReloadConfigRequest"}
"""RPCs that may take seconds; the others take a millisecond."""
PROBES = 1000
"""Of those others, that may wait at once."""


class Queue(grpc.ServerInterceptor):
    """Gives predictions one pool of threads and a limit, and probes another pool.

    Args:
        threads: predictions that are made at once. limit: at work or waiting; more are refused with
            RESOURCE_EXHAUSTED, unread. refused: called without arguments for each of these.

    Attributes:
        pool: for `grpc.server`.
    """

    def __init__(self, threads, limit, refused=None):
        self.pool = _Counting(threads, thread_name_prefix="rpc")
        self.limit, self.refused = limit, refused
        self._probes = futures.ThreadPoolExecutor(2, thread_name_prefix="probe")
        self._streams = futures.ThreadPoolExecutor(4, thread_name_prefix="stream")
        # As a stream, whose messages nobody reads.
        self._refusal = grpc.stream_unary_rpc_method_handler(_in(self._probes, self._refuse))

    def intercept_service(self, continuation, details):
        handler = continuation(details)
        if handler is None:
            return None
        if details.method.rpartition("/")[2] in SLOW:
            return handler if self.pool.busy < self.limit else self._refusal
        coders = handler.request_deserializer, handler.response_serializer
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(_in(self._probes, handler.unary_unary), *coders)
        if handler.stream_stream:  # of reflection, which a client may leave open
            return grpc.stream_stream_rpc_method_handler(_in(self._streams, handler.stream_stream), *coders)
        return handler

    def _refuse(self, _, context):
        if self.refused:
            self.refused()
        context.abort(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"{self.limit} requests are at work or wait, as many as --max_queued_requests allows; ask again later, with a growing pause.",
        )


def _in(pool, behaviour):
    """A method that gRPC runs in a pool of its own."""

    def answer(request, context):
        return behaviour(request, context)

    answer.experimental_thread_pool = pool
    return answer


class _Counting(futures.ThreadPoolExecutor):
    """Knows how much is at work or waits."""

    busy = 0

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self._counting = threading.Lock()

    def submit(self, *arguments, **options):
        future = super().submit(*arguments, **options)
        self._count(1)
        future.add_done_callback(lambda _: self._count(-1))
        return future

    def _count(self, step):
        with self._counting:
            self.busy += step
