"""What a sender may take of the DICOM door: bytes of an object, bytes of a message, and time."""

import logging
import math
import weakref

log = logging.getLogger("serving.dicom_door")
MAX_PDU = 1 << 20
"""Bytes of a message of the transport (PDU). The door announces 16 KB; an A-ASSOCIATE-RQ may be larger."""
STALL = 60.0
"""Seconds that a sender may let the door wait within a message."""


def limits(max_bytes):
    """Handlers for a pynetdicom server, pairs of event and function.

    A sender whose object has more than `max_bytes` is aborted before it is whole (pynetdicom would write all of
    it to disk); one that announces a larger message than `MAX_PDU`, all of which would come into memory, or says
    nothing for `STALL` in the middle of one, is cut off.
    """
    from pynetdicom import evt

    received = weakref.WeakKeyDictionary()

    def opened(event):
        transport = event.assoc.dul.socket
        if transport.socket.gettimeout() is None:
            transport.socket.settimeout(STALL)
        read = transport.recv

        def bounded(count):
            if count > MAX_PDU:
                raise OSError(
                    f"{_caller(event)} announces a message of {count} bytes; the limit is {MAX_PDU}"
                )
            return read(count)

        transport.recv = bounded

    def came(event):
        received[event.assoc] = received.get(event.assoc, 0) + len(event.data)
        if received[event.assoc] > max_bytes:
            received[event.assoc] = -math.inf  # what is on its way already is no second offence
            log.error("%s sends an object of more than %d bytes; aborted", _caller(event), max_bytes)
            event.assoc.abort(block=False)

    def whole(event):
        received[event.assoc] = 0

    return [(evt.EVT_CONN_OPEN, opened), (evt.EVT_DATA_RECV, came), (evt.EVT_DIMSE_RECV, whole)]


def _caller(event):
    requestor = event.assoc.requestor
    return f"{requestor.ae_title or 'somebody'} at {requestor.address}"
