"""How fast is the annotation page, and does its memory stay flat?

    python -m benchmarks.annotation_speed                      about 15 minutes on 2 quiet cores
    python -m benchmarks.annotation_speed --parts proposals page
    python -m benchmarks.annotation_speed --model FOLDER --try

Each part runs in a process of its own and leaves its numbers in `--work`; started again, the parts that are
there are not run again. Phantom pictures of 600 x 800 pixels:

* proposals: 1,000 pictures. Seconds from the key to the first proposal; all first proposals (decode, resize,
  encoder, decoder, writing) and all of them again after a correction (decoder and writing), with one support
  and with as many as are ever used; wall and processor time of each.
* page: the same command as a person's, in Chromium: from one picture to the next while nothing else runs and
  while proposals are made in the background, and from the key to the first proposal on the screen.
* stroke: display frames while a stroke is drawn on 2000 x 1500 pixels.
* memory: resident memory over 10,000 small pictures, proposed twice.

Wall times are of use on a quiet machine only; processor times hold on a busy one as well, roughly. The load
is written beside both.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks import record
from panet_keras.files import write_whole

SIZE = (600, 800)
SMALL = (96, 128)
LARGE = (1500, 2000)
BASES = 24
PARTS = ("proposals", "page", "stroke", "memory")


def pictures(folder, count, size, seed=0):
    """Writes `count` phantom frames `00000.png` ...: two dozen, each moved sideways and brightened anew.

    Returns:
        Function of a number: the frame's mask, bool [H, W].
    """
    from PIL import Image

    from panet_keras.data.phantom import phantom_frame

    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    kinds = ("Benign", "Malignant", "Normal")
    bases = [phantom_frame(rng, size, kinds[number % 3]) for number in range(min(BASES, count))]
    shifts = rng.integers(0, size[1], count)
    for number, shift in enumerate(shifts):
        frame = np.roll(bases[number % len(bases)][0], shift, 1).astype(np.float32) * rng.uniform(0.8, 1.0)
        Image.fromarray(frame[..., 0].astype(np.uint8)).save(folder / f"{number:05d}.png", compress_level=1)
    return lambda number: np.roll(bases[number % len(bases)][1], shifts[number], 1) > 0


def resident():
    """Megabytes of this process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def opened(place, count, size, model, events=None):
    """(`Store`, `Loop`, frames by name, masks by number) of new phantom pictures, with the model loaded."""
    from panet_keras.annotate import server
    from panet_keras.annotate.model import LocalModel

    truth = pictures(place / "pictures", count, size)
    store, folder, loop = server.open_folder(place / "pictures", place / "out", say=lambda line: None)
    if events is not None:
        loop.tell = events
    loop.use(LocalModel.open(model))
    return store, loop, list(folder.frames.values()), truth


def mark(store, frame, mask):
    """Accepts a mask, or says that there is no lesion."""
    from panet_keras.annotate import masks

    if mask.any():
        store.stroke(frame, masks.encode(mask.astype(np.uint8)), store.version(frame))
    store.decide(frame, "accepted" if mask.any() else "normal", store.version(frame))


def round_of(loop, near):
    """Makes all proposals anew: {proposals, wall and processor seconds of each, proposals a minute}."""
    loop.changed(near, wait=0)
    begun = loop.progress()["proposing"] or {"done": 0}
    wall, processor, count = time.perf_counter(), time.process_time(), 0
    while loop.work() and loop.progress()["proposing"]:
        count = loop.progress()["proposing"]["done"] - begun["done"]
        ended = time.perf_counter(), time.process_time()
    return {
        "proposals": count,
        "seconds of each": (ended[0] - wall) / count,
        "processor seconds of each": (ended[1] - processor) / count,
        "in a minute": 60 * count / (ended[0] - wall),
    }


