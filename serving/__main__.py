"""`python -m serving --port 8500 --model_name panet --model_base_path DIR`"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from serving.server import serve  # noqa: E402

if __name__ == "__main__":
    sys.exit(serve())
