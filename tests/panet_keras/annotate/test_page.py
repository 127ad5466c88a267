"""The page in a real browser, against the real server with a segmenter of a few lines in place of a model."""

import contextlib
import io
import json
import pathlib
import shutil
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from tests.conftest import PROJECT
from tests.panet_keras.annotate.conftest import png, square

STATIC = PROJECT / "panet_keras" / "annotate" / "static"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
api = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed (pip install playwright)"
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH (apt-get install chromium)")
WAIT = 30_000

SHOWN = """() => {
  const canvas = document.getElementById("mask-canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return [canvas.height, canvas.width, Array.from(data.filter((_, i) => i % 4 === 3), (value) => Number(value > 0))];
}"""
"""Which pixels of the mask are on the screen."""

POOR_CONTRAST = """() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility({ visibilityProperty: true })) continue;
    let behind = element;
    while (behind && (parse(getComputedStyle(behind).backgroundColor)[3] ?? 1) < 0.8) behind = behind.parentElement;
    const inSvg = element instanceof SVGElement;
    const ink = light(parse(getComputedStyle(element)[inSvg ? "fill" : "color"]));
    const paper = light(parse(getComputedStyle(behind || document.body).backgroundColor));
    const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (ratio < 4.5) poor.push([walker.currentNode.data, ratio]);
  }
  return poor;
}"""
"""Texts in sight whose contrast is below WCAG's AA."""

NAMELESS = """() => [...document.querySelectorAll("button, input, select")]
  .filter((each) => each.checkVisibility())
  .filter((each) => !(each.textContent.trim() || each.ariaLabel || each.labels?.length))
  .map((each) => each.outerHTML)"""


class Server:
    """A process that may be killed and started again, on one port."""

    def __init__(self, pictures, output):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.output, self._process = output, None
        self._command = [
            sys.executable,
            "-m",
            "tests.panet_keras.annotate.serve_fake",
            str(pictures),
            str(output),
        ]

    def start(self):
        self._process = subprocess.Popen(
            [*self._command, str(self.port)], cwd=PROJECT, stdout=subprocess.PIPE, text=True
        )
        lines = iter(self._process.stdout.readline, "")
        self.link = next(line.split()[1] for line in lines if line.startswith("Open "))

    def kill(self):
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture(scope="module")
def browser():
    with api.sync_playwright() as playwright:
        # Containers have no user namespaces for the sandbox.
        with contextlib.closing(
            playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        ) as started:
            yield started


@pytest.fixture
def server(pictures, tmp_path):
    started = Server(pictures[0], tmp_path / "out")
    started.start()
    yield started
    started.kill()


