"""Draws where a model comes from, as SVG inside the report."""

import html

WIDTH, HEIGHT, GAP_X, GAP_Y = 150, 46, 48, 18
COLOURS = {
    "Examples": "#dce8f5",
    "Model": "#dff2e1",
    "PushedModel": "#c9e7cd",
    "ModelEvaluation": "#fde8d0",
    "ModelBlessing": "#fde8d0",
}


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
            found[id] = max((column(other) + 1 for other in made_from.get(id, ()) if other in made_from), default=0)
        return found[id]

    return {id: column(id) for id in made_from}


def draw(rows):
    """SVG text of the artifacts and what each was made from, earliest to the left."""
    place, count, column_of = {}, {}, columns(rows)
    for artifact, _, _ in sorted(rows, key=lambda row: row[0].id):
        column = column_of[artifact.id]
        place[artifact.id] = (column * (WIDTH + GAP_X), count.get(column, 0) * (HEIGHT + GAP_Y))
        count[column] = count.get(column, 0) + 1
    width = max(x for x, _ in place.values()) + WIDTH + 2
    height = max(y for _, y in place.values()) + HEIGHT + 2
    lines, boxes = [], []
    for artifact, execution, inputs in rows:
        x, y = place[artifact.id]
        for other in set(inputs.values()) & set(place):
            ox, oy = place[other]
            ox, oy, middle = ox + WIDTH, oy + HEIGHT / 2, (ox + WIDTH + x) / 2
            lines.append(
                f'<path d="M{ox} {oy} C{middle} {oy} {middle} {y + HEIGHT / 2} {x - 4} {y + HEIGHT / 2}" fill="none" '
                'stroke="#7d8c9a" marker-end="url(#tip)"/>'
            )
        kind, by = artifact.type_name(), execution.type if execution else "from outside"
        boxes.append(
            f'<rect x="{x + 1}" y="{y + 1}" width="{WIDTH}" height="{HEIGHT}" rx="5" fill="{COLOURS.get(kind, "#eceff2")}" '
            f'stroke="#5a6b7b"/><text x="{x + WIDTH / 2}" y="{y + 20}" text-anchor="middle" font-weight="600">{html.escape(kind)} '
            f'{artifact.id}</text><text x="{x + WIDTH / 2}" y="{y + 36}" text-anchor="middle" fill="#566">{html.escape(by)}</text>'
        )
    tip = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#7d8c9a"/></marker></defs>'
    )
    return (
        f'<svg viewBox="0 0 {width} {height}" style="max-width:{width}px;width:100%" font-family="system-ui, sans-serif" font-size="12" role="img" '
        f'aria-label="Lineage of the pushed model">{tip}{"".join(lines)}{"".join(boxes)}</svg>'
    )
