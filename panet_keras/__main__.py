"""Command line: `python -m panet_keras phantom|segment|explain|export ...`; `--help` tells more."""

import argparse
import pathlib
import sys

import numpy as np

from panet_keras.errors import ImageError, PANetError
from panet_keras.files import write_whole


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m panet_keras", description="Few-shot segmentation of ultrasound images.")
    commands = parser.add_subparsers(dest="command", required=True)

    phantom = commands.add_parser("phantom", help="write a synthetic data set in BUS-UCLM layout")
    phantom.add_argument("directory")
    phantom.add_argument("--patients", type=int, default=9)
    phantom.add_argument("--images", type=int, default=6, help="of each patient")
    phantom.add_argument("--seed", type=int, default=0)
    phantom.set_defaults(run=_phantom)

    segment = commands.add_parser("segment", help="segment images with a few annotated ones")
    explain = commands.add_parser("explain", help="draw the Grad-CAM of the foreground prototype")
    for command in (segment, explain):
        _add_model(command)
        command.add_argument(
            "--support", required=True, action="append", metavar="IMAGE=MASK", help="annotated pair; repeat for more shots"
        )
        command.add_argument("--query", required=True, nargs="+", metavar="IMAGE", help="pictures, or folders of them")
        command.add_argument("--out", required=True, help="folder for the pictures")
        command.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="model size; a preset's own, else 256 256")
    segment.set_defaults(run=_segment)
    explain.add_argument("--layer", help="encoder layer; the deepest matched one by default")
    explain.add_argument("--method", choices=("gradcam", "gradcam++"), default="gradcam")
    explain.set_defaults(run=_explain)

    export = commands.add_parser("export", help="write a model as SavedModel for TensorFlow Serving")
    _add_model(export)
    export.add_argument("--out", required=True, help="new folder, such as serving/panet/1")
    export.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="model size; a preset's own, else 256 256")
    export.add_argument(
        "--weights-dtype",
        choices=("float32", "float16"),
        default="float32",
        help="float16: half the bytes, computed in float32 as ever",
    )
    export.set_defaults(run=_export)

    arguments = parser.parse_args(argv)
    try:
        return arguments.run(arguments)
    except (PANetError, OSError, ValueError) as error:
        print(f"panet_keras {arguments.command}: {error}", file=sys.stderr)
        return 1


def _phantom(arguments):
    from panet_keras.data import write_phantom

    print(write_phantom(arguments.directory, arguments.patients, arguments.images, arguments.seed))


def _add_model(command):
    command.add_argument("--model", help="a .keras file, or a preset's name or folder; the shipped preset without it")


def _export(arguments):
    from panet_keras.export.saved_model import export_saved_model
    from panet_keras.inference.segmenter import open_segmenter

    segmenter = open_segmenter(arguments.model, arguments.size)
    threshold = segmenter.presence_threshold
    print(export_saved_model(segmenter.model, arguments.out, segmenter.size, arguments.weights_dtype, threshold))


def _pairs(items):
    pairs = [item.partition("=") for item in items]
    for image, equals, mask in pairs:
        if not (image and equals and mask):
            raise PANetError(f"--support {image + equals + mask}: expected IMAGE=MASK, two files joined by '='.")
    return [image for image, _, _ in pairs], [mask for _, _, mask in pairs]


def _segment(arguments):
    from panet_keras.inference.segmenter import open_segmenter, read_image
    from panet_keras.pictures.decode import encode_png
    from panet_keras.pictures.overlay import draw_mask

    segmenter = open_segmenter(arguments.model, arguments.size).set_support(*_pairs(arguments.support))
    out = _folder(arguments.out)
    broken, done = 0, {}
    for path in _pictures(arguments.query):
        other = done.setdefault(pathlib.Path(path).stem, path)
        if other != path:
            raise PANetError(
                f"--query {path}: its mask would overwrite that of {other}; rename one, or give them an --out of their own."
            )
        try:
            answer = segmenter.predict(path)
        except ImageError as error:
            # One bad file among thousands is no reason to lose the rest.
            print(f"panet_keras segment: {error}", file=sys.stderr)
            broken += 1
            continue
        stem = pathlib.Path(path).stem
        write_whole(out / f"{stem}_mask.png", encode_png(answer.mask.astype(np.uint8) * 255))
        write_whole(out / f"{stem}_overlay.png", encode_png(draw_mask(read_image(path, path), answer.mask)))
        print(f"{path}: presence {answer.presence:.3f}, area {answer.mask.mean():.2%}, {out / f'{stem}_mask.png'}", flush=True)
    if broken:
        print(f"panet_keras segment: {broken} picture(s) could not be read; all others are done", file=sys.stderr)
        return 1


def _pictures(paths):
    """The paths, and for a folder the pictures in it, one after the other: any number of them takes the memory of one."""
    from panet_keras.data.readers.folder import SUFFIXES

    for path in paths:
        if pathlib.Path(path).is_dir():
            yield from sorted(str(file) for file in pathlib.Path(path).iterdir() if file.suffix.lower() in SUFFIXES)
        else:
            yield path


def _explain(arguments):
    from panet_keras.grad_cam import grad_cam
    from panet_keras.inference.segmenter import open_segmenter
    from panet_keras.pictures.decode import encode_png
    from panet_keras.pictures.overlay import draw_heat, side_by_side

    segmenter = open_segmenter(arguments.model, arguments.size)
    images, masks = _pairs(arguments.support)
    out = _folder(arguments.out)
    for path in _pictures(arguments.query):
        maps = grad_cam(segmenter.model, images, masks, path, layer=arguments.layer, method=arguments.method, size=segmenter.size)
        target = out / f"{pathlib.Path(path).stem}_{arguments.method}.png"
        write_whole(target, encode_png(side_by_side([draw_heat(item.image, item.heat) for item in maps])))
        print(f"{path}: {target} (query, then {len(maps) - 1} support image(s))")


def _folder(path):
    path = pathlib.Path(path)
    path.mkdir(parents=True, exist_ok=True)
    return path


if __name__ == "__main__":
    sys.exit(main())
