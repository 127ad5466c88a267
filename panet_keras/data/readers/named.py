"""Files that a table or an annotation names, found as people write them."""

import json
import unicodedata
import urllib.parse

from panet_keras.errors import DataError


def find_file(folder, name):
    """The file that a name of a table means, or None.

    As it stands; with the slashes of Windows turned; with its accents composed or decomposed (two ways to write one
    name, of which a file system keeps one); with %20 and the like decoded.

    Args:
        folder: `pathlib.Path` to which the name is relative. name: text.
    """
    turned = name.replace("\\", "/")
    for spelled in (name, turned, urllib.parse.unquote(turned)):
        for form in (None, "NFC", "NFD"):
            path = folder / (unicodedata.normalize(form, spelled) if form else spelled)
            try:
                if spelled and path.is_file():
                    return path
            except (OSError, ValueError):  # too long for a name, or a zero byte
                continue
    return None


def named_files(index):
    """Files that a table's cells, a COCO file's images or a LabelMe file's picture name.

    Args:
        index: `pathlib.Path`; with any ending but .json a table, which often ends in .tsv or .txt.

    Returns:
        List of `pathlib.Path`; empty for a file of another kind.
    """
    if index.suffix.lower() != ".json":
        from panet_keras.data.readers.table import read_rows

        try:
            cells = [cell for _, row in read_rows(index, "a table") for cell in row]
        except DataError:
            return []
        names = {name.strip() for cell in cells for name in cell.split("|")}
        return [file for file in (find_file(index.parent, name) for name in names) if file]
    try:
        data = json.loads(index.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return []
    if not isinstance(data, dict):
        return []
    found = [find_file(index.parent, data["imagePath"])] if isinstance(data.get("imagePath"), str) else []
    if isinstance(data.get("images"), list):
        from panet_keras.data.readers.coco import picture_of

        found += [picture_of(index, entry) for entry in data["images"] if isinstance(entry, dict)]
    return [file for file in found if file]
