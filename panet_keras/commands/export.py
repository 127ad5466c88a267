"""`python -m panet_keras export`: a model for TensorFlow Serving."""

from panet_keras.commands import arguments as options
from panet_keras.commands.start import import_tensorflow


def add(commands):
    """Adds the command to the parsers of all."""
    command = commands.add_parser("export", help="write a model as SavedModel for TensorFlow Serving")
    options.add_model(command)
    command.add_argument("--out", required=True, help="new folder, such as serving/panet/1")
    command.add_argument(
        "--weights-dtype",
        choices=("float32", "float16"),
        default="float32",
        help="float16: half the bytes, computed in float32 as ever",
    )
    command.set_defaults(run=run)


def run(arguments):
    """Writes the SavedModel and prints its folder."""
    import_tensorflow()
    from panet_keras.export.saved_model import export_saved_model
    from panet_keras.inference.segmenter import open_segmenter

    segmenter = open_segmenter(arguments.model, arguments.size)
    threshold = segmenter.presence_threshold
    print(
        export_saved_model(segmenter.model, arguments.out, segmenter.size, arguments.weights_dtype, threshold)
    )