def proposals(model, count=1000):
    from panet_keras.annotate import loop as loops

    seen = []
    with tempfile.TemporaryDirectory() as folder:
        told = lambda event: event["kind"] == "proposed" and seen.append(time.perf_counter())  # noqa: E731
        began = time.perf_counter()
        store, loop, frames, truth = opened(pathlib.Path(folder), count, SIZE, model, told)
        lesions = [number for number in range(count) if truth(number).any()]
        normals = [number for number in range(count) if not truth(number).any()]
        found = {"seconds to open, with model and making the pictures": time.perf_counter() - began}
        mark(store, frames[lesions[0]], truth(lesions[0]))
        loop.propose(frames[lesions[0]])
        began = time.perf_counter()
        loop.work()
        found["seconds to the first proposal"] = seen[0] - began
        found["first proposals, 1 support"] = round_of(loop, frames[lesions[0]])
        mark(store, frames[lesions[1]], truth(lesions[1]))
        found["after a correction, 2 supports"] = round_of(loop, frames[lesions[1]])
        for number in lesions[2 : loops.MOST_LESIONS] + normals[: loops.MOST_NORMALS]:
            mark(store, frames[number], truth(number))
        most = f"{loops.MOST_LESIONS} lesions and {loops.MOST_NORMALS} normal frames"
        found[f"after a correction, {most}"] = round_of(loop, frames[0])
        kept = [path.stat().st_size for path in (pathlib.Path(folder) / "out" / "features").rglob("*")]
        found["kilobytes of features of a picture"] = max(kept) / 1e3
        store.close()
    return found


def memory(model, count=10_000):
    with tempfile.TemporaryDirectory() as folder:
        store, loop, frames, truth = opened(pathlib.Path(folder), count, SMALL, model)
        first, second = [number for number in range(BASES) if truth(number).any()][:2]
        rows = []
        for number in (first, second):
            mark(store, frames[number], truth(number))
            loop.propose(frames[number])
            made = 0
            while loop.work() and loop.progress()["proposing"]:
                done = loop.progress()["proposing"]["done"]
                if done // 1000 > made // 1000 or not rows:
                    rows.append([done, round(resident(), 1)])
                    print(f"memory: {rows[-1]}", flush=True)
                made = done
        store.close()
    return {"proposals of a round, megabytes": rows, "megabytes at most": max(row[1] for row in rows)}


class Browser:
    """The page in Chromium, served by the command that a person types."""

    def __init__(self, folder, model, count, size):
        from playwright.sync_api import sync_playwright

        self.truth = pictures(folder / "pictures", count, size)
        command = [sys.executable, "-m", "panet_keras", "annotate", str(folder / "pictures"), "--no-browser"]
        command += ["--port", "0", "--output", str(folder / "out"), *(["--model", model] if model else [])]
        self._server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        link = next(line.split()[1] for line in self._server.stdout if line.startswith("Open "))
        self._playwright = sync_playwright().start()
        chromium = self._playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        self.page = chromium.new_page(viewport={"width": 1280, "height": 800})
        self.page.set_default_timeout(120_000)
        self.page.goto(link)
        self.page.locator(".frame-name").wait_for()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._playwright.stop()
        self._server.terminate()
        self._server.wait(60)

    def place(self, x, y):
        """Where pixel (x, y) of the picture is in the window."""
        box = self.page.locator("#mask-canvas").bounding_box()
        scale = box["width"] / self.page.evaluate("document.getElementById('mask-canvas').width")
        return box["x"] + (x + 0.5) * scale, box["y"] + (y + 0.5) * scale

    def drag(self, *points):
        self.page.mouse.move(*self.place(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.place(*point), steps=6)
        self.page.mouse.up()


NEXT = """async () => {
  const name = () => document.querySelector(".frame-name").textContent;
  const [before, began] = [name(), performance.now()];
  document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
  while (name() === before) await new Promise(requestAnimationFrame);
  return performance.now() - began;
}"""
"""Milliseconds from the key to the next picture on the screen."""

COUNT_FRAMES = """() => {
  window.ticks = [];
  const tick = (now) => { window.ticks.push(now); window.counting = requestAnimationFrame(tick); };
  window.counting = requestAnimationFrame(tick);
}"""


def from_picture_to_picture(page, count=40):
    times = []
    for _ in range(count):
        times.append(page.evaluate(NEXT))
        page.wait_for_timeout(300)  # a person looks, and the page fetches ahead
    return {"median ms": statistics.median(times), "95 % ms": sorted(times)[int(0.95 * len(times))]}


def page(model, count=1500):
    with (
        tempfile.TemporaryDirectory() as folder,
        Browser(pathlib.Path(folder), model, count, SIZE) as open_page,
    ):
        shown, found = open_page.page, {}
        shown.locator("#model:empty").wait_for(state="attached")  # it is loaded
        found["next picture, quiet"] = from_picture_to_picture(shown)
        shown.keyboard.press("Home")
        shown.reload()
        shown.locator("#model:empty").wait_for(state="attached")
        shown.keyboard.press("o")
        width, height = SIZE[1] // 4, SIZE[0] // 4
        open_page.drag((width, height), (3 * width, height), (3 * width, 3 * height), (width, 3 * height))
        began = time.perf_counter()
        shown.keyboard.press("p")
        shown.locator('#grid [aria-label$="Proposed"]').first.wait_for()
        found["seconds from the key to the first proposal on the screen"] = time.perf_counter() - began
        found["next picture, while proposals are made"] = from_picture_to_picture(shown)
        found["proposals were still being made at the end"] = shown.locator("#proposing").is_visible()
    return found


def stroke(model):
    found = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        Browser(pathlib.Path(folder), "none", 2, LARGE) as open_page,
    ):
        shown = open_page.page
        for tool, key, brush in (
            ("brush of 12 pixels", "b", 12),
            ("brush of 200 pixels", "b", 200),
            ("outline", "o", 12),
        ):
            shown.keyboard.press(key)
            for _ in range(20 if brush == 200 else 0):
                shown.keyboard.press("]")
            found[tool] = frames_of_a_stroke(open_page)
    return found


