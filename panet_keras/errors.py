"""The errors of panet_keras, in one place.

ValueError
└── PANetError              an argument or input that the library refuses
    ├── ImageError          one picture that cannot be decoded exactly
    │   └── MaskColourError a mask with a colour that stands for nothing
    └── DataError           a data set with problems; lists all of them
ImportError
└── KerasSettingsError      Keras is set to another backend, image format or float type
UserWarning
└── DataWarning             data that is used, after a repair that the message states
    ├── MaskSizeWarning     the mask was stretched to its image's size
    └── MixedColourWarning  mixed colours of a mask went to the nearest legal one
"""


class PANetError(ValueError):
    """An argument or input that the library refuses."""


class ImageError(PANetError):
    """A picture that cannot be decoded exactly; names the file, what came, what was expected, and the
    mend."""


class MaskColourError(ImageError):
    """A mask with a colour that is neither legal nor a mix of two legal ones."""


class DataError(PANetError):
    """A data set with problems.

    Args:
        where: the folder or file.
        problems: one line each; all that were found, not the first.
    """

    def __init__(self, where, problems):
        self.where, self.problems = where, list(problems)
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"{where}: {len(self.problems)} problem(s)\n{lines}")

    def __reduce__(self):
        # An error that cannot be made anew from its pickle ends a pool of processes, or hangs it.
        return type(self), (self.where, self.problems)


class KerasSettingsError(ImportError):
    """Keras is set to something that the library cannot run with; names the file or variable, and the
    mend."""


class DataWarning(UserWarning):
    """Data that is used after a repair; the message states it."""


class MaskSizeWarning(DataWarning):
    """A mask was stretched to its image's size."""


class MixedColourWarning(DataWarning):
    """Mixed colours of a mask went to the nearest legal one."""
