"""Memory that stays flat however many versions come and go.

Nothing of a version is leaked when it unloads, yet memory grew:

- A loaded SavedModel is a cycle of objects, which waits for a full garbage collection, and those become rare as a
  process grows: `give_back` collects when a version has ended. `settle` takes what is there for good (TensorFlow's
  modules, a third of a million objects) out of the collections, which hold up the requests otherwise.
- What is freed stays with the C library, in holes between what is in use: `give_back` returns it (malloc_trim(3);
  where the C library is not glibc, it stays).
"""

import ctypes
import gc


def settle():
    """Leaves what has been made so far out of later collections; to be called when all is imported and no
    version is loaded."""
    gc.collect()
    gc.freeze()


def give_back():
    """Collects garbage, and returns what is free to the operating system."""
    gc.collect()
    trim = _function("malloc_trim")
    if trim:
        trim(0)


def _function(name):
    """A function of the C library that this process runs with, or None."""
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except (OSError, TypeError):  # TypeError: Windows, which has no library of that name
        return None
