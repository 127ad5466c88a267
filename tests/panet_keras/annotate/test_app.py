"""What the browser may ask: the person's way through, and everybody else's way out."""

import asyncio
import csv
import io
import json

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from panet_keras.annotate.app import Page
from panet_keras.annotate.events import WAITING, Events
from panet_keras.annotate.security import BODY_BYTES
from panet_keras.data import load_csv
from tests.panet_keras.annotate.conftest import png, square

SIZE = (48, 64)


@pytest.fixture
def page(opened):
    store, folder, loop, *_ = opened
    page = Page(store, folder, loop, port=8000)
    client = TestClient(page.app, base_url="http://127.0.0.1:8000", headers={"X-Annotate-Token": store.token})
    client.page = page
    return client


def frame_of(page, name):
    return next(frame for frame in page.get("/api/folder").json()["frames"] if frame["name"] == name)


def read(answer):
    assert answer.status_code == 200, answer.text
    return np.array(Image.open(io.BytesIO(answer.content)))


def draw(page, name, mask, version=None, **headers):
    frame = frame_of(page, name)
    headers = {"If-Match": version or frame["version"], "Content-Type": "image/png", **headers}
    return page.put(f"/api/frames/{frame['id']}/mask?stroke=brush", content=png(mask), headers=headers)


def post(page, name, what, body=None, version=None):
    frame = frame_of(page, name)
    headers = {"If-Match": version or frame["version"]}
    return page.post(f"/api/frames/{frame['id']}/{what}", json=body or {}, headers=headers)


def test_the_way_of_a_person(page, opened, pictures):
    loop, truth = opened[2], {name: square(SIZE, *place) for name, place in pictures[1].items()}
    assert page.post("/api/propose", json={}).status_code == 409
    drawn = draw(page, "a_1.png", truth["a_1.png"], **{"X-Person": "Ann%C3%A9"})
    assert drawn.json()["frame"]["person"] == "Anné" and drawn.json()["undo"] == 1
    assert (
        post(page, "a_1.png", "state", {"state": "accepted", "person": "Ann"}).json()["frame"]["state"]
        == "corrected"
    )
    assert page.post("/api/propose", json={"to": frame_of(page, "a_1.png")["id"]}).status_code == 200
    while loop.work():
        pass
    frame = frame_of(page, "a_2.png")
    assert frame["state"] == "proposed" and frame["labels"] == [1] and 0 <= frame["doubt"] <= 1
    place = f"/api/frames/{frame['id']}"
    mask = page.get(f"{place}/mask?v={frame['version']}")
    assert mask.headers["X-Version"] == frame["version"] and "immutable" in mask.headers["Cache-Control"]
    assert (read(mask) == read(page.get(f"{place}/proposal"))).all() and read(mask).max() == 1
    assert page.get(f"{place}/mask", headers={"If-None-Match": mask.headers["ETag"]}).status_code == 304
    with Image.open(pictures[0] / "a_2.png") as image:
        assert (read(page.get(f"{place}/picture")) == np.array(image)).all()
    small = read(page.get(f"{place}/thumbnail"))
    assert small.shape == (120, 160, 3) and (small == (0, 0xC8, 0x78)).all(-1).any()
    heat = read(page.get(f"{place}/probability"))
    assert heat.shape == SIZE and np.median(heat[truth["a_2.png"] > 0]) > 128 > np.median(heat)
    assert page.get(f"{place}/grad-cam?label=2").status_code == 400
    assert read(page.get(f"{place}/grad-cam")).shape == SIZE
    assert post(page, "a_6.png", "state", {"state": "normal"}).json()["frame"]["state"] == "normal"
    ids = page.get(f"/api/queue?order=near&to={frame['id']}").json()["ids"]
    assert frame_of(page, "a_1.png")["id"] not in ids and frame_of(page, "a_6.png")["id"] not in ids
    assert page.get("/api/queue?order=best").status_code == 400
    folder = page.get("/api/folder").json()
    assert folder["progress"]["done"] == 2 and folder["support"] == {"lesions": 1, "normals": 1}
    assert folder["model"]["ready"] and folder["labels"] == [
        {"number": 1, "name": "Lesion", "colour": "#00c878"}
    ]
    assert page.post("/api/labels", json={"name": "Cyst"}).json()["labels"][1]["number"] == 2


def test_two_windows(page):
    first = frame_of(page, "a_1.png")["version"]
    assert draw(page, "a_1.png", square(SIZE, 1, 1), first, **{"X-Person": "Ann"}).status_code == 200
    late = draw(page, "a_1.png", square(SIZE, 9, 9), first)
    assert late.status_code == 409
    assert late.json()["by"] == "Ann" and late.json()["version"] == frame_of(page, "a_1.png")["version"]
    assert "Ann has changed a_1.png" in late.json()["error"] and late.json()["mend"]
    assert post(page, "a_1.png", "undo", version=first).status_code == 409
    assert post(page, "a_1.png", "undo").json()["redo"] == 1
    assert post(page, "a_1.png", "undo").status_code == 409


