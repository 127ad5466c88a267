"""Command line: `python -m panet_keras phantom|check|segment|annotate|explain|export ...`; `--help` tells more."""

import argparse
import sys

from panet_keras.commands import annotate, check, explain, export, phantom, segment
from panet_keras.commands.start import prepare_tensorflow
from panet_keras.commands.trouble import ended_by_signals, exit_code, open_streams, told, unread
from panet_keras.errors import PANetError


def main(argv=None):
    open_streams()
    parser = argparse.ArgumentParser(
        prog="python -m panet_keras", description="Few-shot segmentation of ultrasound images."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for command in (phantom, check, segment, annotate, explain, export):
        command.add(commands)
    arguments = parser.parse_args(argv)
    try:
        with ended_by_signals():
            prepare_tensorflow()
            return arguments.run(arguments)
    except KeyboardInterrupt as interrupt:
        print(f"panet_keras {arguments.command}: interrupted; what was written is whole", file=sys.stderr)
        return exit_code(interrupt)
    except BrokenPipeError:
        return unread()
    except (PANetError, ValueError, ImportError) as error:
        print(f"panet_keras {arguments.command}: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        if told(error) is None:
            raise
        print(f"panet_keras {arguments.command}: {told(error)}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
