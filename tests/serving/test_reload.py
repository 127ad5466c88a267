"""Versions, labels and configurations that change under the hands of clients; no SavedModel is loaded."""

import pathlib
import shutil
import threading

import grpc
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import model_management_pb2, model_pb2
from tensorflow_serving.config import model_server_config_pb2

from serving.api import tensors
from serving.api.open_inference import predict_request
from serving.api.prediction_service import ModelService
from serving.errors import RpcError
from serving.models import model_manager
from serving.models.model_manager import LoadOptions, ModelManager, Version
from serving.models.server_core import ServerCore
from serving.models.support_sets import SupportSets, read_set


@pytest.fixture
def loads(monkeypatch):
    """Loads nothing; what is in `broken` cannot be loaded, and `gate` is waited for."""

    class Loads:
        broken, gate, begun = set(), threading.Event(), threading.Event()

    loads = Loads()
    loads.broken, loads.gate, loads.begun = set(), threading.Event(), threading.Event()
    loads.gate.set()

    def load(number, path, options):
        loads.begun.set()
        assert loads.gate.wait(60)
        if path in loads.broken:
            raise OSError("half copied")
        return Version(number, None, {}, {})

    monkeypatch.setattr(model_manager, "load_version", load)
    monkeypatch.setattr(
        model_manager.memory, "give_back", lambda: None
    )  # nothing was taken, and it takes long
    yield loads
    loads.gate.set()


def folders(base, *names):
    for name in names:
        (base / str(name)).mkdir(parents=True)
        (base / str(name) / "saved_model.pb").write_text(str(name))
    return base


def config(base, policy="", labels=None, name="panet"):
    labels = "".join(f'version_labels {{ key: "{k}" value: {v} }}' for k, v in (labels or {}).items())
    text = f'config {{ name: "{name}" base_path: "{base}" {policy} {labels} }}'
    return text_format.Parse(f"model_config_list {{ {text} }}", model_server_config_pb2.ModelServerConfig())


def specific(*numbers):
    return f"model_version_policy {{ specific {{ {' '.join(f'versions: {n}' for n in numbers)} }} }}"


def answering(core, label):
    with core.lease(model_pb2.ModelSpec(name="panet", version_label=label)) as version:
        return version.number


def test_a_label_moves_when_its_version_serves(loads, tmp_path):
    base = folders(tmp_path, 1, 2, 3)
    core = ServerCore(poll_seconds=0)
    core.reload(config(base, specific(1), {"stable": 1}))
    loads.gate.clear()
    loads.begun.clear()
    moving = threading.Thread(target=core.reload, args=(config(base, specific(2), {"stable": 2}),))
    moving.start()
    assert loads.begun.wait(60) and answering(core, "stable") == 1  # version 2 takes its minute to load
    loads.gate.set()
    moving.join()
    assert answering(core, "stable") == 2 and core.managers["panet"].available() == [2]
    # One that cannot be loaded leaves the label where it was; what is served is said by the labels.
    loads.broken.add(base / "3")
    core.reload(config(base, specific(2, 3), {"stable": 3, "old": 2}))
    assert core.managers["panet"].labels == {"stable": 2, "old": 2} and answering(core, "stable") == 2
    loads.broken.clear()
    (base / "3" / "late").write_text("copied whole")
    core.managers["panet"].refresh()
    assert core.managers["panet"].labels == {"stable": 3, "old": 2}


def test_a_folder_that_is_away_unloads_nothing(loads, tmp_path, caplog):
    base = folders(tmp_path / "models", 1, 2)
    manager = ModelManager("panet", base, 0)
    manager.refresh()
    base.rename(tmp_path / "away")
    for _ in range(3):
        manager.refresh()
    assert manager.available() == [2] and caplog.text.count("serve stay; it is looked at again") == 1
    (tmp_path / "away").rename(base)
    folders(base, 3)
    manager.refresh()
    assert manager.available() == [3]
    for number in (1, 2, 3):
        shutil.rmtree(base / str(number))
    manager.refresh()
    assert manager.available() == []


def test_folders_whose_names_no_message_can_hold_are_no_versions(loads, tmp_path):
    """A nanosecond since 1970 is a version, and can be asked for; a number beyond int64 is none."""
    stamp, largest = 1732665600123456789, 2**63 - 1
    folders(tmp_path, stamp, largest, 2**63, "20261127023500123456", "٣", "-1", "1.0")
    manager = ModelManager("panet", tmp_path, 0, model_manager.VersionPolicy(None))
    manager.refresh()
    assert manager.available() == [largest, stamp]
    assert predict_request("panet", str(stamp)).model_spec.version.value == stamp
    assert predict_request("panet", str(2**63)).model_spec.version_label == str(2**63)


def test_files_that_vanish_while_they_are_looked_at(loads, tmp_path, monkeypatch):
    """As rsync's do, which have another name at first."""
    base = folders(tmp_path, 1)
    walk = model_manager.os.walk
    monkeypatch.setattr(
        model_manager.os,
        "walk",
        lambda path: [(place, [], [*names, ".x.Ab12"]) for place, _, names in walk(path)],
    )
    assert [name for name, *_ in model_manager._fingerprint(base / "1")] == ["saved_model.pb"]


