"""A live table of what runs now; plain lines where the output is not a terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from harness.quantities import duration


class ProgressTable:
    """Shows every active run's loss, step, speed and time left, and how many are finished."""

    def __init__(self, names: Mapping[str, str], console: Console) -> None:
        self.names = names
        self.console = console
        self.active: dict[str, dict[str, Any]] = {}
        self.ended: dict[str, int] = {}
        self.began = time.monotonic()
        self.live = Live(
            console=console, refresh_per_second=4, get_renderable=self._table, transient=True
        )

    def __enter__(self) -> ProgressTable:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.console.is_terminal:
            self.live.stop()

    def on_event(self, event: dict[str, Any]) -> None:
        """Take one worker event."""
        run = event["run"]
        if event["event"] == "end":
            last = self.active.pop(run, {})
            self.ended[event["ending"]] = self.ended.get(event["ending"], 0) + 1
            self._say(event, last)
            return
        entry = self.active.setdefault(run, {"began": time.monotonic()})
        if event["event"] == "phase":
            entry["phase"] = event["phase"]
        else:
            entry.setdefault("first", (event["time"]["seconds"], event["step"]))
            entry.update(event)

    def _say(self, event: dict[str, Any], last: Mapping[str, Any]) -> None:
        done = sum(self.ended.values())
        mark = {"done": "[green]done[/]", "failed": "[red]failed[/]"}.get(
            event["ending"], f"[yellow]{event['ending']}[/]"
        )
        loss = f"  loss {last['loss']:.4g}" if "loss" in last else ""
        told = event["reason"] if event["ending"] != "done" else None
        reason = f"  {escape(told)}" if told else ""
        took = f"  {duration(time.monotonic() - last['began'])}" if "began" in last else ""
        name = escape(self.names.get(event["run"], event["run"]))
        self.console.print(
            f"[{done}/{len(self.names)}] {mark}  {name}{loss}{took}{reason}", highlight=False
        )

    def _table(self) -> Table:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in ("run", "phase", "loss", "step", "speed", "left"):
            table.add_column(column, justify="left" if column in ("run", "phase") else "right")
        for run, entry in self.active.items():
            table.add_row(escape(self.names.get(run, run)), *self._cells(entry))
        done, total = sum(self.ended.values()), len(self.names)
        table.caption = f"{done} of {total} runs ended, {duration(time.monotonic() - self.began)}"
        return table

    def _cells(self, entry: Mapping[str, Any]) -> list[str]:
        phase = str(entry.get("phase", "start"))
        if phase != "train" or "step" not in entry:
            return [phase, "", "", "", ""]
        seconds, step, total = entry["time"]["seconds"], entry["step"], entry["total_steps"]
        began, first = entry["first"]
        rate = (step - first) / (seconds - began) if seconds > began else 0.0
        speed = ""
        if rate and entry.get("tokens") is not None:
            speed = f"{rate * entry['tokens'] / step:,.0f} tokens/s"
        elif rate:
            speed = f"{rate * entry['rows'] / step:,.0f} images/s"
        if total is None:
            share = entry["share"]
            left = duration(seconds * (1 - share) / share) if share else ""
            return [phase, f"{entry['loss']:.4f}", f"{step}", speed, left]
        left = duration((total - step) / rate) if rate else ""
        return [phase, f"{entry['loss']:.4f}", f"{step}/{total}", speed, left]
