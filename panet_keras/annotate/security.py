"""Who is answered: the page that this server gave out, on this machine, and nobody else."""

import hmac
import json
import urllib.parse

BODY_BYTES = 16 << 20
"""Of a request: a mask of 50 million pixels is far smaller as PNG."""
POLICY = (
    "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Guard:
    """ASGI middleware that answers what may not go on, and puts the headers of safety on every answer.

    A page elsewhere that the person's browser shows cannot get at the masks: it does not know the token, its
    name is not in the list of hosts (DNS rebinding), its origin is another, and no answer allows another
    origin to read it.

    Args:
        app: the application. token: what `/api` needs. hosts: names, without port, by which the server may be
            called. port: of the server. allowed: further names, of a proxy or a tunnel, as browsers write them:
            with `:PORT` where that is neither the server's nor the usual one.
    """

    def __init__(self, app, token, hosts=LOOPBACK, port=None, allowed=()):
        self.app, self.token = app, token
        # Browsers leave the usual port away.
        ends = ("",) if port is None else (f":{port}", "") if port == 80 else (f":{port}",)
        self.hosts = {f"{host.lower()}{end}" for host in hosts for end in ends}
        self.hosts |= {f"{host.lower()}{end}" for host in allowed for end in ("", *ends)}

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            # Websockets are not served; the lifespan is.
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return

        async def sent(message):
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message["headers"]}
                extra = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in names]
                if b"cache-control" not in names:
                    extra.append((b"cache-control", b"no-store"))
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        refusal = self._refusal(scope)
        if refusal:
            await _answer(sent, *refusal)
            return
        await self.app(scope, receive, sent)

    def _refusal(self, scope):
        """(status, error, mend), or None where the request may go on."""
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        host = headers.get("host", "").lower()
        if host not in self.hosts:
            return (
                403,
                f"host {host!r} is not this server's",
                f"open the link that the server printed, or start it with --allow-host {host or 'NAME'}",
            )
        if scope["method"] in ("GET", "HEAD"):
            pass
        elif scope["method"] not in ("POST", "PUT"):
            return 405, f"method {scope['method']}", "use GET, POST or PUT"
        else:
            origin = headers.get("origin")
            if origin is not None and urllib.parse.urlsplit(origin).netloc.lower() not in self.hosts:
                return 403, f"origin {origin!r} is not this page", "open the link that the server printed"
            length = headers.get("content-length", "")
            if not length.isdecimal():
                return 411, "a body without length", "send Content-Length"
            if int(length) > BODY_BYTES:
                return (
                    413,
                    f"a body of {length} bytes; the limit is {BODY_BYTES}",
                    "send a PNG of the mask alone",
                )
        if scope["path"].startswith("/api"):
            given = headers.get("x-annotate-token", "")
            if not hmac.compare_digest(given.encode(), self.token.encode()):
                return (
                    403,
                    "the token is missing or wrong",
                    "open the link that the server printed, with #token=",
                )
        return None


async def _answer(send, status, error, mend):
    body = json.dumps({"error": error, "mend": mend}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
