"""Bodies as clients and proxies send them, and as strangers do."""

import gzip
import io
import random
from email.message import Message

import pytest

from serving.api.http_body import HttpError, read_body

LIMIT = 1_000_000
PLAIN = random.Random(0).randbytes(200_001)
PACKED = gzip.compress(PLAIN)


def read(body, **headers):
    message = Message()
    for name, value in headers.items():
        for line in [value] if isinstance(value, str) else value:
            message[name.replace("_", "-")] = line
    return bytes(read_body(message, io.BytesIO(body), LIMIT))


def chunked(body, size=1000, trailer=b""):
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return (
        b"".join(b"%x;name=value\r\n%s\r\n" % (len(part), part) for part in parts)
        + b"0\r\n"
        + trailer
        + b"\r\n"
    )


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 131072, 200_001])
def test_plain_chunked_and_gzip_bodies_are_the_same_bytes(size):
    for plain in (PLAIN[:size], bytes(size)):
        packed = gzip.compress(plain[:77]) + gzip.compress(
            plain[77:]
        )  # members follow one another (RFC 1952, 2.2)
        assert read(plain, Content_Length=str(size)) == plain
        assert read(packed, Content_Length=str(len(packed)), Content_Encoding="gzip") == plain
        assert read(chunked(plain, trailer=b"X-Sum: 1\r\n"), Transfer_Encoding="chunked") == plain
        assert read(chunked(packed), Transfer_Encoding="Chunked", Content_Encoding="GZIP") == plain


@pytest.mark.parametrize(
    ("body", "headers", "code", "message"),
    [
        (b"", {}, 411, "no Content-Length and no Transfer-Encoding"),
        (b"", {"Content_Length": str(LIMIT + 1)}, 413, "1000001 bytes; the limit is 1000000"),
        (chunked(bytes(LIMIT + 1)), {"Transfer_Encoding": "chunked"}, 413, "more than 1,000,000"),
        (
            gzip.compress(bytes(10**8)),
            {"Content_Length": "97220", "Content_Encoding": "gzip"},
            413,
            "unpacks to more than",
        ),
        (
            PACKED[:-9],
            {"Content_Length": str(len(PACKED) - 9), "Content_Encoding": "gzip"},
            400,
            "ends too early",
        ),
        (b"{}", {"Content_Length": "2", "Content_Encoding": "gzip"}, 400, "no whole gzip file"),
        (b"", {"Content_Length": "0", "Content_Encoding": "gzip"}, 400, "no whole gzip file"),
        (
            b"{}",
            {"Content_Length": "2", "Content_Encoding": "br"},
            415,
            "'br' is not supported; expected gzip",
        ),
        (b"{}", {"Content_Length": "9"}, 400, "ended 7 bytes too early"),
        (b"{}", {"Content_Length": "-2"}, 400, "expected one whole number"),
        (b"{}", {"Content_Length": "2", "Transfer_Encoding": "chunked"}, 400, "chunked alone"),
        (b"{}", {"Transfer_Encoding": "gzip, chunked"}, 400, "chunked alone"),
        (
            b"0\r\n\r\n",
            {"Transfer_Encoding": ("chunked", "identity")},
            400,
            "chunked, identity'; expected chunked alone",
        ),
        (
            PACKED,
            {"Content_Length": "9", "Content_Encoding": ("gzip", "gzip")},
            415,
            "'gzip, gzip' is not supp",
        ),
        (b"xyz\r\n{}", {"Transfer_Encoding": "chunked"}, 400, "hexadecimal"),
        (b"-1\r\n{}", {"Transfer_Encoding": "chunked"}, 400, "hexadecimal"),
        (b"9\r\n{}", {"Transfer_Encoding": "chunked"}, 400, "too early"),
        (b"1\r\n{}\r\n0\r\n\r\n", {"Transfer_Encoding": "chunked"}, 400, "longer than it says"),
        (b"1" * 5000, {"Transfer_Encoding": "chunked"}, 400, "too long"),
    ],
)
def test_what_cannot_be_read_gets_a_code_and_a_message(body, headers, code, message):
    with pytest.raises(HttpError, match=message) as caught:
        read(body, **headers)
    assert caught.value.code == code
