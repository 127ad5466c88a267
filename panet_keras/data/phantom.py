"""Synthetic breast ultrasound in BUS-UCLM layout: for demos, tests, and machines without patients' data."""

import os
import pathlib
import shutil
import tempfile

import numpy as np
from PIL import Image
from scipy import ndimage

from panet_keras.data.readers.bus_uclm import FIELDS
from panet_keras.data.records import MASK_COLOURS

SIZE = (303, 428)
"""Height and width; half of BUS-UCLM's."""


def write_phantom(directory, patients=9, images=6, seed=0, size=SIZE):
    """Writes a data set of speckled layers with dark lesions.

    Benign lesions are smooth ellipses with bright echoes behind, malignant ones jagged with a shadow; a third
    of the frames is normal. Patients differ in gain, depth and speckle. One patient has RGBA images smaller
    than their masks, as HESN in BUS-UCLM. The pictures resemble ultrasound enough to exercise every stage,
    and prove nothing about patients.

    Args:
        directory: folder to make; must not exist or be empty.
        patients: number of patients, from 2 to 676.
        images: images of each patient, at least 1.
        seed: integer; the same seed gives the same files.
        size: (height, width) in pixels.

    Returns:
        `pathlib.Path` of the folder.

    Raises:
        FileExistsError: the folder has files in it.
    """
    directory = pathlib.Path(directory)
    if directory.exists() and any(directory.iterdir()):
        raise FileExistsError(
            f"{directory} is not empty; expected a new folder for the phantom. Name another or remove it."
        )
    if not 2 <= patients <= 676 or images < 1:
        raise ValueError(
            f"patients={patients}, images={images}; expected 2 to 676 patients and at least 1 image each."
        )
    directory.parent.mkdir(parents=True, exist_ok=True)
    building = pathlib.Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        _write(building, patients, images, seed, size)
        building.chmod(0o755)
        if directory.exists():
            directory.rmdir()
        os.replace(building, directory)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return directory


def _write(directory, patients, images, seed, size):
    (directory / "images").mkdir()
    (directory / "masks").mkdir()
    rows = [FIELDS]
    for p in range(patients):
        rng = np.random.default_rng([seed, p])
        name = "PH" + chr(ord("A") + p // 26) + chr(ord("A") + p % 26)
        style = {"gain": rng.uniform(0.6, 0.95), "speckle": rng.uniform(0.8, 1.6), "malignant": p % 3 == 2}
        quirky = p == 1
        for i in range(images):
            label = "Normal" if i % 3 == 2 else ("Malignant" if style["malignant"] else "Benign")
            picture, mask = phantom_frame(rng, size, label, style["gain"], style["speckle"])
            marks = rng.random() < 0.2
            if marks:
                _draw_marks(rng, picture)
            file = f"{name}_{i:03d}.png"
            colours = np.array(MASK_COLOURS, np.uint8)
            Image.fromarray(colours[mask]).save(directory / "masks" / file)
            image = Image.fromarray(picture)
            if quirky:
                image = image.resize(
                    (size[1] * 12 // 13, size[0] * 4 // 5), Image.Resampling.BILINEAR
                ).convert("RGBA")
            image.save(directory / "images" / file)
            rows.append((file, f"{size[1]}x{size[0]}", label, "No", "Yes" if marks else "No", "No"))
    text = "\n".join(";".join(row) for row in rows) + "\n"
    (directory / "INFO.csv").write_text(text, "utf-8-sig")


def phantom_frame(rng, size, label, gain=1.0, speckle=1.2):
    """One frame.

    Args:
        rng: `numpy.random.Generator`.
        size: (height, width).
        label: `"Normal"`, `"Benign"` or `"Malignant"`.
        gain: brightness factor.
        speckle: grain size in pixels.

    Returns:
        uint8 [H, W, 3] and the mask, uint8 [H, W] of class indices.
    """
    height, width = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    depth, across = y / height, x / width
    tissue = np.full(size, 0.45, np.float32)
    # Skin, fat, gland, muscle: bands whose borders wave.
    for border, value in ((0.06, 0.8), (0.28, 0.3), (0.62, 0.55), (0.8, 0.35)):
        wave = border + 0.03 * np.sin(2 * np.pi * (across * rng.uniform(0.5, 2) + rng.random()))
        tissue = np.where(depth > wave, np.float32(value), tissue)
    tissue = np.where(depth < 0.06, 0.85, tissue)
    tissue += 0.15 * _noise(rng, size, 14)
    # Dark patches of fat, which are no lesions.
    for _ in range(rng.integers(1, 4)):
        blob = _ellipse(
            x,
            y,
            rng.uniform(0, width),
            rng.uniform(0.1, 0.3) * height,
            0.12 * width,
            0.04 * height,
            rng.uniform(-0.3, 0.3),
        )
        tissue *= 1 - 0.4 * np.clip(1.5 - blob, 0, 1)
    mask = np.zeros(size, np.uint8)
    if label != "Normal":
        radius_x, radius_y = rng.uniform(0.07, 0.16) * width, rng.uniform(0.08, 0.17) * height
        centre_x, centre_y = rng.uniform(0.25, 0.75) * width, rng.uniform(0.35, 0.65) * height
        level = _ellipse(x, y, centre_x, centre_y, radius_x, radius_y, rng.uniform(-0.4, 0.4))
        if label == "Malignant":
            level = level + 0.22 * _noise(rng, size, 7)
        regions, _ = ndimage.label(level < 1)
        # Crumbs that the noise cut off are no lesions.
        inside = regions == np.bincount(regions.ravel())[1:].argmax() + 1
        tissue = np.where(inside, 0.12 + 0.06 * _noise(rng, size, 6), tissue)
        behind = (np.abs(x - centre_x) < radius_x * 0.8) & (y > centre_y + radius_y * 0.9)
        factor = 0.55 if label == "Malignant" else 1.3
        strength = np.clip(1 - (depth - centre_y / height), 0, 1)
        tissue = np.where(behind & ~inside, tissue * (1 + (factor - 1) * strength), tissue)
        mask[inside] = 2 if label == "Malignant" else 1
    tissue = ndimage.gaussian_filter(tissue, 1.5)
    grain = ndimage.gaussian_filter(rng.normal(size=(2, *size)), (0, speckle, speckle))
    rayleigh = np.hypot(*grain)
    frame = gain * tissue * (0.55 + 0.45 * rayleigh / rayleigh.mean()) * (1 - 0.25 * depth)
    grey = np.clip(255 * np.clip(frame, 0, None) ** 0.85, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, -1), mask


def _noise(rng, size, sigma):
    """Smooth noise of mean 0 and deviation 1."""
    noise = ndimage.gaussian_filter(rng.normal(size=size), sigma).astype(np.float32)
    return (noise - noise.mean()) / noise.std()


def _ellipse(x, y, centre_x, centre_y, radius_x, radius_y, angle):
    """Level function: below 1 inside."""
    cos, sin = np.cos(angle), np.sin(angle)
    u = ((x - centre_x) * cos + (y - centre_y) * sin) / radius_x
    v = (-(x - centre_x) * sin + (y - centre_y) * cos) / radius_y
    return np.hypot(u, v)


def _draw_marks(rng, picture):
    """Calliper crosses, as a sonographer leaves them; they lie anywhere, so they give no lesion away."""
    height, width = picture.shape[:2]
    for _ in range(2):
        y, x = rng.integers(8, height - 8), rng.integers(8, width - 8)
        picture[y - 4 : y + 5, x] = (255, 255, 0)
        picture[y, x - 4 : x + 5] = (255, 255, 0)
