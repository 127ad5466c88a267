"""`--require_signature`: only what was signed with the key, and is as it was then, is served."""

import json
import shutil

import pytest

from serving.models.model_manager import AVAILABLE, END, LoadOptions, ModelManager
from serving.models.signatures import NAME, SignatureCheck, SignatureError


@pytest.fixture
def signed(signing_keys, tmp_path, monkeypatch):
    """A signed folder, and its check; nothing of it goes over a network."""
    import socket

    from pipeline.papers.signing import sign

    def refuse(*arguments):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    folder = tmp_path / "1"
    (folder / "variables").mkdir(parents=True)
    for name in ("saved_model.pb", "variables/variables.data", "model_card.json", ".hidden"):
        (folder / name).write_text(name)
    sign(folder, signing_keys / "ours.pem")
    return folder, SignatureCheck(signing_keys / "ours.pub")


def add(folder):
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("x")


def forge(folder):
    """Changes a file, and its digest in the signature."""
    import base64

    content = json.loads((folder / NAME).read_text())
    payload = base64.b64decode(content["dsseEnvelope"]["payload"]).replace(
        b"model_card.json", b"other_card.json"
    )
    content["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    (folder / NAME).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda f: (f / "variables" / "variables.data").write_text("x"), "changed: variables/variables.data"),
        (lambda f: (f / "model_card.json").unlink(), "missing: model_card.json"),
        (add, "added: .git/config"),
        (lambda f: (f / ".hidden").write_text("x"), "changed: .hidden"),
        (lambda f: (f / NAME).unlink(), f"it has no {NAME}; python -m pipeline sign"),
        (lambda f: (f / NAME).write_text("{}"), f"{NAME} is no signature that"),
        (lambda f: (f / NAME).write_text("no JSON"), f"{NAME} is no signature that"),
        (forge, f"{NAME} is no signature that"),
    ],
)
def test_what_differs_is_named(signed, alter, message):
    folder, check = signed
    check(folder)
    alter(folder)
    with pytest.raises(SignatureError) as caught:
        check(folder)
    assert message in str(caught.value) and str(folder) in str(caught.value)


def test_another_key_is_told_from_an_alteration(signed, signing_keys):
    folder, _ = signed
    with pytest.raises(SignatureError, match="was made with another key than that of .*theirs.pub"):
        SignatureCheck(signing_keys / "theirs.pub")(folder)


@pytest.mark.parametrize("key", ["ours.pem", "nobody.pub"])
def test_a_key_that_is_none_is_refused_at_the_start(signing_keys, key, tmp_path, capsys):
    from serving.server import serve

    arguments = ["--port=0", f"--model_base_path={tmp_path}", f"--require_signature={signing_keys / key}"]
    assert serve(arguments) == 1
    said = capsys.readouterr().err
    assert str(signing_keys / key) in said and "expected a public key in PEM form" in said


def test_the_version_before_serves_on(signing_keys, saved_model, tmp_path):
    from pipeline.papers.signing import sign

    options = LoadOptions(warm_up=False, check=SignatureCheck(signing_keys / "ours.pub"))
    first, second = tmp_path / "1", tmp_path / "2"
    shutil.copytree(saved_model, first)
    sign(first, signing_keys / "ours.pem")
    manager = ModelManager("panet", tmp_path, 0, options=options).start()
    assert manager.available() == [1]
    shutil.copytree(saved_model, second)

    def refused():
        manager.refresh()
        assert manager.available() == [1] and manager.states[1] == (AVAILABLE, "")
        state, message = manager.states[2]
        assert state == END
        return message

    assert "is not signed" in refused()
    sign(second, signing_keys / "theirs.pem")
    assert "made with another key" in refused()
    sign(second, signing_keys / "ours.pem")
    [weights] = (second / "variables").glob("variables.data*")
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert f"changed: variables/{weights.name}" in refused()
    weights.write_bytes(content)
    manager.refresh()
    assert manager.available() == [2]
    manager.stop()
