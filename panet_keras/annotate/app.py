"""The annotation page's server: what the browser may ask, and what it gets.

The page itself is `static/` (served at `/`, which is `static/index.html`, and at `/static/NAME`), without
secrets; everything under `/api` needs the token.

**Token.** The link is `http://127.0.0.1:PORT/#token=TOKEN`. Each request under `/api` carries the header
`X-Annotate-Token: TOKEN`; without it the answer is 403. The token stays the same for one output folder, so a
tab that is open goes on after the server was restarted. Pictures are fetched with `fetch()` and shown as blobs.

**Person.** Requests that change something may carry `X-Person: NAME` (percent-encoded UTF-8, at most 200
characters): the name that the person typed. Without it the provenance says null.

**Frame identifiers** (`ID`) are 16 hexadecimal digits, the same after a restart. A file of several frames
(DICOM, TIFF, GIF) is several frames here.

**Versions** are opaque texts (`"3.17"`); compare them for equality only. Every change of a frame's mask or
state by anybody gives a new one, a new proposal too. A write names the version that the person saw in
`If-Match: VERSION`; if a *person* changed the frame since, the answer is 409 and nothing is written. A new
*proposal* is no conflict: strokes go on, and accepting accepts exactly the proposal of the version that was
named (409 only where the server no longer has it).

**States**: `unseen` (nobody looked, nothing proposed), `proposed`, `draft` (strokes begun, not accepted),
`accepted` (as proposed), `corrected` (drawn or changed by a person), `normal` (a person confirmed that there is
no lesion: mask empty), `rejected` (a person refused it: not exported as annotated, no support), `unreadable`
(`error` says why). Done are accepted, corrected, normal and rejected. While a frame is `draft` or done it gets
no new proposals.

**Errors** are JSON `{"error": TEXT, "mend": TEXT}`: 400 what was sent makes no sense, 403 token, host or
origin, 404 no such thing, 409 somebody else's newer version (or an empty mask that was to be accepted),
411/413 body without length or too large, 415 no 8-bit grey PNG, 500 a fault of this program, 503 the model is
not there (yet), 507 it could not be written. The page keeps what got a 500 or 507, says so, tries again, and
goes on with other pictures.

Reading
-------
GET /api/folder
    {name, output, model: {name, version, digest, size: [H, W], where, ready,
    error}, labels: [{number, name, colour}], frames: [FRAME...], progress: PROGRESS, quality: [[count,
    dice]...], support: {lesions, normals}, learning: {done, total}|null, formats: [text...]}
    `model.ready` is false while it loads (10 to 40 s; drawing works meanwhile) and `model.error` says what went
    wrong, or null. `colour` is "#rrggbb". `formats` are those that /api/export can write here.
    `FRAME` = {id, name, frame (number in its file, or null), patient, width, height, state, version, presence
    (0..1 or null), doubt (0..1 or null), labels: [numbers in the mask], error, changed (share of the pixels of
    old and new proposal together that the last proposal changed, 0..1, or null), undo, redo (how many steps
    are possible), person}
    `PROGRESS` = {done, total (readable frames), proposing: {done, total, seconds_left}|null}
    `quality`: leave-one-out Dice of the accepted masks over how many were the support.
GET /api/frames/ID
    FRAME. One that could not be read is tried again.
GET /api/queue?order=doubt|name|patient|near&to=ID
    {ids: [...]}: the frames that are not done, in the order asked for; `near` needs `to`, the frame that was
    just marked (the same patient first, then neighbours in name and time).
GET /api/frames/ID/picture
    PNG (8-bit grey or RGB) at original size, as the model sees it.
GET /api/frames/ID/thumbnail?v=VERSION
    PNG whose longer side is 160, the outline of the mask drawn in.
GET /api/frames/ID/mask?v=VERSION
    8-bit grey PNG at original size, pixel = label number, 0 background. Of a `proposed` frame: the proposal.
    Header `X-Version`: the version that it is (the newest if the one asked for is gone or `v` is left out).
GET /api/frames/ID/proposal
    8-bit grey PNG like the mask: the last proposal, for before and after. 404 without one.
GET /api/frames/ID/probability?label=N
    8-bit grey PNG at original size, 255 = certain; of label N, else the highest of all. Computed on demand; 503
    without model, 409 without support.
GET /api/frames/ID/grad-cam?label=N
    8-bit grey PNG at original size: where the prototype of label N (1 without) looks. Seconds; 501 with a
    served model.
    All pictures have an ETag, and answer 304 to `If-None-Match`; with `v=` they may be cached for good, so
    neighbours can be fetched ahead.
GET /api/events
    `application/x-ndjson`: one JSON object a line, as long as the connection lasts; read by fetch streaming.
    {kind: "hello"}                                      first line; fetch /api/folder after it
    {kind: "alive"}                                      every 10 s
    {kind: "proposed", frame: FRAME}                     a new proposal; `frame.changed` says how much is new
    {kind: "mask", frame: FRAME, by}                     a stroke, undo or redo by anybody (also of this tab)
    {kind: "state", frame: FRAME, by}                    accepted, corrected, normal, ..., unreadable
    {kind: "progress", progress: PROGRESS, support}      also when a round of proposals begins and ends
    {kind: "changed", frames: N, mean: SHARE}            end of a round: how many proposals changed, how much
    {kind: "quality", quality: [[count, dice]...]}
    {kind: "model", model: MODEL}                        loaded, or failed
    {kind: "learning", learning: {done, total}|null}     steps of the learning; null when it has ended
    {kind: "learned", masks, before, after}              Dice on masks left out; after is null where the model stays
    {kind: "labels", labels: [...]}                      a label was added
    {kind: "error", error, mend}                         of the background: say it, go on
    {kind: "reload"}                                     this reader was too slow: fetch /api/folder anew

Writing (with `If-Match: VERSION` where a frame is named)
---------------------------------------------------------
PUT /api/frames/ID/mask?stroke=TEXT
    Body: 8-bit grey PNG at original size, pixel = label number (`Content-Type: image/png`). One call is one
    stroke, one step of undo. `TEXT` names it (brush, eraser, polygon, fill, grow ...; at most 40 characters).
    -> {version, undo, redo, frame: FRAME}. 409 {error, mend, version, by, frame}.
POST /api/frames/ID/undo, POST /api/frames/ID/redo
    -> {version, undo, redo, frame}. A step is a stroke or a change of state; 409 where there is none.
POST /api/frames/ID/state
    {"state": "accepted"|"corrected"|"normal"|"rejected"|"unseen", "person": NAME|null}
    -> {version, undo, redo, frame}. Accepted and corrected are the same key: the server sets `accepted` where
    the mask is the proposal's, else `corrected`. "normal" and "rejected" empty the mask (undo brings it back);
    "unseen" takes the decision back, and the frame is proposed again. 409 for accepting an empty mask: say
    "normal".
POST /api/propose {}
    Proposals for all frames that are not done, nearest first; {"to": ID} names the frame they are near to.
    -> {proposing: {...}}. 409 without any accepted lesion, 503 without model. After a change of state the
    server does it by itself, half a second after the last.
POST /api/learn {}
    Tunes the model to the accepted masks in the background (minutes), and has all proposals made again where that
    gains on masks that are left out -> {learning: {done, total}}. 409 with fewer than 8 lesions or while it
    learns, 501 with a served model, 503 without model.
POST /api/labels {"name": TEXT}
    Adds a label (at most 255) -> {labels: [...]}.
POST /api/export {"formats": ["png", "coco", "labelme", "nifti", "dicom-seg", "cvat", "dataset"]}
    -> {path, files: [...], skipped: [{name, why}...]}. `path` is a new folder in the output folder.
"""

