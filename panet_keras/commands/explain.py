"""`python -m panet_keras explain`: Grad-CAM pictures."""

import pathlib
import sys

from panet_keras.commands import arguments as options
from panet_keras.commands.outputs import plan_outputs
from panet_keras.commands.queries import describe, find_queries
from panet_keras.commands.start import import_tensorflow


def add(commands):
    """Adds the command to the parsers of all."""
    command = commands.add_parser("explain", help="draw the Grad-CAM of the foreground prototype")
    options.add_model(command)
    options.add_support(command)
    options.add_queries(command, recursive=False)
    command.add_argument("--layer", help="encoder layer; the deepest matched one by default")
    command.add_argument("--method", choices=("gradcam", "gradcam++"), default="gradcam")
    command.set_defaults(run=run)


def run(arguments):
    """Writes `STEM_gradcam.png` for every query: the query and each support image with its map, and the
    colour scale.

    Raises:
        PANetError: arguments, support or model that cannot be used; nothing was written.
    """
    support = options.read_support(arguments)
    queries, skipped = find_queries(arguments.query, arguments.recursive, arguments.out)
    given = support.files + ([arguments.model] if arguments.model else [])
    outputs = plan_outputs(queries, arguments.out, [f"_{arguments.method}.png"], given, arguments.overwrite)
    if skipped:
        print(f"panet_keras explain: not explained: {describe(skipped)}", file=sys.stderr)

    import_tensorflow()
    from panet_keras.commands.model import support_masks
    from panet_keras.commands.progress import progress, say
    from panet_keras.commands.table import name_unread
    from panet_keras.errors import ImageError
    from panet_keras.inference.segmenter import open_segmenter, read_image

    segmenter = open_segmenter(arguments.model, arguments.size)
    # Read before the first query, so that a broken support ends the command and a broken query does not.
    images, masks = [read_image(image, image) for image in support.images], support_masks(support)
    pathlib.Path(arguments.out).mkdir(parents=True, exist_ok=True)
    rows = []
    for query in progress(queries, "pictures"):
        rows.append({"error": ""})
        try:
            picture = read_image(str(query.path), str(query.path))
        except ImageError as error:
            rows[-1]["error"] = str(error)
            continue
        say(f"{query.path}: {_explain(segmenter, images, masks, picture, arguments, outputs[query][0])}")
    return name_unread("panet_keras explain", rows)


def _explain(segmenter, images, masks, picture, arguments, target):
    """Writes one query's picture; what to say about it."""
    from panet_keras import grad_cam
    from panet_keras.files import write_whole
    from panet_keras.pictures.decode import encode_png
    from panet_keras.pictures.heat import draw_maps

    maps = grad_cam(
        segmenter.model,
        images,
        masks,
        picture,
        layer=arguments.layer,
        method=arguments.method,
        size=segmenter.size,
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, encode_png(draw_maps([(item.image, item.heat) for item in maps])))
    said = [f"{target} (query, then {len(maps) - 1} support image(s))"]
    if maps[0].whole_frame:
        said.append("no lesion was predicted: the query's map is of the whole frame")
    silent = [
        "the query" if item.shot is None else f"support image {item.shot + 1}"
        for item in maps
        if not item.heat.any()
    ]
    if silent:
        said.append(f"nothing contributed on {', '.join(silent)}: no gradient is positive there")
    return "; ".join(said)
