"""What the servers' logs leave out."""


def without_traceback(record):
    """A `logging` filter: packages log a traceback for what any stranger may send; their line says it."""
    record.exc_info = record.exc_text = None
    return True
