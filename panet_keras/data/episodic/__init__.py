"""Episodes for `model.fit`: which images, how they are changed, and the tf.data pipeline."""
