"""The eight stages, one file each."""

from pipeline.components.evaluator import Evaluator
from pipeline.components.example_gen import ExampleGen
from pipeline.components.example_validator import ExampleValidator
from pipeline.components.infra_validator import InfraValidator
from pipeline.components.pusher import Pusher
from pipeline.components.schema_gen import SchemaGen
from pipeline.components.statistics_gen import StatisticsGen
from pipeline.components.trainer import Trainer

__all__ = [
    "Evaluator",
    "ExampleGen",
    "ExampleValidator",
    "InfraValidator",
    "Pusher",
    "SchemaGen",
    "StatisticsGen",
    "Trainer",
]
