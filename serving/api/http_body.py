"""The body of an HTTP request: of known length or chunked, plain or gzip, never larger than a limit once it
is unpacked."""

import http
import zlib

BLOCK = 1 << 16
"""Bytes that are read or unpacked at once."""
MAX_LINE = 1024
"""Bytes of a chunk's size or of a trailer."""


class HttpError(Exception):
    """Ends a request with a status code."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = http.HTTPStatus(code)


def read_body(headers, stream, limit):
    """bytearray of a request's body (RFC 9112, sections 6 and 7; RFC 9110, section 8.4).

    Args:
        headers: of the request. stream: file to read from. limit: bytes, of what is sent and of what it
            unpacks to.

    Raises:
        HttpError: 411 without a length, 413 beyond the limit, 415 for another coding, 400 for a body that is
            not what it says.
    """
    coding = _joined(headers, "Content-Encoding").lower() or "identity"
    if coding not in ("identity", "gzip", "x-gzip"):
        raise HttpError(415, f"Content-Encoding {coding[:50]!r} is not supported; expected gzip or none.")
    blocks = _blocks(headers, stream, limit)
    body = bytearray()
    for block in _unpacked(blocks, limit) if "gzip" in coding else blocks:
        body += block
        if len(body) > limit:
            raise too_large(f"more than {limit:,}", limit)
    return body


def _joined(headers, name):
    """The values of a header, which several lines may hold (RFC 9110, section 5.3)."""
    return ", ".join(value.strip() for value in headers.get_all(name, []))


def too_large(size, limit):
    return HttpError(
        413, f"the request has {size} bytes; the limit is {limit}. Send fewer images, or use gRPC."
    )


def _blocks(headers, stream, limit):
    length, transfer = headers.get_all("Content-Length", []), _joined(headers, "Transfer-Encoding")
    if "Transfer-Encoding" in headers:
        if length or transfer.lower() != "chunked":
            raise HttpError(
                400,
                f"Transfer-Encoding is {transfer[:50]!r}; expected chunked alone, without a Content-Length.",
            )
        return _chunks(stream)
    if not length:
        raise HttpError(411, "the request has no Content-Length and no Transfer-Encoding: chunked.")
    if len(set(length)) > 1 or not (length[0].isascii() and length[0].isdigit() and len(length[0]) < 20):
        raise HttpError(400, f"Content-Length is {', '.join(length)[:50]}; expected one whole number.")
    if int(length[0]) > limit:
        raise too_large(int(length[0]), limit)
    return _exactly(stream, int(length[0]))


def _exactly(stream, size):
    while size:
        block = stream.read(min(size, BLOCK))
        if not block:
            raise HttpError(400, f"the body ended {size} bytes too early.")
        size -= len(block)
        yield block


def _chunks(stream):
    while True:
        digits = _line(stream).partition(b";")[0].strip()
        if not digits or len(digits) > 16 or digits.strip(b"0123456789abcdefABCDEF"):
            raise HttpError(400, "a chunk does not begin with its size in hexadecimal digits.")
        size = int(digits, 16)
        if not size:
            break
        yield from _exactly(stream, size)
        if _line(stream):
            raise HttpError(400, "a chunk is longer than it says.")
    for _ in range(100):  # trailers
        if not _line(stream):
            return
    raise HttpError(400, "the chunks are followed by more than 100 lines.")


def _line(stream):
    line = stream.readline(MAX_LINE + 1)
    if not line.endswith(b"\n"):
        raise HttpError(400, "the chunked body ended too early, or a line in it is too long.")
    return line.rstrip(b"\r\n")


def _unpacked(blocks, limit):
    """gzip members, one after the other, a block at a time: what unpacks to gigabytes is stopped at the
    limit."""
    unpacker, total = zlib.decompressobj(zlib.MAX_WBITS | 16), 0
    for packed in blocks:
        while packed:
            if unpacker.eof:
                unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
            block = b""
            while len(block) in (0, BLOCK) and not unpacker.eof:
                try:
                    block = unpacker.decompress(packed, BLOCK)
                except zlib.error as error:
                    raise HttpError(400, f"the body is no whole gzip file ({error}).") from None
                packed, total = unpacker.unconsumed_tail, total + len(block)
                if total > limit:
                    raise HttpError(
                        413,
                        f"the body unpacks to more than {limit:,} bytes, the limit. Send fewer images, or use gRPC.",
                    )
                yield block
                if not block:
                    break
            packed = unpacker.unused_data
    if not unpacker.eof:
        raise HttpError(400, "the body is no whole gzip file (it ends too early).")
