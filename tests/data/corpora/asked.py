"""Questions as records, some without an answer, and how they are asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PROMPT, ANSWER = "Question: {question}\nAnswer: ", "{answer}"
ROWS = [
    {"question": "how many ducks swim there", "answer": "four, and one goose"},
    {"question": "what is left", "answer": ""},
    {"question": "who closes the brackets", "answer": None},
    {"question": "why", "answer": "because the longest of all these answers spans two windows"},
    {"question": "when", "answer": "now"},
]


def write_questions(folder: Path, rows: Sequence[Mapping[str, Any]] = ROWS) -> str:
    """The name of the data set."""
    (folder / "qa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"file:{folder}/qa.jsonl"
