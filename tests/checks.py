"""Small files for tests of readers."""

import numpy as np
from PIL import Image

HEADER = "Image;Resolution;Label;Doppler;Marks;Combined"


def write_bus_uclm(
    folder, rows, size=(48, 64), newline="\n", bom=True, header=HEADER, mask_colour=(0, 255, 0)
):
    """A data set in BUS-UCLM layout; rows are (name, label) or full rows of INFO.csv."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    rng = np.random.default_rng(0)
    lines = [header]
    for row in rows:
        name, label = row[:2] if len(row) == 2 else (row[0], row[2])
        lines.append(";".join(row) if len(row) > 2 else f"{name};64x48;{label};No;No;No")
        Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8)).save(folder / "images" / name)
        mask = np.zeros((*size, 3), np.uint8)
        if label != "Normal":
            mask[10:20, 10:30] = mask_colour
        Image.fromarray(mask).save(folder / "masks" / name)
    text = newline.join(lines) + newline
    (folder / "INFO.csv").write_bytes(text.encode("utf-8-sig" if bom else "utf-8"))
    return folder


def synthetic_records(patients, images, label="Benign"):
    """Records without pictures, for rules that need none."""
    from panet_keras.data import Record

    return [
        Record(f"P{p:02d}_{i:03d}.png", f"P{p:02d}", label, b"")
        for p in range(patients)
        for i in range(images)
    ]
