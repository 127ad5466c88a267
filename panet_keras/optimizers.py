"""AdamW whose step is smaller for a pretrained encoder."""

import keras


@keras.saving.register_keras_serializable(package="panet_keras")
class PretrainedAdamW(keras.optimizers.AdamW):
    """AdamW that multiplies a variable's learning rate by its `learning_rate_factor`, where it has one.

    A pretrained encoder wants smaller steps than a fresh decoder, and Adam undoes any scaling of gradients,
    so the factor must enter here. A factor of 0 stops the variable, weight decay included. `PANet` marks its
    encoder's variables (see its argument `encoder_rate`). Arguments are those of `keras.optimizers.AdamW`.
    """

    def build(self, variables):
        super().build(variables)
        self._factors = [float(getattr(variable, "learning_rate_factor", 1.0)) for variable in variables]

    def _use_weight_decay(self, variable):
        # Decay is a step of its own: without this a factor of 0 would not stop the variable.
        return self._factors[self._get_variable_index(variable)] > 0 and super()._use_weight_decay(variable)

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(
            gradient, variable, learning_rate * self._factors[self._get_variable_index(variable)]
        )