def frames_of_a_stroke(open_page, moves=400):
    """Draws a spiral with as many events as a mouse sends: {frames a second, the longest gap in ms}."""
    shown = open_page.page
    angles = np.linspace(0, 6 * np.pi, moves)
    points = [(1000 + 2 * a * 30 * np.cos(a), 750 + 2 * a * 18 * np.sin(a)) for a in angles]
    box, scale = open_page.place(0, 0), None
    scale = (open_page.place(100, 0)[0] - box[0]) / 100
    shown.mouse.move(box[0] + points[0][0] * scale, box[1] + points[0][1] * scale)
    shown.mouse.down()
    shown.evaluate(COUNT_FRAMES)
    for x, y in points:
        shown.mouse.move(box[0] + x * scale, box[1] + y * scale)
    ticks = np.diff(shown.evaluate("() => { cancelAnimationFrame(window.counting); return window.ticks; }"))
    shown.mouse.up()
    shown.get_by_text("✓ Saved").wait_for()
    return {
        "display frames a second": 1000 / float(np.mean(ticks)),
        "longest gap between frames, ms": float(np.max(ticks)),
        "95 % of the gaps below, ms": float(np.quantile(ticks, 0.95)),
        "moves a second": moves / (float(np.sum(ticks)) / 1000),
    }


def run_part(name, arguments):
    """One part, here: its numbers with the load before and after."""
    before = os.getloadavg()[0]
    found = {"proposals": proposals, "page": page, "stroke": stroke, "memory": memory}[name](
        arguments.model, *([arguments.count] if arguments.count and name != "stroke" else [])
    )
    return {"load": [before, os.getloadavg()[0]], **found}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument(
        "--model", help="a preset's name or folder, or a .keras file; the shipped one without it"
    )
    parser.add_argument("--count", type=int, help="of pictures, for a quick try")
    parser.add_argument(
        "--work", default=pathlib.Path(tempfile.gettempdir(), "annotation_speed"), type=pathlib.Path
    )
    parser.add_argument("--try", action="store_true", dest="trial", help="print, and keep nothing")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(run_part(arguments.parts[0], arguments)))
        return
    arguments.work.mkdir(parents=True, exist_ok=True)
    for name in arguments.parts:
        kept = arguments.work / f"{name}.json"
        if kept.exists() and not arguments.trial:
            print(f"{name}: measured before ({kept})", flush=True)
            continue
        command = [sys.executable, "-m", "benchmarks.annotation_speed", "--here", "--parts", name]
        command += ["--model", arguments.model] if arguments.model else []
        command += ["--count", str(arguments.count)] if arguments.count else []
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
        line = done.stdout.splitlines()[-1]
        print(name, line, flush=True)
        if not arguments.trial:
            write_whole(kept, line + "\n")
    if arguments.trial:
        return
    parts = {
        name: json.loads((arguments.work / f"{name}.json").read_text())
        for name in PARTS
        if (arguments.work / f"{name}.json").exists()
    }
    record.write(
        "annotation_speed",
        "How fast is the annotation page, and does its memory stay flat?",
        {"model": arguments.model or "the shipped preset", **parts},
    )


if __name__ == "__main__":
    main()