def test_a_model_that_serves_is_not_given_up_for_one_that_does_not(loads, tmp_path):
    good, bad = folders(tmp_path / "good", 1), folders(tmp_path / "bad", 1)
    loads.broken.add(bad / "1")
    core = ServerCore(poll_seconds=0)
    core.reload(config(good))
    for base, said in ((bad, "half copied"), (folders(tmp_path / "empty", "x"), "there is none")):
        with pytest.raises(
            RpcError, match=f"no version in {base} serves .*{said}.*{good} serves on"
        ) as caught:
            core.reload(config(base))
        assert caught.value.code is grpc.StatusCode.FAILED_PRECONDITION
        assert core.managers["panet"].base_path == good and core.managers["panet"].available() == [1]


def test_a_reload_says_which_new_model_does_not_serve(loads, tmp_path):
    """As TensorFlow Serving's; the others are as asked."""
    core = ServerCore(poll_seconds=0)
    service = ModelService(core)
    base = folders(tmp_path, 1)
    both = config(base, name="good")
    both.model_config_list.config.extend(config(base, name="bad").model_config_list.config)
    loads.broken.add(base / "1")
    with pytest.raises(
        RpcError, match=r"2 servable\(s\) did not become available: .*'bad': .*half copied"
    ) as caught:
        service.reload(model_management_pb2.ReloadConfigRequest(config=both))
    assert caught.value.code is grpc.StatusCode.UNKNOWN and sorted(core.managers) == ["bad", "good"]
    loads.broken.clear()
    (base / "1" / "late").write_text("copied whole")
    service.reload(model_management_pb2.ReloadConfigRequest(config=both))


def test_an_empty_configuration_changes_nothing(loads, tmp_path, caplog):
    """As in TensorFlow Serving; a file is empty for the moment in which it is written."""
    core = ServerCore(poll_seconds=0)
    core.reload(config(folders(tmp_path, 1)))
    empty = model_server_config_pb2.ModelServerConfig()
    core.reload(empty)
    with pytest.raises(RpcError, match="expected a model_config_list") as caught:
        ModelService(core).reload(model_management_pb2.ReloadConfigRequest(config=empty))
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert core.managers["panet"].available() == [1] and "nothing is changed" in caplog.text
    empty.model_config_list.SetInParent()
    core.reload(empty)
    assert not core.managers


def test_a_configuration_is_tried_again_for_what_it_names_may_come_later(loads, tmp_path, caplog):
    base, later, file = folders(tmp_path / "models", 1), tmp_path / "later", tmp_path / "models.config"
    file.write_text(text_format.MessageToString(config(base)))
    core = ServerCore(poll_seconds=0, options=LoadOptions(retry_seconds=0.0))
    core.watch_file(file, 0.01)
    file.write_text(text_format.MessageToString(config(later)))
    wait(lambda: "is no folder" in caplog.text)
    threading.Event().wait(0.1)
    assert core.managers["panet"].base_path == base and caplog.text.count("is no folder") == 1
    folders(later, 5)
    wait(lambda: core.managers["panet"].base_path == later)
    core.stop()
    assert pathlib.Path(core.managers["panet"].base_path) == later


def wait(true):
    for _ in range(2000):
        if true():
            return
        threading.Event().wait(0.01)
    raise AssertionError("waited in vain")


def test_a_set_that_is_being_changed_serves_on_as_it_was(phantom, tmp_path, caplog, monkeypatch):
    def copy(kind, number, name):
        shutil.copy(phantom / kind / f"{number}.png", tmp_path / "clinic" / name)

    (tmp_path / "clinic").mkdir()
    copy("images", "PHAA_000", "a.png")
    copy("masks", "PHAA_000", "a_mask.png")
    encode = {"encode_support": lambda support_images, support_masks: {"shots": support_images.shape[2]}}
    version, sets = Version(1, None, encode, {}), SupportSets(tmp_path, (32, 32))
    sets.encode(version)
    copy("images", "PHAC_000", "b.png")  # its mask is on its way
    for _ in range(2):
        sets.encode(version)
        assert version.supports["clinic"][1] == {"shots": 1}
    [fault] = [record.getMessage() for record in caplog.records]
    assert "b.png has no mask" in fault and fault.endswith("; it serves on as it was before")
    copy("masks", "PHAC_000", "b_mask.png")
    # A disk that is away for a moment is asked again, though no file has changed, and complained of once.
    with monkeypatch.context() as patch:
        patch.setattr("serving.models.support_sets.read_set", lambda *_: open(tmp_path / "stale"))
        for _ in range(2):
            sets.encode(version)
    assert len(caplog.records) == 2
    sets.encode(version)
    assert version.supports["clinic"][1] == {"shots": 2}
    shutil.rmtree(tmp_path / "clinic")
    sets.encode(version)
    assert version.supports == {}


def test_a_support_set_that_no_request_may_have_is_refused_unread(phantom, tmp_path, monkeypatch):
    for number in range(3):
        for kind, ending in (("images", ""), ("masks", "_mask")):
            shutil.copy(phantom / kind / "PHAA_000.png", tmp_path / f"{number}{ending}.png")
    monkeypatch.setattr(tensors, "MAX_PIXELS", 3 * 64 * 64 - 1)
    with pytest.raises(ValueError, match="3 pictures of 64 x 64: the images have 12,288 pixels; the limit"):
        read_set(tmp_path, (64, 64))
    assert read_set(tmp_path, (32, 32))[0].shape == (1, 1, 3, 32, 32, 3)


def test_a_model_of_another_kind_has_no_support_sets(tmp_path, caplog):
    (tmp_path / "clinic").mkdir()
    version = Version(1, None, {"serving_default": None}, {})
    SupportSets(tmp_path).encode(version)
    assert version.supports == {} and not caplog.records
