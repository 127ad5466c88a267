"""A served model, made once a session, and ways to ask it."""

import http.client
import json
import shutil

import pytest


@pytest.fixture(scope="session")
def base_path(saved_model, tmp_path_factory):
    """Folder with the session's model as version 1."""
    base = tmp_path_factory.mktemp("models")
    shutil.copytree(saved_model, base / "1")
    return base


@pytest.fixture(scope="session")
def unwarmed_model(saved_model, tmp_path_factory):
    """The session's model without its warm-up requests, which take longer than to load it: for tests that
    load it again and again."""
    from serving.models.warmup import FILE

    ignore = shutil.ignore_patterns(FILE.rpartition("/")[2])
    return shutil.copytree(saved_model, tmp_path_factory.mktemp("unwarmed") / "1", ignore=ignore)


@pytest.fixture(scope="session")
def predictions():
    """Makes the service over one model, named panet: `predictions(base_path, batcher=..., metrics=...)`."""
    from serving.api.prediction_service import PredictionService
    from serving.models.model_manager import ModelManager
    from serving.models.server_core import ServerCore

    def make(base_path, **options):
        return PredictionService(ServerCore([ModelManager("panet", base_path, 0).start()]), **options)

    return make


@pytest.fixture(scope="session")
def preset_cache(tmp_path_factory):
    """Cache folder in which the server has exported the shipped preset, by the command line, and the preset's
    base path."""
    from serving.models.default_model import model_base_path

    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        return cache, model_base_path()


@pytest.fixture(scope="session")
def service(base_path, predictions):
    """The service over the session's model, loaded once, for any number of doors."""
    return predictions(base_path)


@pytest.fixture(scope="session")
def server(base_path, service):
    """Port of a gRPC server in this process."""
    from serving.server import create_server, parse_flags

    flags = parse_flags(["--model_base_path", str(base_path)])
    running, port = create_server(service, "127.0.0.1", 0, flags.channel_options)
    yield port
    running.stop(0)


@pytest.fixture(scope="session")
def rest(base_path, predictions):
    """Port of a REST server in this process, with metrics."""
    from serving.api.monitoring import Metrics
    from serving.api.rest import create_rest_server

    service = predictions(base_path, metrics=Metrics())
    server, port = create_rest_server(service, "127.0.0.1", 0, timeout=5.0, metrics_path="/metrics")
    yield port
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def ask():
    """Asks a REST server: `ask(port, method, path, body, headers)` gives status code and decoded JSON (None
    for no body)."""

    def send(port, method, path, body=None, headers=None, host="127.0.0.1"):
        connection = http.client.HTTPConnection(host, port, timeout=60)
        body = (
            body if body is None or isinstance(body, bytes) or hasattr(body, "__next__") else json.dumps(body)
        )
        connection.request(method, path, body, headers or {}, encode_chunked=hasattr(body, "__next__"))
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, json.loads(content) if content else None

    return send
