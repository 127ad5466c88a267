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

**Errors** are JSON `{"error": TEXT, "mend": TEXT}`: 400 what was sent makes no sense, 403 token, host or origin,
404 no such thing, 409 somebody else's newer version (or an empty mask that was to be accepted), 411/413 body
without length or too large, 415 no 8-bit grey PNG, 503 the model is not there (yet).

Reading
-------
GET /api/folder
    {name, output, server (version of the library), model: {name, version, digest, size: [H, W], where, ready,
    error}, labels: [{number, name, colour}], frames: [FRAME...], progress: PROGRESS, quality: [[count,
    dice]...], support: {lesions, normals}, formats: [text...]}
    `model.ready` is false while it loads (10 to 40 s; drawing works meanwhile) and `model.error` says what went
    wrong, or null. `colour` is "#rrggbb". `formats` are those that /api/export can write here.
    `FRAME` = {id, name, frame (number in its file, or null), patient, width, height, state, version, presence
    (0..1 or null), doubt (0..1 or null), labels: [numbers in the mask], error, changed (share of the pixels of
    old and new proposal together that the last proposal changed, 0..1, or null), undo, redo (how many steps
    are possible), person}
    `PROGRESS` = {done, total (readable frames), proposing: {done, total, seconds_left}|null}
    `quality`: leave-one-out Dice of the accepted masks over how many were the support.
GET /api/frames/ID
    FRAME.
GET /api/queue?order=doubt|name|patient|near&to=ID
    {ids: [...]}: the frames that are not done, in the order asked for; `near` needs `to`, the frame that was
    just marked (the same patient first, then neighbours in name and time).
GET /api/frames/ID/picture
    PNG (8-bit RGB) at original size, as the model sees it. Never changes: cached by the browser.
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
POST /api/labels {"name": TEXT}
    Adds a label (at most 255) -> {labels: [...]}.
POST /api/export {"formats": ["png", "coco", "labelme", "nifti", "dicom-seg", "cvat", "dataset"]}
    -> {path, files: [...], skipped: [{name, why}...]}. `path` is a new folder in the output folder.
"""
