"""An Apache Spark standalone cluster on this machine: a master and workers, a process each, of pyspark's own jars."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import time

HOST = "127.0.0.1"


@contextlib.contextmanager
def cluster(workers, folder, memory="3g"):
    """Starts a master and workers of one core each, and ends them.

    Args:
        workers: how many. folder: for their logs and work. memory: of each worker.

    Yields:
        (URL of the master, list of the workers' processes).

    Raises:
        ImportError: no pyspark. RuntimeError: the master did not open its port; names its log.
    """
    import pyspark

    folder = pathlib.Path(folder)
    home = pathlib.Path(pyspark.__file__).parent
    environment = os.environ | {"SPARK_HOME": str(home), "SPARK_LOCAL_IP": HOST, "SPARK_NO_DAEMONIZE": "1"}
    port, running = _free_port(), []

    def start(name, *arguments):
        with open(folder / f"{name}.log", "wb") as log:
            running.append(
                subprocess.Popen(
                    [home / "bin" / "spark-class", *arguments],
                    env=environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    try:
        start(
            "master",
            "org.apache.spark.deploy.master.Master",
            "--host",
            HOST,
            "--port",
            str(port),
            "--webui-port",
            "0",
        )
        _wait_for(port, running[0], folder / "master.log")
        url = f"spark://{HOST}:{port}"
        for number in range(workers):
            place = ["--host", HOST, "--webui-port", "0", "--work-dir", folder / f"worker{number}"]
            size = ["--cores", "1", "--memory", memory]
            start(f"worker{number}", "org.apache.spark.deploy.worker.Worker", *place, *size, url)
        yield url, running[1:]
    finally:
        for process in running:
            kill(process)


def kill(process):
    """Ends a worker or the master at once, with all that it started in its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def _wait_for(port, process, log, seconds=180):
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
            return
        time.sleep(0.2)
    raise RuntimeError(f"Spark's master did not open port {port} in {seconds} s; see {log}")
