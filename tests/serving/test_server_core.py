"""Several models, version policies and labels, and changes of all of them while requests are answered."""

import re
import shutil
import threading

import grpc
import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

from serving.api.prediction_service import ModelService, PredictionService
from serving.client import Client, ServingError
from serving.errors import RpcError
from serving.models.config_files import ConfigFileError
from serving.models.model_manager import (
    AVAILABLE,
    END,
    LOADING,
    UNLOADING,
    LoadOptions,
    ModelManager,
    VersionPolicy,
)
from serving.models.server_core import ServerCore
from serving.server import create_server


@pytest.fixture
def versions(unwarmed_model, tmp_path):
    """A base path with the versions 1, 2 and 3 of one model."""
    for number in (1, 2, 3):
        shutil.copytree(unwarmed_model, tmp_path / "models" / str(number))
    return tmp_path / "models"


def config(text):
    return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (VersionPolicy(), [3]),
        (VersionPolicy(2), [3, 2]),
        (VersionPolicy(None), [3, 2, 1]),
        (VersionPolicy(None, (1, 3, 9)), [3, 1]),
    ],
)
def test_policies(versions, policy, expected):
    manager = ModelManager("panet", versions, 0, policy)
    manager.refresh()
    assert manager.available() == expected


def test_a_version_unloads_after_its_last_request(versions):
    shutil.rmtree(versions / "3")
    manager = ModelManager("panet", versions, 0)
    manager.refresh()
    with manager.lease() as leased:
        shutil.copytree(versions / "1", versions / "3")
        manager.refresh()
        assert (manager.available(), manager.states[2]) == ([3], (UNLOADING, ""))
        assert leased.number == 2 and leased.signatures
        with manager.lease() as newer:
            assert newer.number == 3
    assert manager.states[2] == (END, "") and manager.states[3] == (AVAILABLE, "")


def test_a_load_that_failed_is_tried_again(saved_model, tmp_path):
    """As `max_num_load_retries` says, and then only when the files change."""
    core = ServerCore([ModelManager("panet", tmp_path, 0, options=LoadOptions(retries=2, retry_seconds=0))])
    manager, spec = core.managers["panet"], model_pb2.ModelSpec(name="panet")
    manager.refresh()
    with pytest.raises(RpcError, match="Could not find any versions of model panet; expected a folder"):
        ModelService(core).status(get_model_status_pb2.GetModelStatusRequest(model_spec=spec))
    (tmp_path / "1").mkdir()
    for state, said in (
        (LOADING, "cannot be loaded.*tried again in 0 s .1 of 2., or when its files change"),
        (LOADING, "2 of 2"),
        (END, "; tried again when its files change"),
        (END, "; tried again when its files change"),
    ):
        manager.refresh()
        assert manager.states[1][0] == state and re.search(said, manager.states[1][1])
        assert manager.is_loading() == (state == LOADING)
    # One that is gone, or that nobody wants any more, is not waited for.
    (tmp_path / "2").mkdir()
    manager.refresh()
    assert manager.states[2][0] == LOADING
    (tmp_path / "2").rmdir()
    manager.refresh()
    assert manager.states[2][0] == END and not manager.is_loading()

    # A folder that is looked at once is tried again, too.
    shutil.copytree(saved_model, tmp_path / "1", dirs_exist_ok=True)
    tries, serves = [], threading.Event()

    def fail_once(version):
        tries.append(version.number)
        if len(tries) == 1:
            raise OSError("the disk is away")

    again = ModelManager("panet", tmp_path, 0, None, None, fail_once, LoadOptions(retries=1, retry_seconds=0))
    again.on_change = lambda: again.available() and serves.set()
    again.start()
    assert serves.wait(60) and again.states[1] == (AVAILABLE, "")