import contextlib
import hashlib
import json
import pathlib
import urllib.parse

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from panet_keras.annotate import masks, queue
from panet_keras.annotate.events import Events
from panet_keras.annotate.export import FORMATS, export
from panet_keras.annotate.history import DECISIONS
from panet_keras.annotate.learn import Learner
from panet_keras.annotate.security import LOOPBACK, Guard
from panet_keras.annotate.store import COLOURS, Conflict
from panet_keras.annotate.thumbnail import thumbnail
from panet_keras.errors import ImageError, PANetError
from panet_keras.pictures.decode import encode_png

STATIC = pathlib.Path(__file__).parent / "static"
JSON_BYTES = 1 << 16
LONGEST_NAME = 200


class Refusal(Exception):
    """An answer that is an error; the arguments are status, error, mend and further fields."""

    def __init__(self, status, error, mend, **fields):
        super().__init__(error)
        self.status, self.body = status, {"error": error, "mend": mend, **fields}


class Page:
    """The application: a store, a folder and a loop, as the browser sees them.

    Args:
        store: `Store` that has taken the frames. folder: `Folder`. loop: `Loop`; its `tell` becomes this
            page's.
        hosts: names by which the server may be called. port: of the server; None: any.
        allowed: further names, see `Guard`.

    Attributes:
        app: ASGI application.
    """

    def __init__(self, store, folder, loop, hosts=LOOPBACK, port=None, allowed=()):
        self.store, self.folder, self.loop, self.events = store, folder, loop, Events()
        loop.tell, self.learner = self._tell, Learner(loop)
        frame = "/api/frames/{id}"
        routes = [
            Route("/", self._index),
            Route("/api/folder", self._folder),
            Route("/api/events", self._events),
            Route("/api/queue", self._queue),
            Route(frame, self._frame),
            Route(f"{frame}/picture", self._picture),
            Route(f"{frame}/thumbnail", self._thumbnail),
            Route(f"{frame}/mask", self._mask),
            Route(f"{frame}/mask", self._stroke, methods=["PUT"]),
            Route(f"{frame}/proposal", self._proposal),
            Route(f"{frame}/probability", self._probability),
            Route(f"{frame}/grad-cam", self._grad_cam),
            Route(f"{frame}/undo", self._undo, methods=["POST"]),
            Route(f"{frame}/redo", self._redo, methods=["POST"]),
            Route(f"{frame}/state", self._state, methods=["POST"]),
            Route("/api/propose", self._propose, methods=["POST"]),
            Route("/api/learn", self._learn, methods=["POST"]),
            Route("/api/labels", self._labels, methods=["POST"]),
            Route("/api/export", self._export, methods=["POST"]),
            Mount("/static", StaticFiles(directory=STATIC, check_dir=False)),
        ]
        handlers = {
            Refusal: lambda request, error: JSONResponse(error.body, error.status),
            404: lambda request, error: JSONResponse(
                {"error": "no such thing", "mend": "reload the page"}, 404
            ),
            405: lambda request, error: JSONResponse(
                {"error": "wrong method", "mend": "reload the page"}, 405
            ),
        }
        handlers[500] = lambda request, error: JSONResponse(
            {
                "error": f"{type(error).__name__}: {error}",
                "mend": "look at the program's terminal, and report it",
            },
            500,
        )
        inner = Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan)
        self.app = Guard(inner, store.token, hosts, port, allowed)

    @contextlib.asynccontextmanager
    async def _lifespan(self, app):
        yield
        self.events.close()

    # What is told

    def _tell(self, event):
        """Gives an event of the loop to the pages, with what they are to show."""
        kind = event["kind"]
        if "frame" in event:
            event = {**event, "frame": self._described(event["frame"])}
        if kind == "progress":
            event = {**event, "progress": self.loop.progress(), "support": self.loop.support_size()}
        if kind == "quality":
            event = {**event, "quality": self.loop.quality}
        if kind == "model":
            event = {**event, "model": self._model()}
        self.events.tell(event)

    def _described(self, frame):
        store = self.store
        with store.lock:
            proposal, history = store.proposal(frame), store.history(frame)
            now = history.now
            return {
                "id": frame.id,
                "name": frame.name,
                "frame": frame.number,
                "patient": frame.patient,
                "width": frame.width,
                "height": frame.height,
                "state": store.state(frame),
                "version": store.version(frame),
                "presence": proposal.presence if proposal else None,
                "doubt": proposal.doubt if proposal else None,
                "labels": store.labels_in(frame),
                "error": frame.error,
                "changed": proposal.changed if proposal else None,
                "undo": history.undo,
                "redo": history.redo,
                "person": now.by if now else None,
            }

    def _model(self):
        model, error = self.loop.model, self.loop.model_error
        known = model is not None
        return {
            "name": model.name if known else None,
            "version": model.version if known else None,
            "digest": model.digest if known else None,
            "size": list(model.size) if known else None,
            "where": model.where if known else None,
            "ready": known,
            "error": error,
        }

    def _label_list(self):
        return [
            {"number": number, "name": name, "colour": COLOURS[(number - 1) % len(COLOURS)]}
            for number, name in enumerate(self.store.labels, 1)
        ]

    # Reading

    def _index(self, request):
        if not (STATIC / "index.html").is_file():
            raise Refusal(404, "the page's files are not installed", "install the package again")
        return FileResponse(STATIC / "index.html")

    def _folder(self, request):
        return JSONResponse(
            {
                "name": self.folder.path.resolve().name,
                "output": str(self.store.output),
                "model": self._model(),
                "labels": self._label_list(),
                "frames": [self._described(frame) for frame in self.store.frames.values()],
                "progress": self.loop.progress(),
                "quality": self.loop.quality,
                "support": self.loop.support_size(),
                "learning": self.learner.now,
                "formats": list(FORMATS),
            }
        )

    async def _events(self, request):
        return StreamingResponse(self.events.lines(), media_type="application/x-ndjson")

    def _queue(self, request):
        by, to = request.query_params.get("order", "doubt"), request.query_params.get("to")
        to = self._known(to) if to else None
        frames = [
            frame
            for frame in self.store.frames.values()
            if frame.error is None and not self.store.done(frame)
        ]
        proposals = {frame.id: self.store.proposal(frame) for frame in frames}
        doubts = {identifier: proposal.doubt for identifier, proposal in proposals.items() if proposal}
        try:
            found = queue.order(frames, by, doubts, to)
        except ValueError as error:
            raise Refusal(400, str(error), "name one of these orders") from None
        return JSONResponse({"ids": [frame.id for frame in found]})

    def _frame(self, request):
        frame = self._of(request)
        if frame.error is not None:
            with contextlib.suppress(ImageError):
                self.folder.picture(frame)
                self.store.found(frame)
            if frame.error is None:
                self._tell({"kind": "state", "frame": frame, "by": None})
        return JSONResponse(self._described(frame))

    def _picture(self, request):
        frame = self._of(request)

        def make():
            picture = self._pixels(frame)
            grey = (picture[..., :1] == picture).all()
            # Ultrasound is grey: a third of the bytes.
            return encode_png(np.ascontiguousarray(picture[..., 0]) if grey else picture)

        return self._png(request, f"picture {frame.stamp}", make)

    def _thumbnail(self, request):
        frame = self._of(request)
        content, version = self.store.mask_png(frame, request.query_params.get("v"))
        colours = [label["colour"] for label in self._label_list()]

        def make():
            return encode_png(thumbnail(self._pixels(frame), masks.decode(content), colours))

        return self._png(request, version, make)

    def _mask(self, request):
        frame = self._of(request)
        self._pixels(frame)
        content, version = self.store.mask_png(frame, request.query_params.get("v"))
        return self._png(request, version, lambda: content, headers={"X-Version": version})

    def _proposal(self, request):
        content = self.store.proposal_png(self._of(request))
        if content is None:
            raise Refusal(404, "nothing was proposed for this picture", "ask for proposals first")
        return self._png(request, None, lambda: content)

    def _probability(self, request):
        frame = self._of(request)
        self._need_model()
        label = self._label(request)
        found = self._computed(lambda: self.loop.probability(frame, label))
        if found is None:
            raise Refusal(409, "there is no accepted lesion of this label", "mark one lesion and accept it")
        return self._png(request, None, lambda: encode_png(np.rint(found * 255).astype(np.uint8)))

    def _grad_cam(self, request):
        frame = self._of(request)
        self._need_model()
        label = self._label(request) or 1
        if self.loop.model.where != "here":
            raise Refusal(501, "a served model has no Grad-CAM", "start the page with --model")
        found = self._computed(lambda: self.loop.grad_cam(frame, label))
        if found is None:
            raise Refusal(409, "there is no accepted lesion of this label", "mark one lesion and accept it")
        return self._png(request, None, lambda: encode_png(np.rint(found * 255).astype(np.uint8)))

    def _computed(self, function):
        try:
            return function()
        except (PANetError, ImportError) as error:
            raise Refusal(503, str(error), "look at the server's terminal") from None

    def _png(self, request, name, make, headers=()):
        """A picture with an ETag, or 304 where the browser has it.

        Args:
            request: of Starlette. name: text that changes with the picture, or None: of its bytes.
            make: function that gives PNG bytes.
        """
        content = make() if name is None else None
        text = hashlib.sha256(content).hexdigest() if name is None else f"{request.url.path} {name}"
        tag = f'"{hashlib.sha256(text.encode()).hexdigest()[:16]}"'
        # Kept by this browser alone; a picture that may change is asked for again, and a 304 is short.
        asked = request.query_params.get("v")
        kept = "max-age=86400, immutable" if asked is not None and asked == name else "no-cache"
        headers = {"ETag": tag, "Cache-Control": f"private, {kept}", **dict(headers)}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(make() if content is None else content, media_type="image/png", headers=headers)

    # Writing

    async def _stroke(self, request):
        frame, version = self._of(request), self._version(request)
        what = request.query_params.get("stroke", "stroke")[:40]
        if request.headers.get("content-type", "").partition(";")[0] != "image/png":
            raise Refusal(415, "the mask is no image/png", "send a PNG of 8 bits of grey")
        content, by = await request.body(), self._person(request)

        def change():
            self._pixels(frame)
            self.store.stroke(frame, content, version, what, by)

        done = self.store.done(frame)
        answer = await self._change(frame, change, "mask", by)
        if done:
            self._tell({"kind": "progress"})
        return answer

    async def _undo(self, request):
        return await self._move(request, self.store.undo)

    async def _redo(self, request):
        return await self._move(request, self.store.redo)

    async def _move(self, request, move):
        frame, version, by = self._of(request), self._version(request), self._person(request)
        before = self.store.state(frame)
        answer = await self._change(frame, lambda: move(frame, version, by), "mask", by)
        if before != self.store.state(frame):
            self._decided(frame)
        return answer

    async def _state(self, request):
        frame, version = self._of(request), self._version(request)
        body = await self._json(request)
        state, by = body.get("state"), body.get("person") or self._person(request)
        if state not in DECISIONS or not isinstance(by, str | None):
            raise Refusal(400, f"state {state!r}", f"send one of {', '.join(DECISIONS)}, and person as text")
        by = by[:LONGEST_NAME] if by else None

        def change():
            self._pixels(frame)
            self.store.decide(frame, state, version, by)

        answer = await self._change(frame, change, "state", by)
        self._decided(frame)
        return answer

    def _decided(self, frame):
        self.loop.changed(frame)
        self._tell({"kind": "progress"})

    async def _change(self, frame, change, kind, by):
        """Does a change, tells it, and answers with what the frame is now."""
        try:
            await run_in_threadpool(change)
        except Conflict as error:
            described = self._described(frame)
            fields = {"version": described["version"], "by": self.store.history(frame).by, "frame": described}
            raise Refusal(409, str(error), error.mend, **fields) from None
        except masks.MaskError as error:
            raise Refusal(error.status, str(error), error.mend) from None
        except OSError as error:
            raise Refusal(
                507, f"it could not be saved: {error}", "free some space, then draw the stroke again"
            ) from None
        described = self._described(frame)
        self.events.tell({"kind": kind, "frame": described, "by": by})
        return JSONResponse(
            {**{key: described[key] for key in ("version", "undo", "redo")}, "frame": described}
        )

    async def _propose(self, request):
        body = await self._json(request)
        near = self._known(body["to"]) if body.get("to") else None
        self._need_model()
        if not self.loop.support_size()["lesions"]:
            raise Refusal(409, "there is no accepted lesion yet", "mark one lesion and accept it")
        self.loop.propose(near)
        return JSONResponse({"proposing": self.loop.progress()["proposing"]})

    async def _learn(self, request):
        await self._json(request)
        problem = self.learner.problem()
        if problem:
            raise Refusal(*problem)
        self.learner.begin()
        return JSONResponse({"learning": self.learner.now})

    async def _labels(self, request):
        body = await self._json(request)
        if not isinstance(body.get("name"), str):
            raise Refusal(400, "a label without name", 'send {"name": TEXT}')
        try:
            await run_in_threadpool(self.store.add_label, body["name"])
        except Conflict as error:
            raise Refusal(400, str(error), error.mend) from None
        self.events.tell({"kind": "labels", "labels": self._label_list()})
        return JSONResponse({"labels": self._label_list()})

    async def _export(self, request):
        body = await self._json(request)
        formats = body.get("formats")
        if not isinstance(formats, list) or not all(isinstance(name, str) for name in formats):
            raise Refusal(400, "formats are no list of texts", f"send some of {', '.join(FORMATS)}")
        try:
            path, files, skipped = await run_in_threadpool(export, self.store, formats)
        except Conflict as error:
            raise Refusal(409, str(error), error.mend) from None
        return JSONResponse({"path": str(path), "files": files, "skipped": skipped})

    # What a request says

    def _known(self, identifier):
        frame = self.store.frames.get(identifier) if isinstance(identifier, str) else None
        if frame is None:
            raise Refusal(404, "no such picture in this folder", "reload the page")
        return frame

    def _of(self, request):
        return self._known(request.path_params["id"])

    def _pixels(self, frame):
        """The decoded picture; 404 with the reason where it cannot be read."""
        known = frame.error
        try:
            return self.folder.picture(frame)
        except ImageError as error:
            if known is None:
                self.store.lost(frame)
                self._tell({"kind": "state", "frame": frame, "by": None})
            raise Refusal(404, str(error), "export the picture again; the others go on") from None

    def _version(self, request):
        version = request.headers.get("if-match", "").strip().strip('"')
        if not version:
            raise Refusal(400, "no If-Match", "send the version that was seen")
        return version

    def _person(self, request):
        return urllib.parse.unquote(request.headers.get("x-person", "")).strip()[:LONGEST_NAME] or None

    def _label(self, request):
        label = request.query_params.get("label")
        if label is None:
            return None
        if not label.isdecimal() or not 1 <= int(label) <= len(self.store.labels):
            raise Refusal(400, f"label {label[:20]!r}", f"send a number from 1 to {len(self.store.labels)}")
        return int(label)

    async def _json(self, request):
        content = await request.body()
        if len(content) > JSON_BYTES:
            raise Refusal(413, f"{len(content)} bytes of JSON", f"send at most {JSON_BYTES}")
        try:
            body = json.loads(content or b"{}")
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise Refusal(400, "the body is no JSON object", 'send one, such as {"state": "accepted"}')
        return body

    def _need_model(self):
        if self.loop.model is None:
            why = self.loop.model_error or "the model is being loaded"
            raise Refusal(
                503, why, "draw meanwhile" if self.loop.model_error is None else "start the page again"
            )