def test_export_is_a_data_set(page, pictures):
    assert page.post("/api/export", json={"formats": ["png"]}).status_code == 409
    draw(page, "a_1.png", square(SIZE, *pictures[1]["a_1.png"]))
    post(page, "a_1.png", "state", {"state": "accepted", "person": "Ann"})
    post(page, "a_6.png", "state", {"state": "normal"})
    post(page, "a_5.png", "state", {"state": "rejected"})
    draw(page, "a_4.png", square(SIZE, 1, 1))
    draw(page, "broken.png", square(SIZE, 1, 1))
    told = page.post("/api/export", json={"formats": ["png", "dataset", "dicom-seg"]}).json()
    table = next(path for path in told["files"] if path.endswith(".csv"))
    assert {(record.filename.rpartition("/")[2], record.label) for record in load_csv(table)} == {
        ("a_1.png", "Unknown"),
        ("a_6.png", "Normal"),
    }
    with open(table, newline="") as file:
        assert {row["author"] for row in csv.DictReader(file)} == {"Ann", ""}
    assert {one["name"] for one in told["skipped"]} == {"broken.png", "a_1.png", "a_6.png"}
    assert page.post("/api/export", json={"formats": ["doc"]}).status_code == 409


@pytest.mark.parametrize(
    "method, path, headers, status",
    [
        ("GET", "/api/folder", {"X-Annotate-Token": "wrong"}, 403),
        ("GET", "/api/folder", {"Host": "evil.example:8000"}, 403),
        ("GET", "/api/folder", {"Host": "127.0.0.1:9"}, 403),
        ("POST", "/api/propose", {"Origin": "http://evil.example"}, 403),
        ("POST", "/api/propose", {"Origin": "null"}, 403),
        ("POST", "/api/propose", {"Content-Length": str(BODY_BYTES + 1)}, 413),
        ("OPTIONS", "/api/folder", {}, 405),
        ("GET", "/api/frames/0000000000000000/picture", {}, 404),
        ("GET", "/api/frames/..%2F..%2Fetc%2Fpasswd/picture", {}, 404),
        ("GET", "/static/..%2Fapp.py", {}, 404),
        ("GET", "/static/%2e%2e/%2e%2e/__init__.py", {}, 404),
        ("PUT", "/api/folder", {}, 405),
    ],
)
def test_strangers(page, method, path, headers, status):
    answer = page.request(method, path, headers=headers, content=b"{}" if method in ("POST", "PUT") else None)
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers
    if path.startswith("/api"):
        assert set(answer.json()) == {"error", "mend"}


@pytest.mark.parametrize(
    "origin, status",
    [
        ("https://ward.example", 409),  # a proxy with TLS, as docs/how-to/annotate.md has it
        ("http://ward.example:8000", 409),
        ("http://localhost:9000", 409),  # ssh -L 9000:localhost:8000
        ("http://localhost:9001", 403),
        ("https://ward.example.evil.example", 403),
    ],
)
def test_a_proxy_or_a_tunnel_that_was_named(page, origin, status):
    inner = page.page
    app = Page(
        inner.store, inner.folder, inner.loop, port=8000, allowed=["Ward.example", "localhost:9000"]
    ).app
    client = TestClient(app, base_url=origin, headers=dict(page.headers))
    assert client.post("/api/propose", json={}, headers={"Origin": origin}).status_code == status


def test_headers_of_safety(page):
    for path in ("/", "/api/folder", "/api/frames/x", "/static/none"):
        headers = page.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy and "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "change, status",
    [
        ({"Content-Type": "application/json"}, 415),
        ({"If-Match": ""}, 400),
        ({"If-Match": "7.0"}, 409),
    ],
)
def test_strokes_that_are_refused(page, change, status):
    answer = draw(page, "a_1.png", square(SIZE, 1, 1), **change)
    assert answer.status_code == status and answer.json()["mend"]
    assert frame_of(page, "a_1.png")["state"] == "unseen"


def test_a_broken_picture_says_so_and_others_go_on(page):
    broken = page.get(f"/api/frames/{frame_of(page, 'broken.png')['id']}/picture")
    assert broken.status_code == 404 and "cut off" in broken.json()["error"]
    assert frame_of(page, "broken.png")["state"] == "unreadable"
    assert draw(page, "broken.png", square(SIZE, 1, 1)).status_code == 404
    assert draw(page, "a_1.png", square(SIZE, 1, 1)).status_code == 200


def test_a_picture_that_was_away_is_there_again(page, pictures):
    """A disk that was unplugged, while the page was open."""
    file = pictures[0] / "a_3.png"
    place = f"/api/frames/{frame_of(page, 'a_3.png')['id']}"
    away = file.rename(pictures[0].parent / "away.png")
    assert page.get(f"{place}/picture").status_code == 404
    assert page.get(place).json()["state"] == "unreadable"
    away.rename(file)
    assert page.get(place).json()["state"] == "unseen" and page.get(f"{place}/picture").status_code == 200


def test_readers_of_events():
    async def run():
        events, lines = Events(), []
        reader = events.lines()
        lines.append(json.loads(await anext(reader)))
        events.tell({"kind": "mask", "by": "Ann"})
        lines.append(json.loads(await anext(reader)))
        for number in range(WAITING + 1):
            events.tell({"kind": "progress", "number": number})
        await asyncio.sleep(0)
        lines.append(json.loads(await anext(reader)))
        await reader.aclose()
        return lines, events._readers

    lines, readers = asyncio.run(run())
    assert [line["kind"] for line in lines] == ["hello", "mask", "reload"] and not readers
