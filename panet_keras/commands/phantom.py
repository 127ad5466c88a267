"""`python -m panet_keras phantom`: a synthetic data set."""

from panet_keras.commands.start import import_tensorflow


def add(commands):
    """Adds the command to the parsers of all."""
    command = commands.add_parser("phantom", help="write a synthetic data set in BUS-UCLM layout")
    command.add_argument("directory")
    command.add_argument("--patients", type=int, default=9)
    command.add_argument("--images", type=int, default=6, help="of each patient")
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(run=run)


def run(arguments):
    """Writes the data set and prints its folder."""
    import_tensorflow()
    from panet_keras.data import write_phantom

    print(write_phantom(arguments.directory, arguments.patients, arguments.images, arguments.seed))