def test_labels_and_reload_over_grpc(versions, episode):
    core = ServerCore(poll_seconds=0)
    server, port = create_server(PredictionService(core), "127.0.0.1", 0)
    address = f"127.0.0.1:{port}"
    inputs, _ = episode(1, 1, 1, (32, 32))
    with grpc.insecure_channel(address) as channel:
        models = model_service_pb2_grpc.ModelServiceStub(channel)

        def reload(text):
            models.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest(config=config(text)))

        both = f"""model_config_list {{ config {{ name: "panet" base_path: "{versions}" model_platform: "tensorflow"
            model_version_policy {{ specific {{ versions: 1 versions: 3 }} }}
            version_labels {{ key: "stable" value: 1 }} version_labels {{ key: "canary" value: 3 }} }} }}"""
        reload(both)
        with (
            Client(address, version_label="stable") as stable,
            Client(address, version_label="gamma") as wrong,
        ):
            assert stable.call("serving_default", inputs)["masks"].shape == (1, 1, 32, 32)
            with pytest.raises(ServingError, match=r"label: gamma; panet has the labels \{.*'stable': 1"):
                wrong.call("serving_default", inputs)
        status = get_model_status_pb2.GetModelStatusRequest()
        status.model_spec.name, status.model_spec.version_label = "panet", "canary"
        assert [s.version for s in models.GetModelStatus(status).model_version_status] == [3]

        # A wrong request changes nothing, and a right one after it does (tensorflow/serving#2189).
        for text, message in (
            (
                'model_config_list { config { name: "a" base_path: "/nowhere" } }',
                "base_path /nowhere is no folder",
            ),
            ('model_config_list { config { name: "a" base_path: "models" } }', "expected an absolute path"),
            (f'model_config_list {{ config {{ base_path: "{versions}" }} }}', "expected a name of its own"),
            (
                both.replace("value: 3", "value: 2"),
                "label canary is for version 2, which is not available yet",
            ),
        ):
            with pytest.raises(grpc.RpcError, match=message):
                reload(text)
            assert sorted(core.managers) == ["panet"] and core.managers["panet"].available() == [3, 1]
        # Rollback by label, and a second model beside the first.
        second = f'config {{ name: "second" base_path: "{versions}" }}'
        reload(
            both.replace("value: 3", "value: 1").replace(
                "model_config_list {", "model_config_list { " + second
            )
        )
        assert core.managers["panet"].labels == {"stable": 1, "canary": 1}
        with Client(address, "second") as client:
            assert client.call("serving_default", inputs, version=3)["masks"].shape == (1, 1, 32, 32)
        reload("model_config_list { " + second + " }")
        with Client(address) as client, pytest.raises(ServingError, match=r"this server has \['second'\]"):
            client.call("serving_default", inputs)
    server.stop(0)


def test_a_config_file_is_read_again(versions, tmp_path):
    file = tmp_path / "models.config"
    line = 'model_config_list {{ config {{ name: "{}" base_path: "{}" }} }}'
    file.write_text(line.format("first", versions))
    core = ServerCore(poll_seconds=0)
    core.watch_file(file, 0.05)
    assert list(core.managers) == ["first"]
    changed = threading.Event()
    file.write_text("model_config_list { config { nmae: 1 } }")  # logged; the old one holds
    changed.wait(0.3)
    assert list(core.managers) == ["first"]
    file.write_text(line.format("second", versions))
    for _ in range(600):
        if list(core.managers) == ["second"]:
            break
        changed.wait(0.05)
    assert list(core.managers) == ["second"]
    core.stop()
    file.write_text("model_config_list { config { nmae: 1 } }")
    with pytest.raises(
        ConfigFileError, match=r'models.config: line 1:.*"nmae".*with the fields model_config_list'
    ):
        ServerCore().watch_file(file, 0)


def test_rpcs_for_other_signatures_answer_as_tensorflow_serving_does(unwarmed_model, tmp_path):
    shutil.copytree(unwarmed_model, tmp_path / "1")
    service = PredictionService(ServerCore([ModelManager("panet", tmp_path, 0).start()]))
    server, port = create_server(service, "127.0.0.1", 0)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = classification_pb2.ClassificationRequest()
        request.model_spec.name = "panet"
        message = "classification signature method_name to be tensorflow/serving/classify. Was: tensorflow/serving/predict"
        with pytest.raises(grpc.RpcError, match=message):
            stub.Classify(request)
        tasks = inference_pb2.MultiInferenceRequest()
        with pytest.raises(grpc.RpcError, match="at least one task"):
            stub.MultiInference(tasks)
        tasks.tasks.add(method_name="tensorflow/serving/regress").model_spec.name = "panet"
        with pytest.raises(grpc.RpcError, match="regression signature method_name"):
            stub.MultiInference(tasks)

        from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        [answer] = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([ask]))
        names = {service.name for service in answer.list_services_response.service}
        assert {
            "tensorflow.serving.PredictionService",
            "tensorflow.serving.ModelService",
            "grpc.health.v1.Health",
        } <= names
    server.stop(0)


