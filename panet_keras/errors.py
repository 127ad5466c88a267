"""The errors of panet_keras, in one place.

ValueError
└── PANetError              an argument or input that the library refuses
    ├── ImageError          one picture that cannot be decoded exactly
    └── DataError           a data set with problems; lists all of them
UserWarning
└── DataWarning             data that is used, after a repair that the message states
"""


class PANetError(ValueError):
    """An argument or input that the library refuses."""


class ImageError(PANetError):
    """A picture that cannot be decoded exactly; names the file, what came, what was expected, and the mend."""


class DataError(PANetError):
    """A data set with problems.

    Args:
        where: the folder or file.
        problems: one line each; all that were found, not the first.
    """

    def __init__(self, where, problems):
        self.problems = list(problems)
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"{where}: {len(self.problems)} problem(s)\n{lines}")


class DataWarning(UserWarning):
    """Data that is used after a repair; the message states it."""
