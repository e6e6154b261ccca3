"""Splits that are fitted and tested on number the same classes."""

from __future__ import annotations

import numpy as np
import pytest

from harness.data.images import Images
from harness.data.labels import check_labels
from harness.errors import HarnessError


def images(
    split: str, labels: list[int] | None, classes: tuple[str, ...] | None = ("cat", "dog")
) -> Images:
    count = 3 if labels is None else len(labels)
    own = None if labels is None else np.array(labels, np.int64)
    return Images("set", split, np.zeros((count, 1, 2, 2)), own, "", "", "", classes)


def said(training: Images, test: Images) -> str:
    with pytest.raises(HarnessError) as caught:
        check_labels(training, test)
    return str(caught.value)


@pytest.mark.parametrize("classes", [("cat", "dog"), None])
def test_the_same_classes_pass(classes: tuple[str, ...] | None) -> None:
    check_labels(images("train", [0, 1, 1], classes), images("test", [1, 1], classes))


@pytest.mark.parametrize(
    ("classes", "difference"),
    [
        (("dog", "cat"), "0 is 'cat' in train and 'dog' in test"),
        (("cat",), "1 is 'dog' in train and no class in test"),
        (("cat", "dog", "owl"), "2 is no class in train and 'owl' in test"),
        (None, "classes have names in train alone"),
    ],
)
def test_a_label_of_two_meanings(classes: tuple[str, ...] | None, difference: str) -> None:
    message = said(images("train", [0, 1]), images("test", [0, 0], classes))
    assert f"not the same class in train and in test: {difference}" in message


def test_names_in_the_test_alone() -> None:
    message = said(images("train", [0, 1], None), images("test", [0, 1]))
    assert "classes have names in test alone" in message


@pytest.mark.parametrize(
    ("classes", "named"), [(None, "class 2"), (("cat", "dog", "owl", "yak"), "class 'owl'")]
)
def test_a_class_that_is_tested_and_not_fitted(classes: tuple[str, ...] | None, named: str) -> None:
    message = said(images("train", [0, 1, 1], classes), images("test", [3, 1, 2, 2], classes))
    assert "3 of 4 images of set (test) are of a class that no image of train is of" in message
    assert f"the first is {named}" in message


@pytest.mark.parametrize("split", ["train", "test"])
def test_no_labels(split: str) -> None:
    sets = {each: images(each, None if each == split else [0, 1]) for each in ("train", "test")}
    assert f"images of set ({split}) have no labels" in said(sets["train"], sets["test"])
