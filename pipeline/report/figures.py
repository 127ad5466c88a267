"""The report's diagrams and pictures, as data URIs that a page holds inside it."""

import base64
import io


def embedded(data):
    """Data URI of a PNG file's bytes."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def _plot(draw, size=(8, 3)):
    """Data URI of a matplotlib figure that `draw(figure)` fills."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    draw(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return embedded(buffer.getvalue())


def curves(history):
    """Losses and Dice over the steps. A point for each epoch: a single one has no line.

    Args:
        history: list of dictionaries, one for each epoch: step, loss, dice, and align_loss and contrast_loss
            where the model has them.
    """

    def draw(figure):
        left, right = figure.subplots(1, 2)
        steps = [row["step"] for row in history]
        style = {"marker": "o", "markersize": 3 if len(history) > 1 else 7}
        for key, label in (
            ("loss", "loss"),
            ("align_loss", "alignment loss"),
            ("contrast_loss", "contrast loss"),
        ):
            if key in history[0]:
                left.plot(steps, [row[key] for row in history], label=label, **style)
        left.set(xlabel="step", ylim=(0, None))
        left.legend()
        right.plot(steps, [row["dice"] for row in history], color="#0a7a3d", **style)
        right.set(xlabel="step", ylabel="Dice of training episodes", ylim=(0, 1))
        for axis in (left, right):
            axis.set_xlim(0, steps[-1] * 1.05)

    return _plot(draw)


def areas(histograms):
    """Bars of lesion areas.

    Args:
        histograms: dictionary of split to (edges, counts), or None for a split without any.
    """

    def draw(figure):
        axes = figure.subplots(1, len(histograms), squeeze=False)[0]
        for axis, (split, found) in zip(axes, histograms.items()):
            if found:
                edges, counts = found
                widths = [b - a for a, b in zip(edges, edges[1:])]
                axis.bar(edges[:-1], counts, widths, align="edge", color="#4c7bb0", edgecolor="white")
            axis.set(title=split, xlabel="share of the frame", ylabel="images")

    return _plot(draw)


def shots(table):
    """Dice over the number of shots, with its interval, of the cross-patient rows of a table."""

    def draw(figure):
        axis = figure.subplots()
        found = {row["shots"]: row["dice"] for row in table.values() if row["protocol"] == "cross-patient"}
        numbers = sorted(found)
        low, mean, high = ([found[k][name] for k in numbers] for name in ("low", "mean", "high"))
        # Without a support the model refuses to answer: nothing is marked, and Dice is 0 by definition.
        axis.plot([0, *numbers], [0.0, *mean], marker="o", color="#4c7bb0")
        if len(numbers) > 1:
            axis.fill_between(numbers, low, high, color="#4c7bb0", alpha=0.2)
        else:
            axis.vlines(numbers, low, high, color="#4c7bb0", alpha=0.4, linewidth=4)
        axis.set(xlabel="shots (0: refused)", ylabel="Dice, 95 % interval", ylim=(0, 1), xticks=[0, *numbers])

    return _plot(draw, (5, 3))


def reliability(calibration, table, protocols):
    """Share of lesion pixels over the probability they were given, of the rows of some protocols.

    Args:
        calibration: row name to counts [3, bins]. table: row name to its entry. protocols: names.
    """

    def draw(figure):
        axis = figure.subplots()
        axis.plot([0, 1], [0, 1], color="#9fb0c0", linestyle=":")
        for key, (pixels, hits, total) in calibration.items():
            if table[key]["protocol"] in protocols:
                points = [(t / p, h / p) for p, h, t in zip(pixels, hits, total) if p]
                axis.plot(*zip(*points), marker="o", markersize=3, label=key)
        axis.set(xlabel="mean probability", ylabel="share of lesion", xlim=(0, 1), ylim=(0, 1))
        axis.legend(fontsize=8)

    return _plot(draw, (5, 3.4))
