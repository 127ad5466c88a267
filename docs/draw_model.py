"""Draws docs/model.png, the model as docs/index.md shows it: `python docs/draw_model.py`. Strides and
channels come from the model itself."""

import pathlib

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402
from matplotlib.patches import FancyBboxPatch  # noqa: E402

from panet_keras import PANet, encoders  # noqa: E402

BLUE, GREEN, ORANGE, GREY = "#dce8f5", "#dff2e1", "#fde8d0", "#eceff2"


def box(axis, x, y, text, colour, width=2.5, height=0.8):
    axis.add_patch(
        FancyBboxPatch(
            (x, y),
            width,
            height,
            boxstyle="round,pad=0.06",
            facecolor=colour,
            edgecolor="#5a6b7b",
            linewidth=0.8,
        )
    )
    axis.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=6.6)


def arrow(axis, start, end, style="-"):
    axis.annotate(
        "",
        end,
        start,
        arrowprops={"arrowstyle": "->", "color": "#33424f", "linewidth": 1, "linestyle": style},
    )


def main():
    model = PANet("efficientnet_lite0", weights=None, decoder="unet")
    scales = [encoders.strides(model.encoder)[i] for i in model.decoder.scales]
    layer = model.decoder
    figure, axis = pyplot.subplots(figsize=(10.5, 4.9))
    axis.set(xlim=(-0.2, 16.2), ylim=(-0.3, 7.5))
    axis.axis("off")
    box(axis, 0, 5.6, "support images\n[B, N, K, H, W, 3]", BLUE)
    box(axis, 0, 4.4, "support masks\n[B, N, K, H, W, 1]", BLUE)
    box(axis, 0, 1.2, "query images\n[B, Q, H, W, 3]", BLUE)
    box(
        axis,
        3.4,
        3.4,
        f"encoder (shared)\nstrides {', '.join(map(str, scales))}\n{model.encoder.count_params() / 1e6:.1f} M weights",
        GREEN,
        2.7,
        1.2,
    )
    box(
        axis,
        7,
        5.0,
        "masked average pooling:\nprototypes of each way and\nof the background, per scale",
        GREEN,
        3.1,
        1.2,
    )
    box(
        axis,
        7,
        2.3,
        f"similarity, per scale:\n{layer.groups} + {layer.groups} group-wise cosines,\nprior mask, best correlations",
        ORANGE,
        3.1,
        1.2,
    )
    box(
        axis,
        10.9,
        2.3,
        f"U-Net path, coarse to fine\n{layer.channels} channels\nstrides {', '.join(map(str, scales[:0:-1]))}",
        GREEN,
        2.6,
        1.2,
    )
    box(axis, 10.9, 0.5, f"detail of stride {scales[0]},\nmultiplied by what was found", GREY, 2.6, 0.9)
    box(axis, 14.1, 2.3, "logits\n[B, Q, H, W, N+1]", BLUE, 2.0, 1.2)
    box(
        axis, 10.9, 5.2, "alignment: the queries, with their\ntrue masks, segment the support", GREY, 3.6, 0.8
    )
    box(axis, 10.9, 6.3, "contrast: with the support's masks\non tissue nothing may be found", GREY, 3.6, 0.8)
    for start, end in (
        ((2.56, 6.0), (3.9, 4.7)),
        ((2.56, 1.6), (3.9, 3.3)),
        ((6.2, 4.3), (6.9, 5.3)),
        ((2.56, 4.8), (6.9, 5.7)),
        ((6.2, 3.7), (6.9, 3.1)),
        ((8.5, 4.9), (8.5, 3.6)),
        ((10.2, 2.9), (10.8, 2.9)),
        ((13.6, 2.9), (14.0, 2.9)),
    ):
        arrow(axis, start, end)
    arrow(axis, (5.2, 3.3), (10.8, 0.9))
    arrow(axis, (12.2, 1.5), (12.2, 2.2))
    for y in (5.5, 6.6):
        arrow(axis, (10.2, 5.7), (10.8, y), "--")
    axis.text(10.9, 7.25, "in training only", fontsize=7, color="#5a6b7b")
    figure.savefig(pathlib.Path(__file__).parent / "model.png", dpi=130, bbox_inches="tight")


if __name__ == "__main__":
    main()
