"""Where data are prepared: what stays of it when that ends early."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.data.effort import Workplace
from harness.errors import HarnessError


@pytest.mark.parametrize("parts", [(), ("00000000",)])
@pytest.mark.parametrize("ending", [KeyboardInterrupt, HarnessError("broken"), None])
def test_only_a_folder_with_a_part_in_it_stays(
    parts: tuple[str, ...], ending: type[BaseException] | BaseException | None, tmp_path: Path
) -> None:
    place = Workplace.of(tmp_path / "cache", ["a", 1])

    def work() -> None:
        with place.open():
            for part in parts:
                (place.parts / part).write_bytes(b"finished")
            if ending is not None:
                raise ending

    if ending is None:
        work()
    else:
        with pytest.raises(KeyboardInterrupt if ending is KeyboardInterrupt else HarnessError):
            work()
    assert [path.name for path in place.cache.rglob("*") if path.is_file()] == list(parts)
    assert place.parts.exists() == bool(parts)
    place.clear()
    assert not place.parts.exists()


def test_other_data_have_another_place(tmp_path: Path) -> None:
    places = [Workplace.of(tmp_path, what) for what in (["a", 1], ["a", 2], ["a", 1])]
    assert places[0] == places[2]
    assert places[0].parts != places[1].parts
    assert places[0].lock != places[1].lock
