"""A picture of how masks get better with more annotated pictures."""

import io


def draw_curve(points, tuned=None):
    """PNG bytes of Dice over the number of annotated pictures.

    Args:
        points: list of (number, Dice). tuned: Dice after fine-tuning on all of them, drawn as a point of its
            own; None without.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "a drawn curve needs matplotlib: pip install 'matplotlib>=3.8', or leave --out away"
        ) from error
    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    numbers, dices = zip(*points)
    axis.plot(numbers, dices, marker="o", color="#4c7bb0", label="as it is")
    if tuned is not None:
        axis.plot([numbers[-1]], [tuned], "D", color="#0a7a3d", label="fine-tuned")
        axis.legend(loc="lower right")
    axis.set(xlabel="annotated pictures", ylabel="Dice on pictures left out", xscale="log", ylim=(0, 1))
    axis.set_xticks(numbers, labels=map(str, numbers))
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
