"""Uncertainty sections against numbers worked out by brute force from written records."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from harness.analysis.exhibits.gather import Gathered, gather
from harness.analysis.exhibits.uncertainty import BINS, UncertaintyExhibit, UncertaintyRow
from harness.analysis.figures.energy_maps import printable
from harness.analysis.figures.sections import section_drawings
from harness.analysis.frame import load_frame
from harness.analysis.resampling import resamples, stretched
from harness.analysis.tables.sections import section_tables
from harness.errors import HarnessError
from harness.planning.suite import load_suite
from harness.show.figures import write_figures
from tests.analysis.records_factory import measured, write_suite

CONTENTS = ("real", "shuffled", "random")
STEPS = 4
TEXT = """
suite: text
experiments:
  text:
    base:
      task: {kind: next_token, context: 16}
      batch_size: 8
      budget: {steps: 10}
      optimizer: {lr: 1e-3}
      config: {depth: 1, width: 16, heads: 1}
    adapters: {ebt: {adapter: ebt_text}}
    seeds: [0, 1]
    evaluations:
      sure: {kind: energy, data: builtin/docs, noise_seeds: [0, 1],
             thinking: {kind: descent, steps: 4}, texts: [ab]}
report:
  - {kind: uncertainty, title: Sure, experiment: text, evaluation: sure}
"""
VIDEO = """
suite: video
experiments:
  video:
    base:
      task: {kind: next_frame, data: builtin/moving-digits, context: 4}
      batch_size: 8
      budget: {steps: 10}
      optimizer: {lr: 1e-3}
      config: {depth: 1, width: 16, heads: 1}
    adapters: {ebt: {adapter: ebt_video}}
    evaluations:
      sure: {kind: energy, data: builtin/moving-digits, thinking: {kind: descent, steps: 4}}
report:
  - {kind: uncertainty, title: Clips, experiment: video, evaluation: sure}
