"""What the exported graph refuses, each with a message of its own: INVALID_ARGUMENT, whoever serves it.

Every check is a context: what is built inside it runs only after the check has passed.
"""

import tensorflow as tf


def require(condition, *message):
    """Context that fails with `message` (texts and tensors, in turn) where `condition` is false."""
    return tf.control_dependencies([tf.debugging.Assert(condition, list(message), summarize=12)])


def checked_images(name, images):
    """The images, refused where they lie outside [0, 1]."""
    low, high = tf.reduce_min(images), tf.reduce_max(images)
    # Comparisons with NaN are false, so NaN is refused, too.
    fits = (low >= 0.0) & (high <= 1.0)
    with require(
        fits,
        name,
        ": values from",
        low,
        "to",
        high,
        "; expected finite values in [0, 1]: divide 0..255 values by 255",
    ):
        return tf.identity(images)


def checked_support(images, masks):
    """The annotated images and their masks.

    Args:
        images: [B, N, K, H, W, 3]. masks: uint8 [B, N, K, H, W, 1].

    Returns:
        The same two. Refused: no way, shot or pixel (N, K, H or W is 0), masks of another size, values other
        than 0, 1 and 255, a way without a 1 in any shot, and images outside [0, 1].
    """
    size, mask_size = tf.shape(images)[:-1], tf.shape(masks)[:-1]
    known = tf.reduce_any(tf.equal(masks[..., None], tf.constant([0, 1, 255], tf.uint8)), -1)
    # A shot without foreground is a normal frame; a way needs one with it.
    foreground = tf.reduce_any(tf.equal(masks, 1), [2, 3, 4, 5])
    hint = tf.where(
        tf.reduce_any(tf.equal(masks, 255)),
        "; 255 means ignore here and 1 is foreground: send mask / 255 where 255 marks the lesion",
        "; mark the lesion or leave the image out",
    )
    with (
        require(
            tf.reduce_all(size[1:] > 0),
            "support_images: [N, K, H, W] is",
            size[1:],
            "; expected at least one way, one shot and one pixel",
        ),
        require(
            tf.reduce_all(tf.equal(size, mask_size)),
            "support_images and support_masks differ in [B, N, K, H, W]:",
            size,
            "and",
            mask_size,
            "; resize the masks",
        ),
        require(
            tf.reduce_all(known),
            "support_masks: values from",
            tf.reduce_min(masks),
            "to",
            tf.reduce_max(masks),
            "; expected 0 (background), 1 (foreground) and 255 (ignore) alone",
        ),
        require(
            tf.reduce_all(foreground),
            "support_masks: no pixel of any shot equals 1 (foreground) at [episode, way]",
            tf.where(~foreground),
            hint,
        ),
    ):
        return checked_images("support_images", images), tf.identity(masks)


def checked_query(name, query, state, support="the support state"):
    """A query, refused where the state that it is compared with cannot answer it.

    Args:
        name: of the query, for messages. query: begins with B.
        state: dictionary of float32 tensors that begin with B. support: what to call it in messages.

    Returns:
        The query. Refused: no query, another B, an empty tensor in the state (no support), NaN or infinity
        there.
    """
    names = sorted(state)
    episodes, wanted = tf.stack([tf.shape(state[key])[0] for key in names]), tf.shape(query)[0]
    filled = tf.stack([tf.reduce_all(tf.shape(state[key])[1:] > 0) for key in names])
    finite = tf.stack([tf.reduce_all(tf.math.is_finite(state[key])) for key in names])
    with (
        require(
            tf.reduce_all(tf.shape(query) > 0),
            f"{name} has shape",
            tf.shape(query),
            "; expected at least one query",
        ),
        require(
            tf.reduce_all(tf.equal(episodes, wanted)),
            f"{name} has B =",
            wanted,
            f"episodes, {support} B =",
            episodes,
            f"; expected as many: one support for each row of {name} (several queries of one support go along Q)",
        ),
        require(
            tf.reduce_all(filled),
            f"{support}: no value in",
            tf.boolean_mask(names, ~filled),
            "; it was made without any support",
        ),
        require(
            tf.reduce_all(finite),
            f"{support}: NaN or infinity in",
            tf.boolean_mask(names, ~finite),
            "; send the outputs of encode_support as they came",
        ),
    ):
        return tf.identity(query)
