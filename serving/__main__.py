"""`python -m serving --port 8500 --model_name panet --model_base_path DIR`"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Without oneDNN EfficientNet-Lite0 answers as fast or faster, and threads keep no scratch memory:
# docs/decisions/onednn.md.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

from serving.commands.trouble import open_streams  # noqa: E402
from serving.server import serve  # noqa: E402


def main():
    """Ends the process with the exit code of `serve`, whatever TensorFlow's threads are doing."""
    open_streams()
    try:
        code = serve()
    except SystemExit as end:
        if "tensorflow" not in sys.modules:
            raise
        code = end.code
    sys.stdout.flush()
    sys.stderr.flush()
    # A model that is being loaded would be waited for, and may crash while the interpreter goes.
    os._exit(code if isinstance(code, int) else int(bool(code)))


if __name__ == "__main__":
    main()
