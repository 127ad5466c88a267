"""Places where a model comes from on a drawing; the report's template `lineage.svg` draws it."""

from pipeline.orchestration.artifacts import PushedModel

WIDTH, HEIGHT, GAP_X, GAP_Y = 150, 46, 48, 18
COLOURS = {
    "Examples": "#dce8f5",
    "Model": "#dff2e1",
    "ModelEvaluation": "#fde8d0",
    "ModelBlessing": "#fde8d0",
}
PUSHED, OTHER = "#c9e7cd", "#eceff2"


def columns(rows):
    """Column of each artifact, by id: one more than the farthest of what it was made from.

    Args:
        rows: of `Metadata.ancestors`: (artifact, execution or None, dictionary of input name to artifact id).
    """
    made_from = {artifact.id: set(inputs.values()) for artifact, _, inputs in rows}
    found = {}

    def column(id):
        if id not in found:
            found[id] = 0  # ends a circle, should a store ever hold one
            found[id] = max(
                (column(other) + 1 for other in made_from.get(id, ()) if other in made_from), default=0
            )
        return found[id]

    return {id: column(id) for id in made_from}


def layout(rows):
    """Boxes of the artifacts and lines from what each was made of, earliest to the left.

    Returns:
        Dictionary: width and height in pixels; lines (from_x, from_y, middle, to_x, to_y); boxes (x, y,
            width, height, colour, name, by).
        Only a model that was pushed is green.
    """
    place, count, column_of = {}, {}, columns(rows)
    for artifact, _, _ in sorted(rows, key=lambda row: row[0].id):
        column = column_of[artifact.id]
        place[artifact.id] = (column * (WIDTH + GAP_X), count.get(column, 0) * (HEIGHT + GAP_Y))
        count[column] = count.get(column, 0) + 1
    lines, boxes = [], []
    for artifact, execution, inputs in rows:
        x, y = place[artifact.id]
        for other in set(inputs.values()) & set(place):
            from_x, from_y = place[other][0] + WIDTH, place[other][1] + HEIGHT / 2
            line = {
                "from_x": from_x,
                "from_y": from_y,
                "middle": (from_x + x) / 2,
                "to_x": x - 4,
                "to_y": y + HEIGHT / 2,
            }
            lines.append(line)
        name, colour = titled(artifact)
        by = execution.type if execution else "from outside"
        boxes.append(
            {
                "x": x + 1,
                "y": y + 1,
                "width": WIDTH,
                "height": HEIGHT,
                "colour": colour,
                "name": f"{name} {artifact.id}",
                "by": by,
            }
        )
    width, height = (max(axis) for axis in zip(*place.values()))
    return {"width": width + WIDTH + 2, "height": height + HEIGHT + 2, "lines": lines, "boxes": boxes}


def titled(artifact):
    """Name and colour of an artifact: the Pusher leaves a record in any case, which is not always of a pushed
    model."""
    if isinstance(artifact, PushedModel):
        return ("PushedModel", PUSHED) if artifact.version_folder else ("Nothing pushed", OTHER)
    return artifact.type_name(), COLOURS.get(artifact.type_name(), OTHER)
