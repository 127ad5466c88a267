"""A C-STORE door: what a PACS or a scanner sends is answered with DICOM SEG objects.

python -m serving.dicom_door --server HOST:PORT --model NAME --support-set NAME --output DIR [--send-to AE@HOST:PORT]

sender ──C-STORE──> DIR/.incoming/UID.dcm ──worker──> model server ──> DIR/UID_mask.dcm ──C-STORE──> --send-to
                    success is said here               DIR/failed/UID.txt: why an object has no answer

An object is on disk before its sender is told so, and what waits there is taken up again at the next start. A
frame is in memory at a time; objects beyond `--max-waiting` are refused for now (0xA700), which senders repeat.
Who may send, how much and how many at once: `--caller`, `--max-object-bytes`, `--max-associations`; with
`--ssl_config_file` the door speaks TLS alone (`serving.dicom_tls`).
"""

import argparse
import logging
import os
import pathlib
import queue
import re
import shutil
import signal
import sys
import tempfile
import threading
import time

import grpc

from serving import tracing
from serving.address import bare, joined
from serving.client import Client, ServingError
from serving.commands.files import write_whole
from serving.dicom_limits import limits
from serving.dicom_tls import client_context, server_context
from serving.logs import without_traceback
from serving.models.config_files import read_ssl
from serving.rules.dicom import decode_frame, frame_count, is_segmentation, read_dicom
from serving.segmentations import seg_bytes

