"""Who may send to the DICOM door, over what, how much and how many: asked by pynetdicom and by plain sockets."""

import os
import socket
import ssl
import time

import numpy as np
import pydicom
import pytest

from serving.dicom_door import Door, listen, main, sender
from serving.dicom_tls import client_context, server_context
from serving.models.config_files import ConfigFileError, read_ssl
from tests.panet_keras.test_dicom import RAMP, write
from tests.serving.test_security import certificate

pynetdicom = pytest.importorskip("pynetdicom")
ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6.1"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Folder with authority.pem, tls.config, mutual.config (certificates of clients are asked for) and
    client.config, the SSLConfig of a client."""
    folder = tmp_path_factory.mktemp("tls")
    _, root, authority = certificate("authority")
    (folder / "authority.pem").write_text(root)
    for name, more in (("tls", ""), ("mutual", f"custom_ca: {root!r} client_verify: true"), ("client", "")):
        key, chain, _ = certificate(name, authority)
        (folder / f"{name}.config").write_text(f"server_key: {key!r} server_cert: {chain!r} {more}")
    return folder


def tls_of(files, name):
    return server_context(read_ssl(files / f"{name}.config"), name)


@pytest.fixture
def listening(tmp_path):
    """Makes a door that keeps what comes and answers nothing: `listening(**options)` gives it and its port."""
    servers = []

    def make(**options):
        door = Door(None, tmp_path / "out")
        server, port = listen(door, "127.0.0.1", 0, **options)
        servers.append(server)
        return door, port

    yield make
    for server in servers:
        server.shutdown()


@pytest.fixture
def picture(tmp_path):
    tags = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.4", "SOPInstanceUID": "1.2.5"}
    write(tmp_path / "a.dcm", RAMP, "MONOCHROME2", **tags)
    return tmp_path / "a.dcm"


def associated(port, context=None, title="SCANNER"):
    entity = pynetdicom.AE(title)
    entity.acse_timeout = 5
    entity.add_requested_context(ULTRASOUND)
    return entity.associate("127.0.0.1", port, tls_args=context and (context, "127.0.0.1"))


def stored(port, file, **options):
    """Status of C-STORE; None where there was no association, or it was ended."""
    association = associated(port, **options)
    if not association.is_established:
        return None
    status = association.send_c_store(file).get("Status")
    if association.is_established:
        association.release()
    return status


def test_senders_speak_tls_and_show_a_certificate_where_that_is_asked(files, listening, picture):
    root = files / "authority.pem"
    stranger = client_context(root)
    known = client_context(root, read_ssl(files / "client.config"))
    for name, refused, accepted in (("tls", None, stranger), ("mutual", stranger, known)):
        context = tls_of(files, name)
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        door, port = listening(tls=context)
        # Who says nothing keeps nobody out.
        with socket.create_connection(("127.0.0.1", port)):
            assert stored(port, picture, context=accepted) == 0
        assert (door.incoming / "1.2.5.dcm").is_file()
        (door.incoming / "1.2.5.dcm").unlink()
        assert stored(port, picture, context=refused) is None
        assert not list(door.incoming.glob("*.dcm"))
    # The certificate must be of the authority that the sender knows.
    _, other, _ = certificate("another authority")
    (files / "other.pem").write_text(other)
    _, port = listening(tls=tls_of(files, "tls"))
    assert stored(port, picture, context=client_context(files / "other.pem")) is None


def test_answers_are_sent_over_tls(files, picture):
    taken = []
    entity = pynetdicom.AE("PACS")
    entity.add_supported_context(SEGMENTATION)

    def take(event):
        taken.append(event.assoc.requestor.ae_title)
        return 0

    pacs = entity.start_server(
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=[(pynetdicom.evt.EVT_C_STORE, take)],
        ssl_context=tls_of(files, "mutual"),
    )
    data = pydicom.dcmread(picture)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = SEGMENTATION
    data.save_as(picture)
    try:
        target, root = f"PACS@127.0.0.1:{pacs.server_address[1]}", files / "authority.pem"
        own = client_context(root, read_ssl(files / "client.config"))
        assert sender(target, tls=own)(picture) == 0 and taken == ["PANET"]
        assert sender(target, tls=client_context(root))(picture) is None and len(taken) == 1
    finally:
        pacs.shutdown()


def test_an_object_beyond_the_limit_is_not_received(listening, picture, tmp_path, caplog):
    door, port = listening(max_object_bytes=100_000)
    write(tmp_path / "large.dcm", np.zeros((1000, 1000), np.uint8), "MONOCHROME2", SOPInstanceUID="1.2.6")
    assert stored(port, tmp_path / "large.dcm") is None
    assert caplog.text.count("SCANNER at 127.0.0.1 sends an object of more than 100000 bytes; aborted") == 1
    # The limit is of each object, not of what a connection sends.
    association = associated(port)
    for number in range(40):
        data = pydicom.dcmread(picture)
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.2.7.{number}"
        assert association.send_c_store(data).Status == 0
    association.release()
    assert len(list(door.incoming.glob("1.2.7.*.dcm"))) == 40 and not list(door.incoming.glob("1.2.6*"))


def test_a_message_that_announces_gigabytes_is_cut_off(listening, picture):
    _, port = listening()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"\x01\x00\xff\xff\xff\xff")  # A-ASSOCIATE-RQ of 4 GB
        assert connection.recv(100) == b""
    assert stored(port, picture) == 0


def test_callers_and_associations_are_limited(listening, picture):
    _, port = listening(callers=["SCANNER"], max_associations=1)
    assert stored(port, picture, title="OTHER") is None
    for _ in range(100):  # the thread of the one that was refused ends a moment later
        if (first := associated(port)).is_established:
            break
        time.sleep(0.05)
    assert first.is_established and stored(port, picture) is None
    first.release()
    for _ in range(100):
        if (status := stored(port, picture)) == 0:
            break
        time.sleep(0.05)
    assert status == 0


def test_what_a_cut_connection_left_is_removed(tmp_path):
    door = Door(None, tmp_path / "out")
    old, new = door.receiving / "old.dcm", door.receiving / "new.dcm"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 1000,) * 2)
    door._sweep()
    assert old.is_file()  # not every time
    door._swept -= 61
    door._sweep()
    assert not old.exists() and new.is_file()


def test_mistakes_are_named(files, tmp_path, capsys):
    common = ["--support-set", "kept", "--output", str(tmp_path / "out"), "--port", "0"]
    key, _, _ = certificate("one")
    _, chain, _ = certificate("other")
    file = tmp_path / "ssl.config"
    file.write_text(f"server_key: {key!r} server_cert: {chain!r}")
    assert main([*common, "--ssl_config_file", str(file)]) == 1
    assert f"--ssl_config_file {file}: " in capsys.readouterr().err
    assert main([*common, "--send-ssl-root", str(files / "authority.pem")]) == 1
    assert "--send-ssl-root needs --send-to" in capsys.readouterr().err
    file.write_text("no certificate")
    with pytest.raises(ConfigFileError, match="ssl.config: .*expected an authority's certificate in PEM"):
        client_context(file)
    with pytest.raises(SystemExit):
        main([*common, "--max-object-bytes", "0"])
    assert "found '0'; expected a whole number of at least 1" in capsys.readouterr().err