"""


class Planted:
    """Writes an evaluation whose every token is known, by run seed and noise seed."""

    def __init__(self, documents: int = 20, *, video: bool = False) -> None:
        self.documents, self.video = documents, video
        self.tokens: dict[tuple[int, int], tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        random = np.random.default_rng(0)
        self.sizes = random.integers(6, 20, documents)
        self.sizes[2] = 0  # a document without a prediction
        self.owners = np.repeat(np.arange(documents), self.sizes)
        self.spoil: int | None = None

    def __call__(self, run: Any, spec: Any, folder: Path) -> list[Any]:
        seeds = len(spec.noise_seeds)
        energy = np.zeros((seeds, 3, STEPS + 1, self.documents))
        loss = np.zeros_like(energy)
        kept: dict[str, list[Any]] = {"energy": [], "loss": [], "entropy": []}
        for noise_seed in range(seeds):
            random = np.random.default_rng(10 * run.spec.seed + noise_seed)
            shape = (3, len(self.owners))
            nats = random.exponential(2.0, shape)
            # Higher where the loss is, a level for each seed, random input above the rest.
            final = 0.3 * nats + random.normal(size=shape) + 5 * run.spec.seed
            final[2] += 1.0
            if self.spoil == run.spec.seed:
                final[0, 3] = np.nan
            entropy = nats + random.normal(size=shape)
            self.tokens[run.spec.seed, noise_seed] = final, nats, entropy
            for step in range(STEPS + 1):
                for content in range(3):
                    each = final[content] + (STEPS - step) / 4
                    energy[noise_seed, content, step] = self._by_document(each)
                    loss[noise_seed, content, step] = self._by_document(
                        nats[content] + STEPS - step
                    )
            for name, part in (("energy", final), ("loss", nats), ("entropy", entropy)):
                kept[name].append(part)
        if self.video:
            del kept["entropy"]
        np.savez_compressed(
            folder / "energies.npz",
            contents=np.array(CONTENTS),
            unit=np.array("smooth L1" if self.video else "nats/token"),
            trained_steps=np.array(2),
            n=self.sizes,
            energy=energy,
            loss=loss,
            kept_document=self.owners.astype(np.int32),
            kept_position=(np.arange(len(self.owners)) % 16).astype(np.int32),
            **{f"kept_{k}": np.stack(v).astype(np.float32) for k, v in kept.items()},
        )
        (folder / "examples.json").write_text(json.dumps({"unit": "", "examples": self._kept()}))
        tags = {"data": spec.data, "split": spec.split, "kind": "descent", "steps": 4, "samples": 1}
        cost = {"nfe": 4.0, "flops": 100.0, "seconds": 1e-5}
        return [measured(run, "energy", 0.0, unit="energy", tags=tags, cost=cost)]

    def _by_document(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self.owners, values, self.documents)

    def _kept(self) -> list[dict[str, Any]]:
        pieces = ["2", "3", "4"] if self.video else ["a", " ", "$b"]
        return [
            {
                "name": "clip 1" if self.video else "a $b",
                "content": content,
                "in_training": content == "real" if not self.video else None,
                "pieces": pieces,
                "windows": [0, 0, 1],
                "energies": [
                    [[index + step + place + seed for place in range(3)] for step in range(5)]
                    for seed in range(2)
                ],
                "losses": [[1.0, None, 3.0], [2.0, 2.0, 2.0]],
            }
            for index, content in enumerate(CONTENTS)
        ]


def gathered(text: str, planted: Planted, folder: Path) -> Gathered:
    path = folder / "suite.yaml"
    path.write_text(text)
    suite = load_suite(path)
    write_suite(suite, folder, planted)
    (found,) = gather(suite, load_frame(suite, folder))
    return found


def row_of(found: Gathered) -> UncertaintyRow:
    assert isinstance(found.exhibit, UncertaintyExhibit)
    (row,) = found.exhibit.rows
    return row


def test_estimates_are_means_over_seeds_of_what_scipy_and_sklearn_say(tmp_path: Path) -> None:
    planted = Planted()
    row = row_of(gathered(TEXT, planted, tmp_path))
    tokens = list(planted.tokens.values())
    assert len(tokens) == row.seeds * row.noise_seeds == 4
    own = [spearmanr(final[0], nats[0]).statistic for final, nats, _ in tokens]
    assert row.correlation.value == pytest.approx(np.mean(own), abs=1e-6)
    entropies = [spearmanr(entropy[0], nats[0]).statistic for _, nats, entropy in tokens]
    assert row.entropy.value == pytest.approx(np.mean(entropies), abs=1e-6)
    assert row.entropy_excess.value == pytest.approx(np.mean(np.subtract(entropies, own)), abs=1e-6)
    labels = np.repeat([0, 1], len(planted.owners))
    areas = [roc_auc_score(labels, np.concatenate([final[0], final[2]])) for final, _, _ in tokens]
    assert row.of("random").auroc.value == pytest.approx(np.mean(areas), abs=1e-6)
    within = []
    for final, nats, _ in tokens:
        each = [
            (spearmanr(final[0, at], nats[0, at]).statistic, at.sum())
            for at in (planted.owners == d for d in range(20))
            if at.sum() >= 5
        ]
        within.append(np.average([v for v, _ in each], weights=[n for _, n in each]))
    assert row.within_documents.value == pytest.approx(np.mean(within), abs=1e-6)
    means = [final[2].mean() - final[0].mean() for final, _, _ in tokens]
    assert row.of("random").excess.value == pytest.approx(np.mean(means))
    finals = [final[1].mean() for final, _, _ in tokens]
    assert [e.value for e in row.of("shuffled").energy] == pytest.approx(
        [np.mean(finals) + k / 4 for k in (4, 3, 2, 1, 0)]
    )
    assert row.of("real").course[-1].value == pytest.approx(0)
    assert row.of("real").course[-1].interval == pytest.approx((0, 0))
    assert row.of("real").excess.value is None
    tenths = [
        [part.mean() for part in np.array_split(nats[0][np.argsort(final[0])], BINS)]
        for final, nats, _ in tokens
    ]
    # Tenths of a number that 10 does not divide differ by one prediction at most.
    assert [e.value for e in row.bins] == pytest.approx(np.mean(tenths, axis=0), rel=0.1)
    assert (row.n, row.kept, row.documents) == (planted.sizes.sum(), len(planted.owners), 19)
    assert (row.trained_steps, row.nfe, row.setting) == (2, 4.0, "4x1")


def test_intervals_draw_seeds_then_whole_documents(tmp_path: Path) -> None:
    """Against samples in which documents are really repeated."""
    planted = Planted()
    row = row_of(gathered(TEXT, planted, tmp_path))
    counts, shares = resamples(2, 19)
    shares = stretched(shares)
    owners = np.searchsorted(np.flatnonzero(planted.sizes), planted.owners)
    drawn = []
    for count, share in list(zip(counts, shares, strict=True)):
        at = np.repeat(np.arange(len(owners)), count[owners])
        by_seed = [
            np.mean(
                [planted.tokens[s, k][0][2][at] - planted.tokens[s, k][0][0][at] for k in (0, 1)]
            )
            for s in (0, 1)
        ]
        drawn.append(share @ by_seed)
    assert row.of("random").excess.interval == pytest.approx(
        tuple(np.quantile(drawn, [0.025, 0.975]))
    )
    assert row.correlation.interval is not None
    low, high = row.correlation.interval
    assert row.correlation.value is not None
    assert low < row.correlation.value < high
    assert row.within_positions.interval is None
    auroc = row.of("random").auroc_documents.interval
    assert auroc is not None
    assert auroc[1] == 1.0  # certain in both seeds, and no more than that however they are shared


def test_entropy_is_better_than_energy_only_where_the_paired_interval_says_so(
    tmp_path: Path,
) -> None:
    """Energy that ranks as entropy does but for a little chance, and energy that ranks nothing."""
    notes = {}
    for share in (1.0, 0.0):
        planted = Planted()

        def mixed(run: Any, spec: Any, folder: Path) -> list[Any]:
            found = planted(run, spec, folder)  # noqa: B023
            with np.load(folder / "energies.npz") as stored:
                kept = dict(stored)
            chance = np.random.default_rng(1).normal(size=kept["kept_entropy"].shape)
            other = kept["kept_entropy"] + 0.05 * chance
            kept["kept_energy"] = other if share else chance  # noqa: B023
            np.savez_compressed(folder / "energies.npz", **kept)
            return found

        folder = tmp_path / str(share)
        folder.mkdir()
        found = gathered(TEXT, mixed, folder)  # type: ignore[arg-type]
        row = row_of(found)
        assert row.entropy.value is not None
        assert row.correlation.value is not None
        table = section_tables(found)[0]
        assert table.data[0]["entropy_less_energy"] == pytest.approx(
            row.entropy.value - row.correlation.value
        )
        notes[share] = " ".join(table.notes)
    assert "Its ρ is higher than energy's in 0 of 1, lower in 0, undecided in 1" in notes[1.0]
    assert "Its ρ is higher than energy's in 1 of 1" in notes[0.0]


def test_few_documents_give_no_interval_and_say_so(tmp_path: Path) -> None:
    found = gathered(TEXT, Planted(documents=8), tmp_path)
    row = row_of(found)
    assert row.entropy_excess.value is not None
    assert row.correlation.value is not None
    assert row.correlation.interval is None
    notes = " ".join(note for table in section_tables(found) for note in table.notes)
    assert "No intervals: fewer than 10 documents" in notes
    assert "ranks losses better than energy is not decided" in notes
    assert section_drawings(found)


def test_an_energy_that_is_not_finite_leaves_its_statistics_missing(tmp_path: Path) -> None:
    planted = Planted()
    planted.spoil = 1
    found = gathered(TEXT, planted, tmp_path)
    row = row_of(found)
    assert row.correlation.value is None
    assert row.of("real").energy[-1].value is None
    assert row.of("random").excess.interval is None
    assert row.entropy.value is not None  # which needs no energy
    first, second = section_tables(found)
    assert first.data[0]["correlation"] is None
    assert "nan" not in first.markdown() + second.markdown() + first.csv() + second.csv()
    for drawing in section_drawings(found):
        assert "nan" not in str(drawing.data)


def test_runs_on_different_documents_are_refused(tmp_path: Path) -> None:
    planted = Planted()

    def differing(run: Any, spec: Any, folder: Path) -> list[Any]:
        planted.sizes = planted.sizes + run.spec.seed
        planted.owners = np.repeat(np.arange(planted.documents), planted.sizes)
        return planted(run, spec, folder)

    with pytest.raises(HarnessError, match="different documents or steps"):
        gathered(TEXT, differing, tmp_path)  # type: ignore[arg-type]


def test_tables_hold_every_number(tmp_path: Path) -> None:
    found = gathered(TEXT, Planted(), tmp_path)
    row = row_of(found)
    first, second = section_tables(found)
    assert (first.name, second.name) == ("uncertainty", "uncertainty-inputs")
    assert "higher energy in 1 of 1, lower in 0, undecided in 0" in " ".join(first.notes)
    assert "random input in 1 of 1" in " ".join(second.notes)
    (line,) = first.data
    assert line["correlation"] == row.correlation.value
    assert line["loss_trained_steps"] == row.of("real").loss[2].value
    assert (line["n"], line["seeds"], line["noise_seeds"], line["nfe"]) == (row.n, 2, 2, 4.0)
    assert [cells[2].text for cells in second.rows] == list(CONTENTS)
    assert second.data[2]["auroc"] == row.of("random").auroc.value
    assert second.data[0]["auroc"] is None
    assert {len(cells) for cells in first.rows} == {len(first.header)}
    assert {len(cells) for cells in second.rows} == {len(second.header)}


def test_figures_draw_curves_tenths_and_texts(tmp_path: Path) -> None:
    found = gathered(TEXT, Planted(), tmp_path)
    row = row_of(found)
    curves, texts = section_drawings(found)
    assert (curves.name, texts.name) == ("uncertainty", "uncertainty-texts")
    drawn = [d for d in curves.data if d.get("input") == "random"]
    assert [d["value"] for d in drawn] == [e.value for e in row.of("random").course]
    left, right = curves.figure.axes
    assert list(left.lines[0].get_ydata()) == [e.value for e in row.of("real").course]
    assert [d["value"] for d in curves.data if d.get("by") == "energy"][:BINS] == [
        e.value for e in row.bins
    ]
    assert right.get_xlabel().startswith("tenth of the tokens")
    # Real and random, three pieces, five steps; means over noise seeds; missing stays missing.
    assert len(texts.data) == 2 * 3 * 5
    last = [d for d in texts.data if d["step"] == 4 and d["input"] == "real"]
    assert [d["energy"] for d in last] == [4.5, 5.5, 6.5]
    assert [d["loss"] for d in last] == [1.5, None, 2.5]
    written = [t.get_text() for t in texts.figure.findobj(Text)]
    assert "␣" in written
    assert any("shares 13 words with the training set" in t for t in written)


def test_clips_are_drawn_without_entropy(tmp_path: Path) -> None:
    found = gathered(VIDEO, Planted(video=True), tmp_path)
    assert row_of(found).entropy.value is None
    curves, clips = section_drawings(found)
    assert clips.name == "uncertainty-clips"
    assert not [d for d in curves.data if d.get("by") == "entropy"]
    assert curves.figure.axes[1].get_ylabel() == "loss (smooth L1)"
    assert "entropy" not in " ".join(section_tables(found)[0].header)


def test_what_is_missing_is_not_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(TEXT)
    suite = load_suite(path)
    write_figures([suite], tmp_path, lambda _: tmp_path / "figures", as_json=False)
    assert "Sure: not drawn, 2 of 2 evaluations missing" in capsys.readouterr().out
    (found,) = gather(suite, load_frame(suite, tmp_path))
    assert [table.rows for table in section_tables(found)] == [[], []]


def test_written_files_are_complete(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gathered(TEXT, Planted(), tmp_path)
    suite = load_suite(tmp_path / "suite.yaml")
    write_figures([suite], tmp_path, lambda _: tmp_path / "figures", as_json=True)
    listed = json.loads(capsys.readouterr().out)
    assert [Path(one["png"]).stem for one in listed] == ["uncertainty", "uncertainty-texts"]
    with Path(listed[1]["csv"]).open() as file:
        assert len(list(csv.DictReader(file))) == 30


@pytest.mark.parametrize(
    ("piece", "shown"),
    [(" a\n", "␣a↵"), ("é", "é"), ("漢", "□"), ("\x07", "07"), ("\u0301", "□"), ("", "")],
)
def test_pieces_have_a_glyph(piece: str, shown: str) -> None:
    assert printable(piece) == shown