log = logging.getLogger("serving.dicom_door")
SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000
"""Statuses of C-STORE (PS3.4, table B.2-1)."""
UID = re.compile(r"[0-9.]{1,64}")
AGAIN = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.NOT_FOUND}
"""What the model server says while it starts, loads or is busy: the object waits."""
PERHAPS = {
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
}
"""What it, or the way to it, says of a bad moment as well as of a bad object: that is asked about once for each of
`PAUSES`, and then has no answer."""
PAUSES = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Seconds before the next attempt; the last repeats."""
CLASSES = (
    *("1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.3.1"),
    *("1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.7.2", "1.2.840.10008.5.1.4.1.1.7.4"),
)
"""Ultrasound images of one and of several frames; secondary captures, grey and coloured."""
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
MAX_OBJECT = 2 << 30
"""Bytes; a minute of colour at 1024 x 768 and 15 frames a second, uncompressed, is 2.1e9."""
LEFT_AFTER = 300.0
"""Seconds after which a file that is not received any more is what a cut connection left."""


class Door:
    """Objects on disk, and the worker that answers them one after the other.

    Args:
        client: `Client` with its support.
        output: folder of the answers, made here; with `send` they leave it once they are taken.
        supports: names for the provenance.
        send: function of a path that gives a C-STORE status, or None where nobody was reached; None: the
            answers stay.
        max_waiting: objects that wait to be answered, and answers that wait to be sent, together.
        pauses: seconds between attempts.

    Raises:
        OSError: a folder that cannot be made.
    """

    def __init__(self, client, output, supports=(), send=None, max_waiting=1000, pauses=PAUSES):
        self.client, self.told, self.send = client, {"supports": list(supports)}, send
        self.max_waiting, self.pauses = max_waiting, pauses
        self.output = pathlib.Path(output)
        self.incoming, self.failed = self.output / ".incoming", self.output / "failed"
        for folder in (self.incoming, self.failed):
            folder.mkdir(parents=True, exist_ok=True)
        for half in self.incoming.glob("*.part"):
            half.unlink()
        # What a crash or a cut connection left of objects that were on their way.
        self.receiving = self.incoming / "receiving"
        shutil.rmtree(self.receiving, ignore_errors=True)
        self.receiving.mkdir()
        self._swept = time.monotonic()
        self._refusals, self._due = 0, 0.0
        self.waiting, self.stop = queue.Queue(), threading.Event()
        for path in sorted(self.incoming.glob("*.dcm")):
            self.waiting.put(path)
        self._worker = threading.Thread(target=self._work, name="dicom door")

    def start(self):
        """Starts the worker; the door itself."""
        self._worker.start()
        return self

    def close(self):
        """Ends after the frame at hand; what waits stays on disk."""
        self.stop.set()
        self._worker.join()

    def take(self, event):
        """Handles `pynetdicom.evt.EVT_C_STORE`: the object is on disk when this says success."""
        instance = str(event.request.AffectedSOPInstanceUID)
        if not UID.fullmatch(instance):
            return CANNOT_UNDERSTAND
        if self.waiting.qsize() + len(self._answers() if self.send else ()) >= self.max_waiting:
            log.warning("refused for now: %d objects wait; --max-waiting allows no more", self.max_waiting)
            return OUT_OF_RESOURCES
        path = self.incoming / f"{instance}.dcm"
        part = path.with_name(f"{instance}-{threading.get_ident()}.part")
        try:
            shutil.copyfile(event.dataset_path, part)
            os.replace(part, path)
        except OSError as error:
            part.unlink(missing_ok=True)
            log.error("%s cannot be kept: %s", instance, error)
            return OUT_OF_RESOURCES
        self.waiting.put(path)
        return SUCCESS

    def _answers(self):
        return sorted(self.output.glob("*_mask.dcm"))

    def _work(self):
        while not self.stop.is_set():
            try:
                path = self.waiting.get(timeout=0.2)
            except queue.Empty:
                path = None
            try:
                if path is not None and path.is_file():  # sent twice, it was answered the first time
                    received = path.stat().st_mtime_ns
                    with tracing.span("DICOM object", "SERVER", received):
                        tracing.past("wait", received, time.time_ns())
                        self._answer(path)
            except Exception as error:  # one bad object never stops the rest
                self._refuse(path, error)
            try:
                if self.send:
                    self._deliver()
                self._sweep()
            except Exception:
                log.exception("the door goes on")
                self.stop.wait(self.pauses[-1])

    def _answer(self, path):
        """Writes a SEG for every frame, then forgets the object."""
        with tracing.stage("decode"):
            dataset = read_dicom(path, path.name)
        if is_segmentation(dataset):
            raise ValueError(f"{path.name}: a DICOM SEG; expected a picture.")
        frames = frame_count(dataset)
        tracing.note(images=frames)
        for frame in range(frames):
            with tracing.stage("decode"):
                picture = decode_frame(dataset, frame, path.name)
            answer = self._ask(picture)
            if answer is None:
                return
            number, ending = (None, "_mask.dcm") if frames == 1 else (frame, f"_f{frame}_mask.dcm")
            with tracing.stage("encode", answer_id=answer.answer_id):
                made = seg_bytes(self.client, dataset, answer, path.name, self.told, number, frame + 1)
                write_whole(self.output / f"{path.stem}{ending}", made)
        path.unlink()
        log.info("%s: answered, %d frame(s)", path.stem, frames)

    def _ask(self, picture):
        """The answer, however long the model server is away; None when the door closes first."""
        attempt = 0
        while not self.stop.is_set():
            try:
                return self.client.predict(picture)
            except ServingError as error:
                if error.code not in AGAIN and (error.code not in PERHAPS or attempt >= len(self.pauses)):
                    raise
                pause = self.pauses[min(attempt, len(self.pauses) - 1)]
                log.warning("%s; again in %g s", error, pause)
                self.stop.wait(pause)
                attempt += 1
        return None

    def _deliver(self):
        """Sends the answers that wait; ends at the first that cannot be sent now, for a while."""
        if time.monotonic() < self._due:
            return
        for path in self._answers():
            try:
                status = self.send(path)
            except Exception as error:  # of this answer; it must not hold up the others
                os.replace(path, self.failed / path.name)
                log.error("%s cannot be sent: %s; it lies in failed/", path.name, error)
                continue
            if status is None or status >> 8 == OUT_OF_RESOURCES >> 8:
                pause = self.pauses[min(self._refusals, len(self.pauses) - 1)]
                self._refusals, self._due = self._refusals + 1, time.monotonic() + pause
                log.warning("%s is not taken yet; it waits, and is sent again in %g s", path.name, pause)
                return
            self._refusals = 0
            if status == SUCCESS or status >> 12 == 0xB:  # taken, perhaps with a warning
                path.unlink()
            else:
                os.replace(path, self.failed / path.name)
                log.error("%s was refused with status 0x%04X; it lies in failed/", path.name, status)

    def _sweep(self):
        """Removes, once a minute, what connections that were cut have left of objects."""
        if time.monotonic() < self._swept + 60:
            return
        self._swept = time.monotonic()
        for path in self.receiving.iterdir():
            try:
                if time.time() - path.stat().st_mtime > LEFT_AFTER:
                    path.unlink()
            except FileNotFoundError:  # it has come meanwhile
                pass

    def _refuse(self, path, error):
        log.error("%s: no answer: %s", path.stem, error)
        try:
            write_whole(self.failed / f"{path.stem}.txt", f"{error}\n")
            path.unlink(missing_ok=True)
        except OSError as other:
            log.error("%s: %s", path.stem, other)


def listen(
    door, host, port, title="PANET", callers=(), tls=None, max_associations=10, max_object_bytes=MAX_OBJECT
):
    """Opens the port.

    Args:
        door: `Door`. host, port: where to listen; port 0 takes a free one. title: our AE title.
        callers: AE titles that may send; all where there are none.
        tls: `ssl.SSLContext` of `serving.dicom_tls.server_context`; None: plain text.
        max_associations: at once; more are rejected for now. max_object_bytes: of an object on the wire.

    Returns:
        The running server, with `shutdown()`, and its port.

    Raises:
        OSError: the port cannot be bound. ImportError: pynetdicom is missing.
    """
    pynetdicom = _pynetdicom()
    # An object goes to disk as it comes, and never whole into memory.
    pynetdicom._config.STORE_RECV_CHUNKED_DATASET = True
    entity = pynetdicom.AE(ae_title=title)
    entity.maximum_associations = max_associations
    entity.require_calling_aet = list(callers)
    for name in CLASSES:
        entity.add_supported_context(name, _syntaxes(pynetdicom.ALL_TRANSFER_SYNTAXES))
    entity.add_supported_context(pynetdicom.sop_class.Verification)
    handlers = [(pynetdicom.evt.EVT_C_STORE, door.take), *limits(max_object_bytes)]
    server = entity.start_server((bare(host), port), block=False, evt_handlers=handlers, ssl_context=tls)
    return server, server.server_address[1]


def _syntaxes(known):
    """Those of the transfer syntaxes that can be decoded here: a sender that has another then converts the object,
    or tells its user, while it still has it."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    def decodes(syntax):
        try:
            return get_decoder(UID(syntax)).is_available
        except NotImplementedError:
            return False

    return [syntax for syntax in known if decodes(syntax)]


