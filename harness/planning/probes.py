"""Whether a linear probe can be fitted: labelled images to fit on, others to test, and features."""

from __future__ import annotations

from harness.data.datasets import list_datasets
from harness.data.pixels.image_checks import is_labelled
from harness.data.pixels.sources import names_pixels, split_pixels
from harness.errors import HarnessError
from harness.planning.eval_settings import ProbeSetting
from harness.planning.located import Located
from harness.planning.shapes import MODALITY, check_file, find_data
from harness.planning.spec import TrainSpec
from harness.registry import adapter as find_adapter
from harness.registry import adapter_names


def check_probe(setting: ProbeSetting, own: Located, spec: TrainSpec) -> None:
    """The adapter offers features, and nothing is asked that a probe has not; else a HarnessError.

    Features are of clean images, so a probe draws no noise.
    """
    if not find_adapter(spec.adapter).features:
        able = [name for name in adapter_names() if find_adapter(name).features]
        raise HarnessError(
            f"adapter {spec.adapter!r} offers no features for a probe to read",
            where=own.where(("kind",)),
            given=setting.kind,
            hint="restrict the evaluation to models that do with `only: {adapter: [...]}`: those "
            f"of {', '.join(able) or '(none is installed)'}",
        )
    if setting.noise_seeds != [0]:
        raise HarnessError(
            "a probe reads features of clean images: it draws no noise",
            where=own.where(("noise_seeds",)),
            hint="leave `noise_seeds` out",
        )


def check_labelled(data: str, split: str, spec: TrainSpec, where: str) -> None:
    """The set is labelled and has a training split apart from `split`; else a HarnessError."""
    modality = MODALITY[spec.task.kind]
    found = find_data(data, modality, where)
    if found.labelled is False:
        raise _unlabelled(data, where)
    if "train" not in found.splits:
        raise HarnessError(
            f"data set {data!r} has no train split to fit a probe on",
            where=where,
            given=data,
            allowed=[d.name for d in list_datasets() if d.labelled and "train" in d.splits],
        )
    if split == "train":
        raise HarnessError(
            "a probe is fitted on the train split, so it is tested on another",
            where=where,
            given="train",
            allowed=[name for name in found.splits if name != "train"],
        )
    check_file(data, "train", modality, where)
    for each in ("train", split):
        if names_pixels(data) and not is_labelled(split_pixels(data, each)):
            raise _unlabelled(data, where, of=f" ({each})")


def _unlabelled(data: str, where: str, *, of: str = "") -> HarnessError:
    return HarnessError(
        f"the images of {data!r}{of} have no labels, which a probe learns",
        where=where,
        given=data,
        allowed=[d.name for d in list_datasets() if d.labelled],
        hint="of your own: ?label=FIELD of records, a folder of one folder per class, or MNIST's "
        "file of labels beside that of its images",
    )
