"""Whether two splits of labelled images can be fitted and tested on: one label is one class."""

from __future__ import annotations

from itertools import zip_longest

import numpy as np

from harness.data.images import Images
from harness.errors import HarnessError


def check_labels(training: Images, test: Images) -> None:
    """HarnessError unless both are labelled, and a label of `test` is the same class in `training`,
    which has an image of it.
    """
    fitted, tested = (_labels(images) for images in (training, test))
    if training.classes != test.classes:
        raise HarnessError(
            f"a label is not the same class in {training.split} and in {test.split}: "
            f"{_difference(training, test)}",
            where=training.name,
            hint="give both splits the same classes in the same order, and prepare them anew",
        )
    unseen = ~np.isin(tested, fitted)
    if unseen.any():
        first = int(tested[unseen].min())
        name = first if test.classes is None else repr(test.classes[first])
        raise HarnessError(
            f"{unseen.sum():,} of {len(tested):,} images of {test.name} ({test.split}) are of a "
            f"class that no image of {training.split} is of; the first is class {name}",
            hint="each class has images in both splits: those of a folder lie in folders of the "
            "same names, train/NAME/… and val/NAME/…",
        )


def _labels(images: Images) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    if images.labels is None:
        raise HarnessError(
            f"the images of {images.name} ({images.split}) have no labels, which a probe learns",
            hint="name their field, ?label=FIELD, or keep each class in a folder of its own",
        )
    return images.labels


def _difference(training: Images, test: Images) -> str:
    """The first label whose names differ, or that only one of the splits has."""
    for own, other in ((training, test), (test, training)):
        if own.classes is None:
            return f"classes have names in {other.split} alone"
    pairs = enumerate(zip_longest(training.classes or (), test.classes or ()))
    label, names = next((label, names) for label, names in pairs if names[0] != names[1])
    fitted, tested = ("no class" if name is None else repr(name) for name in names)
    return f"{label} is {fitted} in {training.split} and {tested} in {test.split}"
