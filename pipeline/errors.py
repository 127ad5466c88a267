"""The errors of the pipeline, in one place.

Exception
└── PipelineError           a run that cannot go on; the message says where, what was found, what was expected, the mend
    ├── ConfigError         a configuration file or --set that is refused
    └── MetadataError       the metadata database cannot be used
"""


class PipelineError(Exception):
    """A run that cannot go on."""


class ConfigError(PipelineError):
    """A configuration that is refused."""


class MetadataError(PipelineError):
    """A metadata database that cannot be used."""
