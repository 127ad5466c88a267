"""Starts the server on pushed models and asks the client for one mask: `served_mask.py MODEL_BASE_PATH DATA
OUT`."""

import subprocess
import sys


def main(base, data, out):
    command = [sys.executable, "-m", "serving", "--port", "0", "--model_base_path", base]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        line = server.stdout.readline()
        if not line:
            sys.exit(f"served_mask: the server did not start; run: {' '.join(command)}")
        address = line.split()[4]
        client = [
            "-m",
            "serving.client",
            "segment",
            "--server",
            address,
            "--size",
            "128",
            "128",
            "--out",
            out,
        ]
        pair = f"{data}/images/PHAA_000.png={data}/masks/PHAA_000.png"
        return subprocess.call(
            [sys.executable, *client, "--support", pair, "--query", f"{data}/images/PHAC_000.png"]
        )
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
