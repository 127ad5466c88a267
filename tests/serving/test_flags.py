"""Every flag of tensorflow_model_server is taken: it does something, or a line says that it does nothing
here."""

import logging

import pytest

from serving.flags import WITHOUT_EFFECT, parse_flags, warn_without_effect

# tensorflow_serving/model_servers/main.cc of release 2.16 and later.
REAL = {
    "port": "8500",
    "grpc_socket_path": "/tmp/panet.sock",
    "rest_api_port": "8501",
    "rest_api_num_threads": "4",
    "rest_api_timeout_in_ms": "1000",
    "rest_api_enable_cors_support": "true",
    "enable_batching": "true",
    "allow_version_labels_for_unavailable_models": "true",
    "force_allow_any_version_labels_for_unavailable_models": "false",
    "batching_parameters_file": "batching.txt",
    "enable_per_model_batching_parameters": "true",
    "model_config_file": "models.config",
    "model_config_file_poll_wait_seconds": "30",
    "model_name": "panet",
    "model_base_path": "/models/panet",
    "num_load_threads": "2",
    "num_unload_threads": "2",
    "max_num_load_retries": "5",
    "load_retry_interval_micros": "60000000",
    "file_system_poll_wait_seconds": "1",
    "flush_filesystem_caches": "true",
    "tensorflow_session_parallelism": "2",
    "tensorflow_session_config_file": "session.txt",
    "tensorflow_intra_op_parallelism": "2",
    "tensorflow_inter_op_parallelism": "2",
    "use_alts_credentials": "false",
    "ssl_config_file": "ssl.config",
    "platform_config_file": "platform.txt",
    "per_process_gpu_memory_fraction": "0.5",
    "saved_model_tags": "serve",
    "grpc_channel_arguments": "grpc.max_connection_age_ms=2000",
    "grpc_max_threads": "8",
    "enable_model_warmup": "false",
    "num_request_iterations_for_warmup": "2",
    "monitoring_config_file": "monitoring.config",
    "remove_unused_fields_from_bundle_metagraph": "true",
    "prefer_tflite_model": "false",
    "num_tflite_pools": "1",
    "num_tflite_interpreters_per_pool": "1",
    "enable_signature_method_name_check": "false",
    "xla_cpu_compilation_enabled": "false",
    "xla_gpu_compilation_enabled": "false",
    "enable_profiler": "true",
    "thread_pool_factory_config_file": "pool.txt",
    "mixed_precision": "bfloat16",
    "skip_initialize_tpu": "true",
    "enable_grpc_healthcheck_service": "true",
    "enable_serialization_as_tensor_content": "true",
}
OUR_OWN = {
    "audit_log",
    "audit_log_files",
    "audit_log_max_bytes",
    "host",
    "max_queued_requests",
    "require_signature",
    "statistics_dir",
    "statistics_files",
    "statistics_period_secs",
    "support_dir",
    "support_size",
    "version",
}


def test_every_flag_of_the_real_server_is_taken(caplog):
    flags = parse_flags([f"--{name}={value}" for name, value in REAL.items()])
    found = set(vars(flags)) - {"channel_options"}
    assert found == set(REAL) | OUR_OWN
    assert (flags.rest_api_num_threads, flags.enable_model_warmup, flags.tensorflow_intra_op_parallelism) == (
        4,
        False,
        2,
    )
    assert (flags.max_num_load_retries, flags.load_retry_interval_micros) == (5, 60_000_000)
    with caplog.at_level(logging.WARNING, "serving"):
        warn_without_effect(flags)
    assert [record.message.split("=")[0] for record in caplog.records] == [
        f"--{name}" for name in WITHOUT_EFFECT
    ]
    assert all("has no effect here: " in record.message for record in caplog.records)


def test_flags_of_truth_need_no_value_and_nothing_is_said_of_what_was_not_given(caplog):
    flags = parse_flags(["--enable_batching", "--rest_api_enable_cors_support", "--prefer_tflite_model"])
    assert flags.enable_batching and flags.rest_api_enable_cors_support and flags.enable_model_warmup
    warn_without_effect(flags)
    assert [record.message.split("=")[0] for record in caplog.records] == ["--prefer_tflite_model"]


def test_version_is_printed(capsys):
    with pytest.raises(SystemExit) as end:
        parse_flags(["--version"])
    assert end.value.code == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        "PANet-BUS ModelServer",
        "TensorFlow Library",
        "gRPC",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port=70000"], "found '70000'; expected a port from 0 to 65535"),
        (["--rest_api_timeout_in_ms=0"], "found '0'; expected a whole number of at least 1"),
        (["--max_num_load_retries=-1"], "found '-1'; expected a whole number of at least 0"),
        (["--enable_model_warmup=maybe"], "found 'maybe'; expected true or false"),
        (["--port=8500", "--rest_api_port=8500"], "both 8500; each needs one of its own"),
        (["--batching_parameters_file=x"], "needs --enable_batching"),
        (["--require_signature=key.pub"], "the shipped model is not signed"),
        (["--modell_name=panet"], "unrecognized arguments: --modell_name=panet"),
    ],
)
def test_wrong_flags_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        parse_flags(arguments)
    assert end.value.code == 2 and message in capsys.readouterr().err