def sender(target, title="PANET", tls=None):
    """A function that sends a file by C-STORE; see `Door`.

    Args:
        target: `AE@HOST:PORT`. title: our AE title. tls: `ssl.SSLContext` of
            `serving.dicom_tls.client_context`; None: plain text.

    Raises:
        ValueError: another form. ImportError: pynetdicom is missing.
    """
    match = re.fullmatch(r"(?P<ae>[^@]{1,16})@(?P<host>.+):(?P<port>\d+)", target)
    if not match:
        raise ValueError(f"--send-to {target}: expected AE@HOST:PORT, such as PACS@10.0.0.5:104.")
    pynetdicom = _pynetdicom()
    entity = pynetdicom.AE(ae_title=title)
    entity.add_requested_context(SEGMENTATION)
    entity.connection_timeout = 10

    def send(path):
        host = bare(match["host"])
        association = entity.associate(
            host, int(match["port"]), ae_title=match["ae"], tls_args=tls and (tls, host)
        )
        if not association.is_established:
            if association.rejected_contexts:
                log.error(
                    "%s takes no DICOM SEG; its administrator allows it, for our AE title %s", target, title
                )
            return None
        try:
            return association.send_c_store(path).get("Status")
        except RuntimeError:  # the other side ended the association meanwhile
            return None
        finally:
            association.release()

    return send


