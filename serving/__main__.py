"""`python -m serving --port 8500 --model_name panet --model_base_path DIR`"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# EfficientNet-Lite0 answers in half the time without oneDNN: benchmarks/results/speed.json.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

from serving.server import serve  # noqa: E402

if __name__ == "__main__":
    sys.exit(serve())
