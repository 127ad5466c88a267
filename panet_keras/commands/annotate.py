"""`python -m panet_keras annotate`: a page in the browser, on a folder of pictures."""

import pathlib

from panet_keras.commands import arguments as options
from panet_keras.errors import PANetError

SERVER_AGAIN = 10.0
"""Seconds after which a server that does not answer is asked again."""
NONE = "none"
"""As `--model`: a page to draw on, without proposals."""


def add(commands):
    """Adds the command to the parsers of all."""
    command = commands.add_parser("annotate", help="open a page to annotate a folder: mark one, get the rest")
    command.add_argument("folder", metavar="FOLDER", help="of pictures; nothing in it is changed")
    command.add_argument(
        "--output", metavar="DIR", help="for the masks (default: FOLDER-annotated beside it)"
    )
    command.add_argument(
        "--labels", nargs="+", default=[], metavar="NAME", help="what is marked (default: Lesion)"
    )
    command.add_argument("--recursive", action="store_true", help="take sub-folders too")
    command.add_argument(
        "--patient",
        metavar="REGEX",
        help="finds the patient in a picture's name, as '^([^_]+)_'; else DICOM's PatientID (as a pseudonym) or the "
        "sub-folder",
    )
    options.add_model(command)
    command.add_argument(
        "--support-dir", metavar="DIR", help="annotated pictures elsewhere that support the first proposals"
    )
    command.add_argument("--server", metavar="HOST:PORT", help="gRPC of a served model, in place of --model")
    command.add_argument("--served-model", default="panet", metavar="NAME", help="its name there")
    command.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; this machine alone by default"
    )
    command.add_argument("--port", type=int, metavar="N", help="default: 8765, or a free one")
    command.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME[:PORT]",
        help="a further name in links: of this machine, or of a proxy or tunnel before it",
    )
    command.add_argument("--no-browser", action="store_true", help="print the link only")
    command.set_defaults(run=run)


def run(arguments):
    """Serves the page until it is interrupted.

    Raises:
        PANetError: arguments or a folder that cannot be used; nothing was written.
    """
    if arguments.server and arguments.model:
        raise PANetError("--server and --model: the proposals come from one of them. Leave one away.")
    if arguments.port is not None and not 0 <= arguments.port < 65536:
        raise PANetError(f"--port {arguments.port}; expected a number from 0 to 65535.")
    folder = pathlib.Path(arguments.folder)
    if not folder.is_dir():
        raise PANetError(f"FOLDER {folder}: no such folder; expected one with pictures. Check the path.")
    # Of "." and of "x/.." the name is to be known.
    output = arguments.output or folder.resolve().with_name(f"{folder.resolve().name}-annotated")
    if pathlib.Path(output).resolve() == folder.resolve():
        raise PANetError(
            f"--output {output}: the folder of the pictures, which is never written to. Name another."
        )

    from panet_keras.annotate import server

    opened = server.open_folder(
        folder,
        output,
        arguments.labels,
        arguments.recursive,
        arguments.patient,
        _examples(arguments),
        server.tell,
    )
    server.serve(
        opened,
        _loader(arguments, output),
        arguments.host,
        arguments.port,
        arguments.allow_host,
        not arguments.no_browser,
        server.tell,
        SERVER_AGAIN if arguments.server else None,
    )
    return 0


def _examples(arguments):
    """`Example` of each picture of `--support-dir`."""
    if not arguments.support_dir:
        return []
    from panet_keras.annotate.loop import Example

    pairs, normals = options.read_support_folder(arguments.support_dir)
    return [Example(pathlib.Path(image).name, image, masks) for image, masks in pairs] + [
        Example(pathlib.Path(image).name, image) for image in normals
    ]


def _loader(arguments, output):
    """Function that gives the segmenter, as it was tuned in the output folder; None without one."""
    if arguments.model == NONE:
        return None

    def load():
        from panet_keras.annotate.learn import kept
        from panet_keras.annotate.model import LocalModel, ServedModel

        if arguments.server:
            return ServedModel(arguments.server, arguments.served_model)
        return LocalModel.open(arguments.model, arguments.size).saved(kept(output))

    return load
