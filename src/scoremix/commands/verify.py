"""`scoremix verify`: are two images of one class?"""

from pathlib import Path
from typing import Annotated

import typer

from scoremix.commands.options import Debug, Delivered, Far, Quiet, app


@app.command()
def verify(
    model: Delivered,
    first: Annotated[Path, typer.Argument(metavar="A", help="an image")],
    second: Annotated[Path, typer.Argument(metavar="B", help="another image")],
    far: Far = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Whether two images are of one class, by a delivered recognizer."""
    from scoremix.use.model import load_model

    verified = load_model(model).verify(first, second, far)
    if verified.threshold is None:
        print(f"similarity {verified.similarity:.3f} (the model has no thresholds)")
        return
    point = verified.threshold
    where = "above" if verified.same else "not above"
    print(
        f"{'same' if verified.same else 'not the same'}: similarity {verified.similarity:.3f}, {where} {point.value:.3f}"
    )
    print(f"  false accept rate {point.far:g}: that share of the pairs of two classes lies above the threshold")
    print(f"  true accept rate {point.tar:.3g}: that share of the pairs of one class does")
