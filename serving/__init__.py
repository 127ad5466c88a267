"""TensorFlow Serving's API for exported models, and a client without TensorFlow."""
