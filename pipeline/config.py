"""One typed configuration: a YAML file, changed by --set; an unknown key is refused and the nearest known one offered."""

import dataclasses
import difflib
import pathlib
import types
import typing

import yaml

from pipeline.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Data:
    """Where the images are and how they are split.

    Attributes:
        path: folder of the data set, or the CSV file.
        layout: `bus_uclm`, `bus_bra`, `busi`, `folder`, `csv`, `coco`, `labelme`, `nifti`, or `dicom` (whose salt is in the environment: PANET_DICOM_SALT).
        test_patients: identifiers of the patients to test on; empty draws them at random.
        test_share: share of the patients that is drawn then.
        split_seed: seed of that draw.
    """

    path: str = ""
    layout: str = "bus_uclm"
    test_patients: tuple[str, ...] = ()
    test_share: float = 0.34
    split_seed: int = 0


@dataclasses.dataclass(frozen=True)
class Run:
    """Where results go.

    Attributes:
        root: folder for artifacts, metadata, reports and pushed models.
        cache: whether unchanged stages are taken from earlier runs; without it all are executed, and later runs take these.
    """

    root: str = ""
    cache: bool = True


@dataclasses.dataclass(frozen=True)
class Beam:
    """Who does the work of ExampleGen and StatisticsGen; the results are the same.

    Attributes:
        runner: name of an Apache Beam runner, such as DirectRunner; empty writes Examples in this process, and computes statistics
            on the direct runner.
        options: Beam's flags, such as --direct_num_workers=2 and --direct_running_mode=multi_processing.
    """

    runner: str = ""
    options: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Validator:
    """What of the data stops a run.

    Attributes:
        schema: curated schema, empty for the committed one.
        stop_on_anomalies: whether an anomaly ends the run.
        go_on: anomalies that are reported and do not end it: names of `pipeline.validation.image_checks.ANOMALIES`, DATA_SKEW, DATA_DRIFT, or
            TFDV's own.
    """

    schema: str = ""
    stop_on_anomalies: bool = True
    go_on: tuple[str, ...] = ("MASK_SIZE", "MASK_MIXED_COLOURS", "FLAG_TELLS_LABEL", "DATA_SKEW", "DATA_DRIFT")


@dataclasses.dataclass(frozen=True)
class Trainer:
    """The model and how it learns; see `PANet`, `panet_keras.data.episodic.dataset`.

    Attributes:
        steps: optimizer steps in all. steps_per_epoch: steps between two points of the training curve (and checkpoints).
        size: height and width of the model's images, in pixels.
        strategy: tf.distribute strategy: empty for none, `mirrored` (all GPUs of this machine, or `devices` logical ones of its
            processor), or `multi_worker` (TF_CONFIG names the workers). Each replica takes its share of `batch_size` episodes.
        devices: logical devices to cut the processor into, for `mirrored` without GPUs.
        superpixel_episodes: share of self-supervised episodes at the start, which falls to a tenth of it: regions first, lesions last.
        learning_rate: peak; 5 % of the steps warm up, then it falls along a cosine.
    """

    encoder: str = "efficientnet_lite0"
    weights: str = "auto"
    prototype: str = "mean"
    refine: bool = False
    decoder: str = "unet"
    prior_masks: bool = True
    align_weight: float = 1.0
    contrast_weight: float = 0.3
    contrast_elsewhere: bool = True
    encoder_rate: float = 0.2
    size: int = 256
    ways: int = 1
    shots: int = 1
    queries: int = 1
    batch_size: int = 4
    normal_queries: float = 0.1
    superpixel_episodes: float = 0.0
    pasted_lesions: float = 0.3
    invented_lesions: float = 0.15
    balanced: bool = True
    augment: bool = True
    steps: int = 1000
    steps_per_epoch: int = 100
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    seed: int = 0
    strategy: str = ""
    devices: int = 1


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """The protocol and the conditions of the blessing.

    Attributes:
        shots: numbers of shots, each a row. repeats: supports drawn for each query. seed: of the episode list.
        protocols: further rows at one shot, of `panet_keras.evaluation.PROTOCOLS`.
        min_dice: lowest mean Dice at the first number of shots that is blessed.
        max_drop: how far that Dice may lie below the last blessed model's on the same images.
    """

    shots: tuple[int, ...] = (1, 5)
    repeats: int = 5
    seed: int = 0
    protocols: tuple[str, ...] = ("same-patient", "moved-support", "other-label", "two-way", "superpixel")
    min_dice: float = 0.5
    max_drop: float = 0.02