@pytest.fixture
def window(browser, server):
    """Function that opens the page in a browser of its own; what its console complained of must be expected."""
    contexts, complaints = [], []

    def opened(*expected):
        # The server is killed; a picture is broken.
        failed = "Failed to load resource: "
        of_status = tuple(
            f"{failed}the server responded with a status of {code}" for code in (404, *expected)
        )
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT)
        page.on(
            "console",
            lambda message: (
                complaints.append(f"{message.text} {message.location}")
                if message.type == "error" and not message.text.startswith((f"{failed}net::ERR_", *of_status))
                else None
            ),
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(server.link)
        page.locator(".cell img[src]").first.wait_for()
        page.locator(".frame-name").first.wait_for()  # a key before is for no picture
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def shown(page):
    """bool [H, W]: the mask as it is on the screen, after the display's next frame."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    height, width, data = page.evaluate(SHOWN)
    return np.array(data, bool).reshape(height, width)


def place(page, x, y):
    """Where pixel (x, y) of the picture is on the screen."""
    box = page.locator("#mask-canvas").bounding_box()
    scale = box["width"] / page.evaluate("document.getElementById('mask-canvas').width")
    return box["x"] + (x + 0.5) * scale, box["y"] + (y + 0.5) * scale


def drag(page, *points, button="left"):
    page.mouse.move(*place(page, *points[0]))
    page.mouse.down(button=button)
    for point in points[1:]:
        page.mouse.move(*place(page, *point), steps=6)
    page.mouse.up(button=button)


def around(y, x, side=16):
    """Corners of a square of the pictures, for `drag`."""
    return [(x, y), (x + side, y), (x + side, y + side), (x, y + side), (x, y)]


def state(page, name, text):
    """Waits until a picture's cell says so."""
    page.locator(f'#grid [aria-label="{name}, {text}"]').wait_for()


def at(page, name):
    page.locator(".frame-name", has_text=name).wait_for()


def saved(page):
    # "Saved" also stands there before the stroke that was just drawn was sent.
    page.wait_for_timeout(250)
    page.get_by_text("✓ Saved").wait_for()


def becomes(page, y, x, value):
    """Waits until a pixel of the mask is shown, or is not."""
    for _ in range(WAIT // 100):
        if shown(page)[y, x] == value:
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"pixel ({x}, {y}) of the mask is still {not value}")


def release(page, held):
    """Lets a request go on that a route holds back, as soon as it has come."""
    for _ in range(WAIT // 100):
        if held:
            return held.pop().continue_()
        page.wait_for_timeout(100)
    raise AssertionError("the page has asked nothing")


def mask_of(page, name):
    """uint8 [H, W]: a picture's mask as the server has it."""
    read = """async (name) => {
      const headers = { "X-Annotate-Token": new URLSearchParams(location.hash.slice(1)).get("token") };
      const { frames } = await (await fetch("/api/folder", { headers })).json();
      const { id } = frames.find((frame) => frame.name === name);
      return [...new Uint8Array(await (await fetch(`/api/frames/${id}/mask`, { headers })).arrayBuffer())];
    }"""
    return np.array(Image.open(io.BytesIO(bytes(page.evaluate(read, name)))))


def overlap(one, other):
    """Dice."""
    return 2 * np.sum(one & other) / (np.sum(one) + np.sum(other))


def test_an_hour_of_a_person(window, server, pictures):
    page, truth = window(), {name: square((48, 64), *spot) > 0 for name, spot in pictures[1].items()}

    page.keyboard.press("o")
    drag(page, *around(*pictures[1]["a_1.png"]))
    state(page, "a_1.png", "Unfinished")
    assert overlap(shown(page), truth["a_1.png"]) > 0.85

    page.keyboard.press("p")
    state(page, "a_1.png", "Drawn")
    at(page, "a_2.png")
    for number in range(2, 7):
        state(page, f"a_{number}.png", "Proposed")
    becomes(page, 12, 16, True)
    proposed = shown(page)
    assert overlap(proposed, truth["a_2.png"]) > 0.5

    # A stroke of the eraser, taken back, and one of the brush that stays.
    page.keyboard.press("e")
    drag(page, (12, 14), (24, 14))
    state(page, "a_2.png", "Unfinished")
    assert shown(page).sum() < proposed.sum()
    page.keyboard.press("Control+z")
    state(page, "a_2.png", "Proposed")
    np.testing.assert_array_equal(shown(page), proposed)
    page.keyboard.press("b")
    drag(page, (50, 40), (58, 40))
    state(page, "a_2.png", "Unfinished")
    saved(page)

    # A stroke while the server is dead is kept, sent when it is back, and there after a reload.
    server.kill()
    page.get_by_text("No connection").wait_for()
    drag(page, (5, 40), (5, 44))
    page.get_by_text("1 change is kept").wait_for()
    # So is one that was undone before it was sent, and brought back.
    drag(page, (25, 40), (25, 44))
    page.keyboard.press("z")
    becomes(page, 42, 25, False)
    page.keyboard.press("Control+y")
    page.get_by_text("2 changes are kept").wait_for()
    drawn = shown(page)
    assert drawn[42, 25]
    assert drawn[42, 5] and drawn[40, 54]
    server.start()
    page.get_by_text("✓ Saved").wait_for()
    page.reload()
    at(page, "a_2.png")
    state(page, "a_2.png", "Unfinished")
    np.testing.assert_array_equal(shown(page), drawn)

    # The mouse moves, zooms and sets the window without drawing.
    page.mouse.move(*place(page, 30, 20))
    page.mouse.wheel(0, -240)
    page.keyboard.down(" ")
    drag(page, (30, 20), (20, 20))
    page.keyboard.up(" ")
    drag(page, (30, 20), (34, 20), button="right")
    page.get_by_text("W resets").wait_for()
    np.testing.assert_array_equal(shown(page), drawn)

    page.keyboard.press("Enter")
    state(page, "a_2.png", "Corrected")
    at(page, "a_3.png")
    page.keyboard.press("Enter")
    state(page, "a_3.png", "Accepted")
    at(page, "a_4.png")
    page.keyboard.press("r")
    state(page, "a_4.png", "Rejected")
    at(page, "a_5.png")
    page.keyboard.press("n")
    state(page, "a_5.png", "No lesion")
    at(page, "a_6.png")
    page.get_by_text("5 of 6 done").wait_for()
    page.locator("#curve .curve").wait_for()

    page.keyboard.press("Shift+E")
    page.get_by_text("3 with a lesion, 1 confirmed without.").wait_for()
    page.get_by_label("COCO").check()
    page.get_by_role("button", name="Export", exact=True).click()
    folder = page.locator("#export code").inner_text()
    exported = [path.name for path in pathlib.Path(folder, "png").iterdir()]
    assert sorted(exported) == [f"a_{number}_mask.png" for number in (1, 2, 3, 5)]
    mask = np.array(Image.open(server.output / "masks" / "a_2_mask.png"))
    np.testing.assert_array_equal(mask > 0, drawn)
    told = json.loads((server.output / "masks" / "a_5_mask.json").read_text("utf-8"))
    assert told["state"] == "normal"


def test_the_keyboard_alone_and_every_text_can_be_read(window, server):
    page = window()
    looks = {"page": (page.evaluate(POOR_CONTRAST), page.evaluate(NAMELESS))}
    page.keyboard.press("b")
    for _ in range(20):
        page.keyboard.press("[")
    page.get_by_text("1 px").wait_for()
    page.keyboard.press("x")
    assert shown(page).sum() == 1
    for _ in range(2):
        page.keyboard.press("Alt+ArrowRight")
        page.keyboard.press("x")
    assert shown(page).sum() == 3
    page.keyboard.press("Shift+X")
    page.keyboard.press("g")
    # Two pixels in a row, grown by a cross.
    assert shown(page).sum() == 8
    page.keyboard.press("l")
    for key in ("Alt+Shift+ArrowUp", "Alt+Shift+ArrowLeft", "Alt+ArrowDown"):
        page.keyboard.press(key)
        page.keyboard.press("x")
    page.keyboard.press("Enter")
    assert shown(page).sum() > 8
    page.keyboard.press("Delete")
    assert shown(page).sum() == 0
    page.keyboard.press("Enter")
    page.get_by_text("There is nothing drawn.").wait_for()
    page.keyboard.press("z")
    becomes(page, 24, 33, True)
    page.keyboard.press("Enter")
    state(page, "a_1.png", "Drawn")
    page.keyboard.press("n")
    state(page, "a_2.png", "No lesion")
    page.keyboard.press("ArrowLeft")
    at(page, "a_2.png")
    page.keyboard.press("z")
    state(page, "a_2.png", "Not seen yet")
    page.keyboard.press("p")
    state(page, "a_2.png", "Proposed")
    page.keyboard.press("h")
    page.get_by_text("How likely a lesion").wait_for()
    page.keyboard.press("h")
    page.keyboard.down("v")
    page.get_by_text("Before").first.wait_for()
    page.keyboard.up("v")

    page.keyboard.press("t")
    page.locator("#overview .cell").first.wait_for()
    looks["overview"] = page.evaluate(POOR_CONTRAST), page.evaluate(NAMELESS)
    # Nothing is decided on a picture that is not in sight: the key shows it.
    page.keyboard.press("n")
    page.locator("#overview").wait_for(state="hidden")
    state(page, "a_2.png", "Proposed")
    page.keyboard.press("?")
    page.get_by_text("How it goes").wait_for()
    looks["help"] = page.evaluate(POOR_CONTRAST), page.evaluate(NAMELESS)
    page.keyboard.press("Escape")
    page.keyboard.press("Shift+E")
    page.locator("#export").wait_for()
    looks["export"] = page.evaluate(POOR_CONTRAST), page.evaluate(NAMELESS)
    page.keyboard.press("Escape")
    page.locator("#export").wait_for(state="hidden")
    # A key is the page's at once when a dialog has closed, while the field in it has the focus still.
    page.keyboard.press("Shift+E")
    assert page.evaluate("""() => {
      document.getElementById("export").close();
      const field = document.activeElement;
      field.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
      return field.tagName;
    }""") == "INPUT"  # fmt: skip
    at(page, "a_3.png")
    for name in ("a_4.png", "a_5.png", "a_6.png", "broken.png"):
        page.keyboard.press("ArrowRight")
        at(page, name)
    page.locator("#empty").wait_for()
    looks["broken"] = page.evaluate(POOR_CONTRAST), page.evaluate(NAMELESS)
    assert looks == {name: ([], []) for name in looks}
    # Everything fits on a small laptop.
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for button in ("Accept", "No lesion", "Reject", "Propose", "Export", "Help"):
        box = page.get_by_role("button", name=button).first.bounding_box()
        assert box["x"] + box["width"] <= 1280 and box["y"] + box["height"] <= 800


def test_what_the_server_cannot_save_is_told_and_the_rest_goes_on(window):
    page = window(403, 507)
    full = {"error": "no space left on the disk", "mend": "free some space"}
    # At first another folder's server has the address: it has not judged the stroke.
    answers = iter([{"status": 403, "json": {"error": "the token is wrong"}}])
    page.route(
        "**/mask?stroke=*", lambda route: route.fulfill(**next(answers, {"status": 507, "json": full}))
    )
    page.keyboard.press("b")
    drag(page, (10, 10), (20, 10))
    page.get_by_text("a_1.png could not be saved: no space left on the disk").wait_for()
    page.get_by_text("Not saved: 1 picture").wait_for()
    drawn = shown(page)
    # Another picture is decided on, and saved, meanwhile.
    page.keyboard.press("ArrowRight")
    at(page, "a_2.png")
    with page.expect_response("**/state") as answer:
        page.keyboard.press("n")
    assert answer.value.ok
    page.unroute("**/mask?stroke=*")
    page.get_by_role("button", name="Try again").click()
    page.get_by_text("a_1.png is saved now.").wait_for()
    page.get_by_text("✓ Saved").wait_for()
    page.locator('#grid [aria-label="a_1.png, Unfinished"]').click()
    at(page, "a_1.png")
    np.testing.assert_array_equal(shown(page), drawn)


def test_a_key_before_its_picture_or_into_a_stroke_loses_neither(window):
    page = window()
    page.keyboard.press("b")
    drag(page, (10, 10), (20, 10))
    # Both at once: the second is pressed while the next picture is on its way, and is for that one.
    page.evaluate("""() => ["Enter", "n"].forEach((key) =>
        document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true })))""")
    state(page, "a_1.png", "Drawn")
    state(page, "a_2.png", "No lesion")
    at(page, "a_3.png")

    # Nor is a stroke or a polygon that a key comes into.
    def begin(y):
        page.mouse.move(*place(page, 10, y))
        page.mouse.down()
        page.mouse.move(*place(page, 30, y), steps=4)

    page.keyboard.press("b")
    begin(10)
    page.keyboard.press("e")  # another tool, with the button held
    page.mouse.up()
    page.keyboard.press("b")
    begin(20)
    page.keyboard.press("Enter")
    at(page, "a_4.png")
    page.mouse.move(*place(page, 30, 40))
    page.mouse.up()
    # A polygon, by the keys of a Russian keyboard; Ctrl+z takes a corner back, and the way to another picture closes it.
    keys = """(keys) => keys.forEach(([key, code, ctrlKey]) =>
      document.body.dispatchEvent(new KeyboardEvent("keydown", { key, code, ctrlKey, bubbles: true })))"""
    page.evaluate(keys, [["д", "KeyL"]])
    for corner in ((10, 10), (40, 10), (40, 40), (60, 47)):
        page.mouse.click(*place(page, *corner))
    page.evaluate(keys, [["я", "KeyZ", True]])
    page.keyboard.press("ArrowRight")
    at(page, "a_5.png")
    saved(page)
    first, second = mask_of(page, "a_3.png"), mask_of(page, "a_4.png")
    assert first[10, 20] and first[20, 20] and first[0].sum() == first[-1].sum() == 0
    assert second[20, 35] and not second[44, 50] and not mask_of(page, "a_5.png").any()


def test_a_stroke_before_undo_was_answered_brings_nothing_back(window):
    page, held = window(), []
    page.keyboard.press("b")
    for y in (5, 15):
        drag(page, (10, y), (20, y))
        saved(page)
    page.route("**/undo", lambda route: held.append(route))
    page.keyboard.press("z")
    becomes(page, 15, 15, False)
    drag(page, (10, 25), (20, 25))
    release(page, held)
    saved(page)
    first, second, third = mask_of(page, "a_1.png")[[5, 15, 25], 15]
    assert first and third and not second

    # What a stroke of before was is known to the server alone: one waits for it.
    for key, name in (("ArrowRight", "a_2.png"), ("ArrowLeft", "a_1.png")):
        page.keyboard.press(key)
        at(page, name)
    page.keyboard.press("z")
    drag(page, (40, 25), (50, 25))
    page.get_by_text("One moment").wait_for()
    release(page, held)
    becomes(page, 25, 15, False)
    drag(page, (40, 35), (50, 35))
    saved(page)
    assert np.array_equal(
        mask_of(page, "a_1.png")[[5, 25, 25, 35], [15, 15, 45, 45]] > 0, [True, False, False, True]
    )


def test_pen_fingers_and_labels(window):
    page = window()
    send = page.context.new_cdp_session(page).send

    def pen(*points):
        for kind, (x, y) in zip(
            ["mousePressed"] + ["mouseMoved"] * (len(points) - 2) + ["mouseReleased"], points
        ):
            x, y = place(page, x, y)
            held = {"button": "left", "buttons": 1, "clickCount": 1, "pointerType": "pen", "force": 0.5}
            send("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, **held})

    def touch(kind, *points):
        places = [place(page, x, y) for x, y in points] if kind == "touchStart" else points
        send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in places]})

    # A finger draws as long as no pen was seen; a second one makes it a pinch, which draws nothing.
    page.keyboard.press("b")
    (left, y), (right, _) = place(page, 20, 20), place(page, 40, 20)
    touch("touchStart", (20, 20))
    touch("touchMove", (left + 20, y))
    touch("touchEnd")
    assert shown(page)[20, 20]
    saved(page)
    page.keyboard.press("z")
    becomes(page, 20, 20, False)
    before = page.locator("#mask-canvas").bounding_box()["width"]
    touch("touchStart", (20, 20))
    touch("touchStart", (20, 20), (40, 20))
    apart = (right - left) / 2
    for step in range(1, 6):
        touch("touchMove", (left - apart * step / 5, y), (right + apart * step / 5, y))
    touch("touchEnd")
    assert not shown(page).any()
    # Twice as far apart: twice as large.
    assert page.locator("#mask-canvas").bounding_box()["width"] == pytest.approx(2 * before, rel=0.05)
    page.keyboard.press("0")

    page.once("dialog", lambda dialog: dialog.accept("Cyst"))
    page.get_by_role("button", name="+ Label").click()
    page.locator("#tools").get_by_text("Cyst").wait_for()
    pen((30, 30), (36, 30), (40, 30))
    saved(page)
    page.keyboard.press("1")
    pen((10, 10), (16, 10), (20, 10))
    saved(page)
    found = mask_of(page, "a_1.png")
    assert (found[30, 35], found[10, 15]) == (2, 1)
    # The hand lies on the glass before the pen comes, and when it has come.
    touch("touchStart", (50, 44))
    pen((10, 40), (16, 40), (20, 40))
    touch("touchEnd")
    saved(page)
    found = mask_of(page, "a_1.png")
    assert found[40, 15] == 1 and not found[44, 50]
    # Once a pen was seen, a finger is the hand's heel: it moves the picture.
    touch("touchStart", (30, 40))
    touch("touchMove", (left, y))
    touch("touchEnd")
    assert np.array_equal(mask_of(page, "a_1.png"), found) and not shown(page)[40, 30]


