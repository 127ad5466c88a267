"""The Evaluator's pictures: gallery and Grad-CAM."""

import numpy as np
from PIL import Image

from panet_keras.inference.segmenter import restore
from panet_keras.pictures.decode import decode_image
from panet_keras.pictures.overlay import draw_heat, draw_mask, side_by_side


def write_gallery(directory, chosen, episodes, test, predict):
    """Image, truth, mask and probability of each chosen query, with the supports of its first repeat.

    Args:
        directory: folder to make.
        chosen: dictionary of name to (query index, mean Dice). episodes: dictionary of query index to
            `Episode`.
        test: `TestImages`. predict: as in `run_protocol`.
    """
    directory.mkdir()
    for name, (query, _) in chosen.items():
        images, masks = test.support(episodes[query].supports)
        truth = test.truths[query]
        small = np.asarray(predict(images, masks, test.query(query)))[0, 0]
        probability = np.asarray(restore(small, truth.shape))[..., 1]
        picture = decode_image(test.records[query].image)
        grey = np.repeat((probability * 255).astype(np.uint8)[..., None], 3, -1)
        row = [picture, draw_mask(picture, truth), draw_mask(picture, probability > 0.5), grey]
        Image.fromarray(side_by_side(row, 220)).save(directory / f"{name}.png")


def write_grad_cam(directory, model_file, chosen, episodes, test, size):
    """Maps of the foreground prototype on each chosen query and its support image."""
    import keras

    from panet_keras.grad_cam import grad_cam

    directory.mkdir()
    model = keras.models.load_model(model_file, compile=False)
    for name, (query, _) in chosen.items():
        support = episodes[query].supports
        images = [decode_image(test.records[i].image) for i in support]
        maps = grad_cam(
            model,
            images,
            [test.truths[i] for i in support],
            decode_image(test.records[query].image),
            size=size,
        )
        row = []
        for item, truth in zip(maps, [test.truths[query], *(test.truths[i] for i in support)]):
            row += [draw_mask(item.image, truth), draw_heat(item.image, item.heat)]
        Image.fromarray(side_by_side(row, 220)).save(directory / f"{name}.png")
