"""Draws docs/annotate.png and docs/annotate-loop.png, the annotation page as docs/how-to/annotate.md shows it, from
synthetic pictures with the shipped model: `python docs/screenshots.py`. Takes a minute; needs Chromium."""

import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright
from scipy import ndimage

DOCS = pathlib.Path(__file__).resolve().parent
SIZE = {"width": 1280, "height": 800}
WAIT = 300_000


def draw(page, mask):
    """Draws around the largest region of a mask with the outline tool and a real mouse."""
    regions, _ = ndimage.label(mask)
    inside = regions == np.bincount(regions.ravel())[1:].argmax() + 1
    y, x = np.nonzero(inside)
    middle = np.array([x.mean(), y.mean()])
    box = page.locator("#mask-canvas").bounding_box()
    page.keyboard.press("o")
    for number, angle in enumerate(np.linspace(0, 2 * np.pi, 64)):
        # The last pixel of the lesion on a ray from its middle.
        ray = middle + np.arange(0, max(mask.shape))[:, None] * [np.cos(angle), np.sin(angle)]
        on = [point for point in ray if (point >= 0).all() and (point < mask.shape[::-1]).all()]
        on = [point for point in on if inside[int(point[1]), int(point[0])]]
        px, py = (on[-1] + 0.5) * box["width"] / mask.shape[1]
        page.mouse.move(box["x"] + px, box["y"] + py)
        if number == 0:
            page.mouse.down()
    page.mouse.up()


def shoot(page, name, folder):
    # Thumbnails and messages come and go by themselves.
    page.wait_for_timeout(1500)
    path = folder / f"{name}.png"
    page.screenshot(path=path)
    return path


def small(path):
    """Ultrasound is grey: a palette that keeps the rare colours loses nothing to see, and weighs a third."""
    image = Image.open(path).convert("RGB")
    image.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)


def tour(page, link, masks, folder):
    """Marks one, lets the others be proposed, corrects, finishes; paths of the four pictures."""
    page.goto(link)
    page.locator(".cell img[src]").first.wait_for()
    names = sorted(masks)
    draw(page, masks[names[0]])
    pictures = [shoot(page, "mark", folder)]
    page.get_by_text("Model is loading").wait_for(state="hidden")
    page.keyboard.press("p")
    page.locator(f'#grid [aria-label="{names[1]}, Proposed"]').wait_for(state="attached")
    page.locator("#proposing").wait_for(state="hidden")
    pictures.append(shoot(page, "propose", folder))
    page.keyboard.press("Delete")
    draw(page, masks[names[1]])
    pictures.append(shoot(page, "correct", folder))
    for name in names[1:]:
        page.locator(".frame-name", has_text=name).wait_for()
        page.keyboard.press("Enter" if masks[name].any() else "n")
    page.locator("#curve .curve").wait_for()
    page.keyboard.press("t")
    pictures.append(shoot(page, "done", folder))
    return pictures


def main():
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        run = [sys.executable, "-m", "panet_keras"]
        phantom = folder / "phantom"
        subprocess.run([*run, "phantom", str(phantom), "--patients", "4"], check=True)
        # One patient of the phantom has masks of another size, as one of BUS-UCLM's.
        images = [path for path in (phantom / "images").iterdir() if not path.name.startswith("PHAB")]
        masks = {p.name: np.array(Image.open(phantom / "masks" / p.name).convert("L")) > 0 for p in images}
        (folder / "pictures").mkdir()
        for path in images:
            path.rename(folder / "pictures" / path.name)
        command = [*run, "annotate", str(folder / "pictures"), "--no-browser", "--port", "0"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            lines = iter(server.stdout.readline, "")
            link = next(line.split()[1] for line in lines if line.startswith("Open "))
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=shutil.which("chromium"), args=["--no-sandbox"]
                )
                page = browser.new_page(viewport=SIZE)
                page.set_default_timeout(WAIT)
                pictures = tour(page, link, masks, folder)
                browser.close()
        finally:
            server.terminate()
            server.wait()
        shutil.copyfile(pictures[2], DOCS / "annotate.png")
        width, height = SIZE["width"] // 2, SIZE["height"] // 2
        strip = Image.new("RGB", (2 * width, 2 * height))
        for number, path in enumerate(pictures):
            shrunk = Image.open(path).convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
            strip.paste(shrunk, (number % 2 * width, number // 2 * height))
        strip.save(DOCS / "annotate-loop.png")
        for name in ("annotate.png", "annotate-loop.png"):
            small(DOCS / name)


if __name__ == "__main__":
    main()