def test_two_windows_on_one_picture(window):
    mine, theirs = window(409), window()
    for page in (mine, theirs):
        page.keyboard.press("b")
    # Drawn by turns: the other window follows.
    drag(theirs, (10, 10), (20, 10))
    state(mine, "a_1.png", "Unfinished")
    mine.get_by_text("Changed in another window").wait_for()
    np.testing.assert_array_equal(shown(mine), shown(theirs))

    # Drawn at once: the second is not saved, and chooses.
    mine.mouse.move(*place(mine, 40, 30))
    mine.mouse.down()
    drag(theirs, (10, 40), (20, 40))
    saved(theirs)
    mine.mouse.move(*place(mine, 50, 30), steps=4)
    mine.mouse.up()
    mine.get_by_text("Your stroke is not saved yet").wait_for()
    before, other = shown(mine), shown(theirs)
    assert before[30, 45] and not other[30, 45] and other[40, 15]
    mine.get_by_role("button", name="Show theirs").click()
    mine.get_by_role("button", name="Show mine").wait_for()
    np.testing.assert_array_equal(shown(mine), other)
    mine.get_by_role("button", name="Keep mine").click()
    saved(mine)
    becomes(theirs, 30, 45, True)
    np.testing.assert_array_equal(shown(theirs), before)
    # Nothing was lost: undo brings the other's back, before the server has answered.
    held = []
    mine.route("**/undo", lambda route: held.append(route))
    mine.keyboard.press("z")
    becomes(mine, 30, 45, False)
    np.testing.assert_array_equal(shown(mine), other)
    release(mine, held)
    saved(mine)
    np.testing.assert_array_equal(shown(mine), other)


