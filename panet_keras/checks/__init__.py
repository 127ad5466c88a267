"""What is refused before it does harm: Keras' own settings, values of inputs, arguments of `fit`."""
