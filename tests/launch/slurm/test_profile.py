"""Every mistake in a profile is one message with file and line, before anything is asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.launch.slurm.profile import load_profile, minutes
from tests.launch.slurm.desk import TOY, Desk
from tests.launch.slurm.fake_slurm import FakeSlurm

MISTAKES = {
    "unknown key": ("time: 10\npartitoin: gpu\n", "2 partitoin: unknown key", "'partition'?"),
    "no time": ("partition: gpu\n", "1", "'time'"),
    "bad time": ("time: 4h\n", "1 time:", "minutes, H:MM:SS or D-HH:MM:SS"),
    "no minute": ("time: 0\n", "1 time:", "1"),
    "time is a number of hours": ("time: 1.5\n", "1 time:", "whole number"),
    "bad memory": ("time: 10\nmem: 16 gigabytes\n", "2 mem:", "such as 16G"),
    "reserved option": ("time: 10\nsbatch:\n  array: 0-3\n", "2 sbatch:", "the harness's own"),
    "spelt with dashes": ("time: 10\nsbatch: {--open-mode: truncate}\n", "2 sbatch:", "own"),
    "answer kept away": ("time: 10\nsbatch: {parsable: true}\n", "2 sbatch:", "own"),
    "other clusters": ("time: 10\nsbatch: {clusters: all}\n", "2 sbatch:", "own"),
    "environment kept away": ("time: 10\nsbatch: {export: NONE}\n", "2 sbatch:", "own"),
    "gpus by another name": (
        "time: 10\nsbatch: {gpus-per-task: 1}\n",
        "2 sbatch:",
        "asked for by gpus_per_node or gres",
    ),
    "memory without a unit": ("time: 10\nmem: 16\n", "2 mem:", "16G or 16M"),
    "centuries": ("time: 99999999999\n", "1 time:", "at most"),
    "own key": ("time: 10\nsbatch: {cpus-per-task: 3}\n", "2 sbatch:", "a key of its own"),
    "gpus and tasks": (
        "time: 10\ngpus_per_node: 4\ntasks_per_node: 2\n",
        "2 gpus_per_node",
        "gpus_per_node is 4 and tasks_per_node 2",
    ),
    "warning before the start": (
        "time: 2\nsignal_seconds: 120\n",
        "2 signal_seconds",
        "must be less than time",
    ),
    "two pythons": ("time: 9\npython: /a\nvenv: /b\n", "2 python", "python or venv, not both"),
    "bad variable": ("time: 10\nenvironment: {A-B: 1}\n", "2 environment", "'A-B'"),
    "list for text": ("time: 10\npartition: [a, b]\n", "2 partition:", "must be text"),
    "not YAML": ("time: [10\n", "2", ""),
    "a list": ("- time\n", "1", "mapping"),
    "empty": ("", "", ""),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_message_with_its_place(mistake: str, desk: Desk, no_slurm: None) -> None:
    text, place, said = MISTAKES[mistake]
    (desk.folder / "p.yaml").write_text(text)
    message = desk.refused("submit", desk.suite({"a": TOY}), "--profile", "p.yaml")
    first, *_ = message.splitlines()
    assert first.startswith(f"error: p.yaml:{place}" if place else "error: p.yaml")
    assert said in message
    assert message.count("error: ") == 1
    assert not desk.results.exists()


def test_one_line_is_a_list_of_one(desk: Desk) -> None:
    path = desk.profile(setup="module load cuda", srun="--mpi=none")
    assert load_profile(path).setup == ("module load cuda",)
    assert load_profile(path).srun == ("--mpi=none",)


@pytest.mark.parametrize("given", [{"venv": "~/nowhere"}, {"python": "/no/python"}])
def test_an_interpreter_that_is_not_there_is_told_before_the_queue(
    given: dict[str, str], desk: Desk, slurm: FakeSlurm
) -> None:
    suite = desk.suite({"a": TOY})
    message = desk.refused("submit", suite, "--profile", desk.profile(**given))
    assert "there is no interpreter /" in message
    assert not desk.results.exists()
    desk.submit(suite, **given, container="somewhere else")


def test_a_missing_profile_names_those_that_exist(desk: Desk, no_slurm: None) -> None:
    desk.profile("gpu")
    message = desk.refused("submit", desk.suite({"a": TOY}), "--profile", "gqu.yaml")
    assert "gqu.yaml: there is no such profile" in message
    assert "did you mean 'gpu.yaml'?" in message


FORMS = ("M", "M:S", "H:M:S", "D-H", "D-H:M", "D-H:M:S")
SECONDS = {"D": 86400, "H": 3600, "M": 60, "S": 1}


@given(
    form=st.sampled_from(FORMS),
    numbers=st.fixed_dictionaries({unit: st.integers(0, 400) for unit in SECONDS}),
    width=st.integers(1, 3),
)
def test_minutes_are_those_of_sbatch(form: str, numbers: dict[str, int], width: int) -> None:
    """Each form of the manual, against its meaning in seconds, counted up minute by minute."""
    written = "".join(f"{numbers[c]:0{width}}" if c in SECONDS else c for c in form)
    seconds = sum(numbers[unit] * SECONDS[unit] for unit in form if unit in SECONDS)
    found = minutes(written)
    assert found * 60 >= seconds > (found - 1) * 60
    assert minutes(f" {written} ") == found


@pytest.mark.parametrize("text", ["", "-", "1-", "1:2:3:4", "1-2:3:4:5", "-5", "1h", "1 2", "1.5"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="as sbatch takes it"):
        minutes(text)


def test_a_number_in_yaml_is_minutes(desk: Desk) -> None:
    assert load_profile(desk.profile(time=90)).time == 90
    assert load_profile(desk.profile(time="1:30:01")).time == 91
