"""`python -m panet_keras export`: a model for TensorFlow Serving, or for a device."""

import os

from panet_keras.commands import arguments as options
from panet_keras.commands.outputs import check_writable
from panet_keras.commands.start import import_tensorflow
from panet_keras.errors import PANetError

FORMATS = ("saved-model", "tflite")
QUANTIZE = ("none", "float16", "dynamic", "int8")


def add(commands):
    """Adds the command to the parsers of all."""
    command = commands.add_parser(
        "export",
        help="write a model as SavedModel for TensorFlow Serving, or as TensorFlow Lite for a device",
    )
    options.add_model(command)
    command.add_argument(
        "--out", required=True, help="new folder, such as serving/panet/1; with --format tflite a new file"
    )
    command.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="default: %(default)s")
    command.add_argument(
        "--weights-dtype",
        choices=("float32", "float16"),
        default="float32",
        help="of a SavedModel; float16: half the bytes, computed in float32 as ever",
    )
    device = command.add_argument_group("with --format tflite, which has the annotated pictures inside")
    options.add_support(device)
    device.add_argument(
        "--quantize",
        choices=QUANTIZE,
        default=QUANTIZE[0],
        help="of the weights: float16; dynamic: int8; int8: the activations, too, with ranges from the annotated pictures",
    )
    command.set_defaults(run=run)


def run(arguments):
    """Writes the SavedModel or the file and prints its path.

    Raises:
        PANetError: options of the other format, no support for a device, or a folder that may not be written.
        FileExistsError: `--out` is there already.
    """
    tflite = arguments.format == "tflite"
    given = [
        flag
        for flag, value in (
            ("--support", arguments.support),
            ("--support-dir", arguments.support_dir),
            ("--quantize", arguments.quantize != QUANTIZE[0]),
        )
        if value
    ]
    if given and not tflite:
        raise PANetError(
            f"{', '.join(given)}: for --format tflite alone; a SavedModel is told its support by each client."
        )
    if tflite and arguments.weights_dtype != "float32":
        raise PANetError("--weights-dtype: of a SavedModel alone; give --quantize float16.")
    support = options.read_support(arguments) if tflite else None
    if os.path.exists(arguments.out):
        raise FileExistsError(
            f"--out {arguments.out} exists; expected a new name. Name another or remove it."
        )
    check_writable(os.path.dirname(os.path.abspath(arguments.out)))

    import_tensorflow()
    from panet_keras.inference.segmenter import open_segmenter

    segmenter = open_segmenter(arguments.model, arguments.size)
    if tflite:
        print(_write_tflite(segmenter, support, arguments))
        return
    from panet_keras.export.saved_model import export_saved_model

    print(
        export_saved_model(
            segmenter.model,
            arguments.out,
            segmenter.size,
            arguments.weights_dtype,
            segmenter.presence_threshold,
        )
    )


def _write_tflite(segmenter, support, arguments):
    from panet_keras.commands.model import set_support
    from panet_keras.export.tflite import export_tflite

    set_support(segmenter, support)
    pictures = segmenter.support_images
    return export_tflite(
        segmenter.model,
        segmenter.state,
        arguments.out,
        segmenter.size,
        segmenter.presence_threshold,
        arguments.quantize,
        # A mirrored frame is a frame, too.
        [frame for picture in pictures for frame in (picture, picture[:, ::-1])],
    )
