"""The command line: one file a command, and what the commands share.

`arguments`, `queries` and `outputs` import neither TensorFlow nor numpy: `--help` and every mistake in the
arguments are answered before a model is loaded. `python -m pipeline infer` takes its options, its names and
its rules from here.
"""
