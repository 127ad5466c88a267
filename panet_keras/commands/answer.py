"""One picture's mask, overlay and row."""

import numpy as np

from panet_keras.commands.provenance import of_mask
from panet_keras.errors import ImageError
from panet_keras.files import write_whole
from panet_keras.inference.segmenter import read_image
from panet_keras.pictures.decode import encode_png
from panet_keras.pictures.overlay import draw_mask
from panet_keras.pictures.provenance import encode


def write_answer(segmenter, query, targets, run, note=None):
    """Segments a picture and writes its overlay and its mask (255 = lesion, with its provenance in text chunks).

    Args:
        segmenter: `FewShotSegmenter` with a support. query: `Query`. targets: paths of mask and overlay; the mask
            is written last, so that where it is, all is.
        run: of `panet_keras.commands.provenance.of_run`.
        note: function that is called with the row before the first file is written.

    Returns:
        Row of `panet_keras.commands.table`. A picture that cannot be read has its reason in `error`, and
        writes nothing: one bad file among thousands is no reason to lose the rest.

    Raises:
        OSError: an output that cannot be written.
    """
    try:
        picture = read_image(str(query.path), str(query.path))
    except ImageError as error:
        return {"file": query.name, "presence": "", "area": "", "error": str(error), "answer": ""}
    answer = segmenter.predict(picture)
    mask, overlay = targets
    mask.parent.mkdir(parents=True, exist_ok=True)
    told = of_mask(run, picture, answer.presence)
    area = round(float(answer.mask.mean()), 8)
    row = {
        "file": query.name,
        "presence": round(answer.presence, 6),
        "area": area,
        "error": "",
        "answer": told["id"],
    }
    if note:
        note(row)
    write_whole(overlay, encode_png(draw_mask(picture, answer.mask)))
    write_whole(mask, encode(answer.mask.astype(np.uint8) * np.uint8(255), told))
    return row