def _pynetdicom():
    try:
        import pynetdicom
    except ImportError as error:
        raise ImportError("the DICOM door needs pynetdicom: pip install pynetdicom") from error
    return pynetdicom


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m serving.dicom_door", description="Answers DICOM images that are sent to it with SEGs."
    )
    parser.add_argument("--server", default="127.0.0.1:8500", metavar="HOST:PORT", help="the model server")
    parser.add_argument("--model", default="panet", help="name that the server knows the model by")
    parser.add_argument("--support-set", required=True, metavar="NAME", help="a set that the server keeps")
    parser.add_argument("--version-label", help="such as stable; the latest version without it")
    parser.add_argument("--ssl-root", metavar="PEM", help="certificate of the model server's authority: TLS")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default: %(default)s)")
    parser.add_argument("--port", type=int, default=11112, help="default: %(default)s")
    parser.add_argument("--ae-title", default="PANET", help="our own (default: %(default)s)")
    parser.add_argument(
        "--caller", action="append", default=[], metavar="AE", help="who may send; repeat; all without it"
    )
    parser.add_argument(
        "--max-associations", type=_count, default=10, metavar="N", help="at once (default: %(default)s)"
    )
    parser.add_argument(
        "--max-object-bytes",
        type=_count,
        default=MAX_OBJECT,
        metavar="N",
        help="a sender of a larger object is aborted (default: %(default)s)",
    )
    parser.add_argument(
        "--ssl_config_file",
        "--ssl-config-file",
        metavar="FILE",
        help="text file with an SSLConfig, as of `python -m serving`: senders must speak TLS, at least 1.2",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the answers")
    parser.add_argument("--send-to", metavar="AE@HOST:PORT", help="where the answers go, and then leave DIR")
    parser.add_argument(
        "--send-ssl-root",
        metavar="PEM",
        help="certificate of the authority of --send-to: TLS, with the certificate of --ssl_config_file as our own",
    )
    parser.add_argument(
        "--max-waiting", type=_count, default=1000, metavar="N", help="objects on disk (default: %(default)s)"
    )
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for name in ("pynetdicom", "highdicom"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # For each connection that is cut.
    logging.getLogger("pynetdicom.dul").addFilter(without_traceback)
    tracing.start("panet-dicom-door", log)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        root = arguments.ssl_root and pathlib.Path(arguments.ssl_root).read_bytes()
        client = Client(
            arguments.server,
            arguments.model,
            credentials=grpc.ssl_channel_credentials(root) if root else None,
            version_label=arguments.version_label,
        ).use_support_set(arguments.support_set)
        config = read_ssl(arguments.ssl_config_file)
        tls = config and server_context(config, arguments.ssl_config_file)
        send = _sender(arguments, config)
        door = Door(client, arguments.output, [arguments.support_set], send, arguments.max_waiting)
        server, port = listen(
            door,
            arguments.host,
            arguments.port,
            arguments.ae_title,
            arguments.caller,
            tls,
            arguments.max_associations,
            arguments.max_object_bytes,
        )
    except (OSError, OverflowError, ValueError, ImportError) as error:
        print(f"serving.dicom_door: {error}", file=sys.stderr)
        return 1
    # pynetdicom receives into temporary files: patients' data stays in one place, and nothing of it is left.
    tempfile.tempdir = os.fspath(door.receiving)
    door.start()
    how = " with TLS" if tls else ""
    print(f"Listening as {arguments.ae_title} on {joined(arguments.host, port)}{how}", flush=True)
    ended.wait()
    server.shutdown()
    door.close()
    client.close()
    tracing.stop()
    return 0


def _sender(arguments, config):
    if not arguments.send_to:
        if arguments.send_ssl_root:
            raise ValueError("--send-ssl-root needs --send-to: nothing is sent without it.")
        return None
    tls = None
    if arguments.send_ssl_root:
        tls = client_context(arguments.send_ssl_root, config)
    return sender(arguments.send_to, arguments.ae_title, tls)


def _count(text):
    if not text.isascii() or not text.isdigit() or not 0 < int(text):
        raise argparse.ArgumentTypeError(f"found {text!r}; expected a whole number of at least 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