def test_a_support_set_is_named_by_the_client(unwarmed_model, phantom, tmp_path):
    from serving.models.support_sets import SupportSets

    shutil.copytree(unwarmed_model, tmp_path / "models" / "1")
    pairs = tmp_path / "sets" / "clinic"
    pairs.mkdir(parents=True)
    shutil.copy(f"{phantom}/images/PHAA_000.png", pairs / "a.png")
    shutil.copy(f"{phantom}/masks/PHAA_000.png", pairs / "a_mask.png")
    (tmp_path / "sets" / "broken").mkdir()
    shutil.copy(f"{phantom}/images/PHAA_000.png", tmp_path / "sets" / "broken")
    sets = SupportSets(tmp_path / "sets", (64, 64))
    manager = ModelManager("panet", tmp_path / "models", 0, on_load=sets.encode).start()
    server, port = create_server(PredictionService(ServerCore([manager])), "127.0.0.1", 0)
    query = f"{phantom}/images/PHAC_001.png"
    with Client(f"127.0.0.1:{port}", size=(64, 64)) as client:
        sent = client.set_support([str(pairs / "a.png")], [str(pairs / "a_mask.png")]).predict(query)
        named = client.use_support_set("clinic").predict(query)
        np.testing.assert_allclose(named.probability, sent.probability, atol=1e-6)
        with pytest.raises(
            ServingError, match=r"NOT_FOUND: support set 'broken' is unknown; this server has \['clinic'\]"
        ):
            client.use_support_set("broken").predict(query)
        # A second shot is seen at the next look at the folder.
        shutil.copy(f"{phantom}/images/PHAC_000.png", pairs / "b.png")
        shutil.copy(f"{phantom}/masks/PHAC_000.png", pairs / "b_mask.png")
        manager.refresh()
        again = client.use_support_set("clinic").predict(query)
        assert np.abs(again.probability - named.probability).max() > 1e-6
        # So are frames without lesion; they count as those that a client sends, and an empty mask beside one
        # is no frame.
        (pairs / "normals").mkdir()
        normal = pairs / "normals" / "n.png"
        shutil.copy(f"{phantom}/images/PHAA_002.png", normal)
        shutil.copy(f"{phantom}/masks/PHAA_002.png", pairs / "normals" / "n_mask.png")
        manager.refresh()
        with_normal = client.use_support_set("clinic").predict(query)
        images, masks = ([str(pairs / f"{name}{end}.png") for name in "ab"] for end in ("", "_mask"))
        sent = client.set_support(images, masks, normals=[str(normal)]).predict(query)
        np.testing.assert_allclose(with_normal.probability, sent.probability, atol=1e-6)
        assert np.abs(with_normal.probability - again.probability).max() > 1e-6
    server.stop(0)


def test_support_sets_are_read_as_people_name_them_and_faults_are_said_once(phantom, tmp_path, caplog):
    """Endings and accents of any kind; a fault is in the log once for each version, until the folder
    changes."""
    import unicodedata

    from serving.models.model_manager import Version
    from serving.models.support_sets import SupportSets, read_set

    composed, apart = (unicodedata.normalize(form, "Ärzte") for form in ("NFC", "NFD"))
    sets = tmp_path / "sets"
    for folder in (apart, "broken"):
        (sets / folder).mkdir(parents=True)
        shutil.copy(f"{phantom}/images/PHAA_000.png", sets / folder / "Fall ü.png")
    shutil.copy(f"{phantom}/masks/PHAA_000.png", sets / apart / "Fall ü_MASK.PNG")
    images, masks = read_set(sets / apart, (32, 48))
    assert images.shape == (1, 1, 1, 32, 48, 3) and masks.numpy().max() == 1

    shapes = []
    encode = {
        "encode_support": lambda support_images, support_masks: shapes.append(support_images.shape) or {}
    }
    version, reader = Version(1, None, encode, {}), SupportSets(sets, (32, 48))
    for _ in range(3):
        reader.encode(version)
    assert list(version.supports) == [composed] and shapes == [(1, 1, 1, 32, 48, 3)]
    [fault] = [record.message for record in caplog.records]
    assert (
        "support set broken" in fault
        and "broken: Fall ü.png has no mask (Fall ü_mask.png). Add what is missing" in fault
    )
    shutil.copy(f"{phantom}/masks/PHAA_000.png", sets / "broken" / "Fall ü_mask_1.tiff")
    shutil.copy(f"{phantom}/images/PHAC_000.png", sets / "broken" / "Fall ü_mask_2.png")
    for _ in range(2):
        reader.encode(version)
    assert len(caplog.records) == 2 and "Fall ü_mask_2.png: 256 levels all over the frame" in caplog.text
    (sets / "broken" / "Fall ü_mask_2.png").unlink()
    reader.encode(version)
    assert sorted(version.supports) == ["broken", composed] and len(caplog.records) == 2
    shutil.rmtree(sets)
    for _ in range(2):
        reader.encode(version)
    assert sorted(version.supports) == ["broken", composed] and len(caplog.records) == 3
