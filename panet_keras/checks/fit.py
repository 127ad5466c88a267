"""What `fit`, `evaluate` and `predict` check before, and while, they work: endless data, mistyped monitors, values
outside the model's range."""

import contextlib
import difflib
import functools
import inspect
import warnings

import keras
import tensorflow as tf

from panet_keras.checks.class_weight import with_pixel_weights
from panet_keras.checks.inputs import assert_values, check_labels, check_shapes, said
from panet_keras.errors import PANetError


class FitChecks:
    """Mixin in front of `keras.Model`.

    `fit`, `evaluate` and `predict` raise PANetError (a ValueError) for

    * a dataset without end and no number of steps, which would never come back;
    * a callback whose `monitor` is no metric, after the first batch (a warning where another callback may add
      it to the logs);
    * inputs and labels outside the ranges of `PANet`, in the batch that has them.
    """

    @functools.wraps(keras.Model.fit)
    def fit(self, *args, **kwargs):
        with contextlib.suppress(TypeError):  # wrong arguments are Keras' to refuse
            given = _bound(super().fit, args, kwargs)
            _refuse_endless(given.get("x"), given.get("steps_per_epoch"), "fit", "x", "steps_per_epoch")
            validation = given.get("validation_data")
            _refuse_endless(
                validation, given.get("validation_steps"), "fit", "validation_data", "validation_steps"
            )
            _check_arrays(given)
            given = with_pixel_weights(given)
            kwargs = _with_monitor_check(given, validation is not None or bool(given.get("validation_split")))
            args = ()
        with _messages():
            return super().fit(*args, **kwargs)

    @functools.wraps(keras.Model.evaluate)
    def evaluate(self, *args, **kwargs):
        with contextlib.suppress(TypeError):
            given = _bound(super().evaluate, args, kwargs)
            _refuse_endless(given.get("x"), given.get("steps"), "evaluate", "x", "steps")
            _check_arrays(given)
        with _messages():
            return super().evaluate(*args, **kwargs)

    @functools.wraps(keras.Model.train_on_batch)
    def train_on_batch(self, *args, **kwargs):
        with contextlib.suppress(TypeError):
            given = _bound(super().train_on_batch, args, kwargs)
            _check_arrays(given)
            args, kwargs = (), with_pixel_weights(given)
        with _messages():
            return super().train_on_batch(*args, **kwargs)

    @functools.wraps(keras.Model.test_on_batch)
    def test_on_batch(self, *args, **kwargs):
        with contextlib.suppress(TypeError):
            _check_arrays(_bound(super().test_on_batch, args, kwargs))
        with _messages():
            return super().test_on_batch(*args, **kwargs)

    @functools.wraps(keras.Model.predict)
    def predict(self, *args, **kwargs):
        with contextlib.suppress(TypeError):
            _check_arrays(_bound(super().predict, args, kwargs))
        with _messages():
            return super().predict(*args, **kwargs)

    @functools.wraps(keras.Model.predict_on_batch)
    def predict_on_batch(self, *args, **kwargs):
        with contextlib.suppress(TypeError):
            _check_arrays(_bound(super().predict_on_batch, args, kwargs))
        with _messages():
            return super().predict_on_batch(*args, **kwargs)

    @functools.wraps(keras.Model.predict_step)
    def predict_step(self, data):
        answer = super().predict_step(data)
        if not self.jit_compile:
            assert_values(keras.utils.unpack_x_y_sample_weight(data)[0])
        return answer

    @functools.wraps(keras.Model.compute_loss)
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        # XLA drops assertions, and has no strings to make a message of.
        if not self.jit_compile and isinstance(x, dict) and y is not None and y_pred is not None:
            assert_values(x, y, tf.shape(y_pred)[-1] - 1)
        return super().compute_loss(x, y, y_pred, sample_weight, training=training)


def _bound(method, args, kwargs):
    """Arguments of a call by name. Raises TypeError where they do not fit, which is Keras' to say."""
    return inspect.signature(method).bind(*args, **kwargs).arguments


def _check_arrays(given):
    """Looks at the shapes of arrays before a graph does: one that was made for several shapes does not know these."""
    x, y = given.get("x"), given.get("y")
    if isinstance(x, dict) and all(
        hasattr(x.get(name), "shape") for name in ("support_images", "support_masks", "query_images")
    ):
        check_shapes(x)
        if hasattr(y, "shape"):
            check_labels(x, y)


def _refuse_endless(data, steps, method, name, option):
    if not isinstance(data, tf.data.Dataset) or steps or keras.config.max_steps_per_epoch():
        return
    if data.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise PANetError(
            f"{method} would never end: {name} is a dataset without end, and {option} is not given. Make it with "
            f"episodes(..., steps=N), or pass {option}=N."
        )


def _with_monitor_check(given, validates):
    """Arguments of `fit` with the check among the callbacks, if any of them watches a metric."""
    callbacks = given.get("callbacks")
    # A CallbackList is set up by its maker.
    if callbacks is None or isinstance(callbacks, keras.callbacks.CallbackList):
        return given
    callbacks = [*callbacks] if isinstance(callbacks, (list, tuple)) else [callbacks]
    if any(isinstance(getattr(callback, "monitor", None), str) for callback in callbacks):
        given = {**given, "callbacks": [_MonitorCheck(callbacks, validates), *callbacks]}
    return given


class _MonitorCheck(keras.callbacks.Callback):
    """Compares, after the first batch, what callbacks watch with the metrics that there are."""

    def __init__(self, callbacks, validates):
        super().__init__()
        self.callbacks, self.validates, self.done = callbacks, validates, False

    def on_train_batch_end(self, batch, logs=None):
        if self.done:
            return
        self.done = True
        names = sorted(self.model.get_metrics_result())
        known = [*names, *(f"val_{name}" for name in names if self.validates), "learning_rate"]
        for callback in self.callbacks:
            monitor = getattr(callback, "monitor", None)
            if isinstance(monitor, str) and monitor not in known:
                self._refuse(type(callback).__name__, monitor, known, names)

    def _refuse(self, callback, monitor, known, names):
        text = f"{callback}(monitor={monitor!r}): no metric of this training has that name; it has {', '.join(known)}."
        if monitor.removeprefix("val_") in names:
            text += " Give fit validation_data."
        elif near := difflib.get_close_matches(monitor, known, 1):
            text += f" Did you mean {near[0]!r}?"
        if any(map(_may_add_to_logs, self.callbacks)):
            warnings.warn(text, stacklevel=2)
        else:
            raise PANetError(text)


def _may_add_to_logs(callback):
    return isinstance(callback, keras.callbacks.LambdaCallback) or not type(callback).__module__.startswith(
        "keras."
    )


@contextlib.contextmanager
def _messages():
    """Turns what `assert_values` said in the graph into an error of its own."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        text = said(error)
        if text is None:
            raise
        raise PANetError(text) from None
