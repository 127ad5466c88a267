"""`python -m panet_keras check`: how far the model can be believed on pictures like the annotated ones."""

import pathlib

from panet_keras.commands import arguments as options
from panet_keras.commands.outputs import check_writable
from panet_keras.commands.start import import_tensorflow
from panet_keras.errors import PANetError

FEWEST = 2
"""Lesions: one is segmented with the other as example."""


def add(commands):
    """Adds the command to the parsers of all."""
    command = commands.add_parser("check", help="say what to expect on pictures like the annotated ones")
    options.add_model(command)
    options.add_support(command)
    options.add_normals(command)
    command.add_argument(
        "--save", metavar="FOLDER", help="new folder for the calibrated or adapted model; --model takes it"
    )
    command.add_argument(
        "--out", metavar="PICTURE.png", help="draw Dice over the number of annotated pictures"
    )
    command.add_argument("--overwrite", action="store_true", help="replace an older --out")
    command.set_defaults(run=run)


def run(arguments):
    """Calibrates or adapts the model, and prints what to expect.

    Raises:
        PANetError: arguments, support or model that cannot be used, or a single lesion; nothing was written.
        FileExistsError: `--save` or `--out` is there already.
    """
    support = options.read_support(arguments)
    if len(support.images) < FEWEST:
        raise PANetError(
            f"{support.images[0]} is the only annotated picture; check needs at least {FEWEST}, because each is segmented with the "
            "others as examples. Annotate one more, and give it with --support IMAGE=MASK or put it into the folder of --support-dir."
        )
    _check_targets(arguments, support)

    import_tensorflow()
    from panet_keras.commands.model import adapt_model, set_support
    from panet_keras.inference.segmenter import open_segmenter

    segmenter = set_support(open_segmenter(arguments.model, arguments.size), support)
    own, before = segmenter.presence_threshold, None
    if arguments.adapt:
        before = segmenter.expected()
        adapt_model(segmenter)
    if segmenter.adaptation is None:
        segmenter.calibrate()
    found = segmenter.expected()
    if found.curve:  # the model is as it was
        before = None
    print("\n".join(describe(found, support, own, before)))
    # First what took minutes: the picture may lie in its folder, and lacks matplotlib at worst.
    if arguments.save:
        segmenter.save(arguments.save)
        print(
            f"\nSaved: {arguments.save}. Use it with the same pictures: python -m panet_keras segment --model {arguments.save} ..."
        )
    if arguments.out:
        from panet_keras.files import write_whole
        from panet_keras.pictures.curve import draw_curve

        picture = draw_curve(before.curve, found.dice) if before else draw_curve(found.curve)
        pathlib.Path(arguments.out).parent.mkdir(parents=True, exist_ok=True)
        write_whole(arguments.out, picture)
        print(f"\nDrawn: {arguments.out}")


def describe(found, support, own, before=None):
    """What `FewShotSegmenter.expected` says, in words.

    Args:
        found: `Expected`. support: `Support`. own: the model's own threshold, of before.
        before: `Expected` of the model before fine-tuning, where it was fine-tuned; it has the curve then.

    Returns:
        List of lines.
    """
    how = (
        "by a model fine-tuned on other pictures of the set" if before else "with all the others as examples"
    )
    curve, more_helps = (before or found).curve, (before or found).more_helps
    rows = [
        ("Dice", f"{found.dice:.2f} in the mean (1: the outlines are the same, 0: they do not touch)"),
        (
            "Missed",
            f"{_share(found.missed, found.lesions)} lesions: left empty, or marked elsewhere (Dice below 0.1)",
        ),
        ("False marks", _marked(found)),
        (
            "Threshold",
            f"{found.threshold:.2f}, set by these pictures (the model's own: {own:.2f}); a picture whose presence is below it stays empty",
        ),
        ("Examples", _examples(curve, before)),
        ("More pictures", _more(curve, more_helps, before)),
        ("Worst", _worst(found, support)),
    ]
    width = max(len(name) for name, _ in rows) + 2
    return [
        f"{found.lesions} annotated pictures with a lesion, {found.normals} normal frames. Each was segmented {how}, never with itself.",
        "",
        *(f"{name:{width}}{text}" for name, text in rows),
        "",
        f"One lesion is {1 / found.lesions:.0%} of these figures, and the threshold was set on the same pictures: on new ones expect a "
        "little less.",
    ]


def _check_targets(arguments, support):
    """Refuses what may not be written, before minutes are spent."""
    if arguments.save and pathlib.Path(arguments.save).exists():
        raise FileExistsError(f"--save {arguments.save}: there already; expected the name of a new folder.")
    check_writable(*(pathlib.Path(path).parent for path in (arguments.save, arguments.out) if path))
    if not arguments.out:
        return
    out = pathlib.Path(arguments.out)
    if out.suffix.lower() != ".png" or out.is_dir():
        raise PANetError(f"--out {out}: expected the name of a picture that ends in .png.")
    if arguments.save and out.resolve() == pathlib.Path(arguments.save).resolve():
        raise PANetError(f"--out {out}: the folder of --save, too. Name another.")
    if out.resolve() in {pathlib.Path(path).resolve() for path in support.files}:
        raise PANetError(f"--out {out}: given as an input, and the picture would replace it. Name another.")
    if out.exists() and not arguments.overwrite:
        raise FileExistsError(f"--out {out}: there already. Give --overwrite to replace it, or another name.")


def _share(share, count):
    return f"{round(share * count)} of {count} ({share:.0%})"


def _marked(found):
    if found.marked is None:
        return (
            "not known, for there is no normal frame. Put some into normals/ of the folder, or give them with --normal; without them the "
            "threshold can only be lowered"
        )
    return f"{_share(found.marked, found.normals)} normal frames got a mask"


def _examples(curve, tuned):
    points = ", ".join(f"{dice:.2f} with {count}" for count, dice in curve)
    pictures = "annotated pictures" if curve[-1][0] > 1 else "annotated picture"
    return f"Dice {points} {pictures}, before any threshold{' and before fine-tuning' if tuned else ''}"


def _more(curve, more_helps, tuned):
    if more_helps is None:
        return "not known: at least 3 annotated pictures are needed to see whether the curve rises"
    (few, low), (many, high) = curve[-2:]
    said = (
        "would probably help"
        if more_helps
        else f"would hardly help{' without fine-tuning' if tuned else ' (try --adapt)'}"
    )
    return f"{said}: from {few} to {many} Dice changed by {high - low:+.3f}"


def _worst(found, support):
    worst = min(range(found.lesions), key=found.each.__getitem__)
    return f"{support.images[worst]} (Dice {found.each[worst]:.2f}): look at its outline, or annotate more pictures like it"
