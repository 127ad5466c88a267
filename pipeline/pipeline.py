"""The graph."""

import dataclasses
import hashlib
import os
import pathlib

from pipeline.components import (
    Evaluator,
    ExampleGen,
    ExampleValidator,
    InfraValidator,
    Pusher,
    SchemaGen,
    StatisticsGen,
    Trainer,
)

SCHEMA = pathlib.Path(__file__).parent / "schema" / "bus_uclm.pbtxt"
PRESETS = pathlib.Path(__file__).parent.parent / "panet_keras" / "presets"
"""As `panet_keras.presets.FOLDER`, whose import starts TensorFlow."""
PACKAGED = ("auto", "hed", "imagenet")
"""Names of weights that come from packages (`panet_keras.encoders.get`)."""


def create_pipeline(config):
    """Nodes of the pipeline in the order of their dependencies.

    ExampleGen -> StatisticsGen -> SchemaGen -> ExampleValidator -> Trainer -> Evaluator -> InfraValidator ->
    Pusher

    Args:
        config: `Config`.

    Returns:
        List of `Node`.
    """
    data, trainer = config.data, config.trainer
    example_gen = ExampleGen(
        data_path=data.paths,
        layout=data.layout,
        # Not their shares, with which the Examples do not change.
        sources=tuple({"name": source.name, "layout": source.layout} for source in data.sources),
        test_patients=data.test_patients,
        test_share=data.test_share,
        split_seed=data.split_seed,
        engine=dataclasses.asdict(config.beam),
        salt=_salt(data),
    )
    statistics_gen = StatisticsGen(examples=example_gen["examples"], engine=dataclasses.asdict(config.beam))
    schema_gen = SchemaGen(
        statistics=statistics_gen["statistics"],
        schema_file=str(pathlib.Path(config.validator.schema or SCHEMA).resolve()),
    )
    example_validator = ExampleValidator(
        examples=example_gen["examples"],
        statistics=statistics_gen["statistics"],
        schema=schema_gen["schema"],
        stop_on_anomalies=config.validator.stop_on_anomalies,
        go_on=config.validator.go_on,
    )
    training = Trainer(
        examples=example_gen["examples"],
        settings=_trainer_settings(config),
        weights=starting_weights(trainer.recipe),
    )
    evaluator = Evaluator(
        examples=example_gen["examples"],
        model=training["model"],
        settings=dataclasses.asdict(config.evaluator),
        size=trainer.recipe.episodes.size,
    )
    infra_validator = InfraValidator(
        examples=example_gen["examples"],
        model=training["model"],
        size=trainer.recipe.episodes.size,
        timeout=config.infra_validator.timeout,
        tolerance=config.infra_validator.tolerance,
    )
    destination = config.pusher.destination or str(
        pathlib.Path(config.run.root) / "serving" / config.pusher.model_name
    )
    pusher = Pusher(
        model=training["model"],
        blessing=evaluator["blessing"],
        infra_blessing=infra_validator["blessing"],
        evaluation=evaluator["evaluation"],
        examples=example_gen["examples"],
        destination=str(pathlib.Path(destination).resolve()),
        signing_key=config.pusher.signing_key and str(pathlib.Path(config.pusher.signing_key).resolve()),
        acceptance=tuple(
            str(pathlib.Path(path).resolve()) for path in (config.pusher.require_acceptance,) if path
        ),
    )
    return [
        example_gen,
        statistics_gen,
        schema_gen,
        example_validator,
        training,
        evaluator,
        infra_validator,
        pusher,
    ]


def starting_weights(recipe):
    """Paths of the weights that a recipe's training begins from, a tuple: a preset's folder, shipped or one's own, and
    a file; whether they are there or not. What comes from a package has its version in the cache key."""
    shipped, weights = PRESETS / recipe.start_from, recipe.model.get("weights")
    paths = (
        [shipped if (shipped / "preset.json").is_file() else recipe.start_from] if recipe.start_from else []
    )
    paths += [weights] if weights not in (None, *PACKAGED) else []
    return tuple(str(pathlib.Path(path).resolve()) for path in paths)


def _salt(data):
    """A few digits of what DICOM patients are hashed with: another salt gives other patients, from the same files."""
    layouts = {source.layout for source in data.sources} or {data.layout}
    salt = os.environ.get("PANET_DICOM_SALT", "") if "dicom" in layouts else ""
    return salt and hashlib.sha256(salt.encode(errors="surrogateescape")).hexdigest()[:8]


def _trainer_settings(config):
    """Fields of the Trainer, with the sources' shares where its recipe has none."""
    settings = dataclasses.asdict(config.trainer)
    episodes = settings["recipe"]["episodes"]
    episodes["source_shares"] = episodes["source_shares"] or config.data.shares
    return settings
