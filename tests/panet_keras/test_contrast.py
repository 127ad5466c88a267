import numpy as np
import tensorflow as tf

from panet_keras import PANet
from panet_keras.losses.contrast import contrast_loss, move_masks


def test_moved_masks_leave_the_lesion_and_the_ignored_out():
    masks = np.zeros((4, 2, 2, 32, 48, 1), np.uint8)
    masks[:, :, :, 5:15, 5:20] = 1
    masks[:, :, :, 20:, :4] = 255
    moved, possible = (x.numpy() for x in move_masks(tf.constant(masks), [1, 2]))
    assert possible.all() and (moved == 1).any((3, 4, 5)).all()
    assert (
        not (moved[masks == 1]).any()
        and (moved[masks == 255] == 255).all()
        and set(np.unique(moved)) == {0, 1, 255}
    )
    full, possible = move_masks(tf.ones((1, 1, 1, 8, 8, 1), tf.uint8), [1, 2])
    assert not possible.numpy().any() and not full.numpy().any()


def test_contrast_is_the_cross_entropy_of_background():
    logits = np.zeros((2, 1, 2, 2, 2), np.float32)
    logits[0, 0, 0, 0] = [0, 3]
    labels = np.zeros((2, 1, 2, 2, 1), np.uint8)
    labels[:, 0, 0, 0] = 1
    labels[:, 0, 1, 1] = 255
    wrong, even = np.log1p(np.exp(3)), np.log(2)
    np.testing.assert_allclose(
        contrast_loss(logits, labels, [True, False]), wrong + (wrong + 2 * even) / 3, rtol=1e-6
    )
    np.testing.assert_allclose(
        contrast_loss(logits, labels, [True, False], elsewhere=False), wrong, rtol=1e-6
    )
    assert contrast_loss(logits, labels, [False, False]) == 0


def test_the_model_is_asked_about_half_of_its_episodes_with_moved_masks(model, episode):
    inputs, labels = episode(2, 2, 1, (48, 64), batch=3)
    moved, possible = move_masks(tf.constant(inputs["support_masks"][:2]), [7, 0])
    logits = model(
        {name: tf.constant(value[:2]) for name, value in inputs.items()} | {"support_masks": moved}
    )
    inputs = {name: tf.constant(value) for name, value in inputs.items()}
    _, losses = model._episode(inputs, False, tf.constant(labels), [7, 0])
    np.testing.assert_allclose(
        losses["contrast_loss"], contrast_loss(logits, labels[:2], possible), rtol=1e-4
    )


def test_the_paper_has_no_contrast(tiny_encoder):
    assert PANet(tiny_encoder()).contrast_weight == 0 < PANet(tiny_encoder(), decoder="unet").contrast_weight