def test_masks_in_the_browser_are_those_of_scipy_and_pillow(browser):
    """Blobs with holes and crumbs; expected values by scipy, read and written by Pillow."""
    noise = ndimage.gaussian_filter(np.random.default_rng(5).normal(size=(48, 64)), 2)
    mask = (noise > 0.05).astype(np.uint8)
    cross, full = ndimage.generate_binary_structure(2, 1), np.ones((3, 3))
    regions, count = ndimage.label(mask, full)
    largest = np.argmax(np.bincount(regions.ravel())[1:]) + 1
    window_sum = ndimage.convolve(mask.astype(int), np.ones((5, 5), int), mode="constant")
    window_size = ndimage.convolve(np.ones_like(mask, int), np.ones((5, 5), int), mode="constant")
    expected = {
        "grow": ndimage.binary_dilation(mask, cross),
        "shrink": ndimage.binary_erosion(mask, cross, border_value=1),
        "fillHoles": ndimage.binary_fill_holes(mask),
        "keepLargest": regions == largest,
        "smooth": 2 * window_sum > window_size,
        "clear": np.zeros_like(mask),
    }
    assert count > 3 and expected["fillHoles"].sum() > mask.sum()
    page = browser.new_page()
    # The modules alone, without a server.
    page.route(
        "http://page.test/**",
        lambda route: route.fulfill(
            path=STATIC / route.request.url.rpartition("/")[2].replace("blank", "icon.svg")
        ),
    )
    page.goto("http://page.test/static/blank")
    # Pillow's own choice of filters, not only that of our encoder.
    picture = io.BytesIO()
    Image.fromarray(np.clip(noise * 200 + 100, 0, 255).astype(np.uint8)).save(picture, "PNG")
    run = """async ([bytes, grey]) => {
      const [edits, { Mask }, { decodeGrey, encodeGrey }] = await Promise.all(
        ["edits", "mask", "png"].map((name) => import(`/static/${name}.js`)));
      const { width, height, data } = await decodeGrey(new Uint8Array(bytes).buffer);
      const found = {};
      for (const name of ["grow", "shrink", "fillHoles", "keepLargest", "smooth", "clear"]) {
        const mask = new Mask(width, height, data.slice());
        edits[name](mask, 1);
        found[name] = [...mask.data];
      }
      const png = await (await encodeGrey(data, width, height)).arrayBuffer();
      return [found, [...new Uint8Array(png)], [...(await decodeGrey(new Uint8Array(grey).buffer)).data]];
    }"""
    found, written, grey = page.evaluate(run, [list(png(mask)), list(picture.getvalue())])
    for name, value in expected.items():
        np.testing.assert_array_equal(np.reshape(found[name], mask.shape), value, err_msg=name)
    image = Image.open(io.BytesIO(bytes(written)))
    assert image.mode == "L"
    np.testing.assert_array_equal(np.array(image), mask)
    np.testing.assert_array_equal(np.reshape(grey, mask.shape), np.array(Image.open(picture)))