@dataclasses.dataclass(frozen=True)
class InfraValidator:
    """Attributes: timeout: seconds for the server to start and answer. tolerance: largest difference of a probability."""

    timeout: float = 120.0
    tolerance: float = 1e-4


@dataclasses.dataclass(frozen=True)
class Pusher:
    """Attributes: destination: folder of version folders, empty for RUN_ROOT/serving/MODEL_NAME. model_name: for serving."""

    destination: str = ""
    model_name: str = "panet"


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything a run is told."""

    data: Data = Data()
    run: Run = Run()
    beam: Beam = Beam()
    validator: Validator = Validator()
    trainer: Trainer = Trainer()
    evaluator: Evaluator = Evaluator()
    infra_validator: InfraValidator = InfraValidator()
    pusher: Pusher = Pusher()


def load_config(path=None, settings=()):
    """Reads a YAML file and applies `key=value` settings.

    Args:
        path: YAML file; None starts from the defaults.
        settings: strings such as `"trainer.steps=100"`; the value is YAML.

    Returns:
        `Config`.

    Raises:
        ConfigError: no such file, not YAML, an unknown key, a value of another type, or `data.path` / `run.root` not set.
    """
    values = {}
    if path is not None:
        try:
            values = yaml.safe_load(pathlib.Path(path).read_text("utf-8")) or {}
        except FileNotFoundError:
            raise ConfigError(
                f"{path}: no such file; expected a YAML configuration, such as pipeline/configs/bus_uclm.yaml."
            ) from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not YAML: {error}") from None
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: found a {type(values).__name__}; expected sections: {', '.join(_fields(Config))}.")
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or key.count(".") != 1:
            raise ConfigError(f"--set {setting}: expected SECTION.KEY=VALUE, such as trainer.steps=100.")
        section, name = key.split(".")
        try:
            values.setdefault(section, {})[name] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {setting}: the value is not YAML: {error}") from None
    config = _build(Config, values, path or "configuration", "")
    for key, value in {"data.path": config.data.path, "run.root": config.run.root}.items():
        if not value:
            raise ConfigError(f"{key} is not set; give it in the file or with --set {key}=DIR.")
    return config


def _fields(kind):
    return {field.name: field for field in dataclasses.fields(kind)}


def _build(kind, values, where, prefix):
    fields, hints = _fields(kind), typing.get_type_hints(kind)
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: {prefix.rstrip('.')} is {values!r}; expected keys: {', '.join(fields)}.")
    built = {}
    for key, value in values.items():
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, 1, 0)
            raise ConfigError(f"{where}: unknown key {prefix}{key}; did you mean {prefix}{near[0]}? Known: {', '.join(fields)}.")
        hint = hints[key]
        if dataclasses.is_dataclass(hint):
            built[key] = _build(hint, value, where, f"{prefix}{key}.")
        else:
            built[key] = _value(hint, value, f"{where}: {prefix}{key}")
    return kind(**built)


def _value(hint, value, where):
    if isinstance(hint, types.GenericAlias):
        item = typing.get_args(hint)[0]
        values = value if isinstance(value, (list, tuple)) else [value]
        return tuple(_value(item, one, where) for one in values)
    if hint is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML 1.1 reads 1e-3 as a string
        except ValueError:
            pass
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise ConfigError(f"{where} is {value!r} ({type(value).__name__}); expected {hint.__name__}.")


def to_yaml(config):
    """YAML text of a configuration, which `load_config` reads back."""

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return list(value) if isinstance(value, tuple) else value

    return yaml.safe_dump(plain(dataclasses.asdict(config)), sort_keys=False, allow_unicode=True)
