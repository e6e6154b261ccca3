"""Prompt and answer of an evaluation, checked against the records that they are for."""

from __future__ import annotations

from harness.data.corpora.questions import first_record
from harness.data.corpora.templates import Template
from harness.errors import HarnessError
from harness.planning.eval_settings import TextSetting, ThinkingSetting
from harness.planning.located import Located


def check_templates(setting: TextSetting, data: str, split: str, own: Located, where: str) -> None:
    """Both are given and can be read, and the first record has their fields; else a HarnessError.

    Of a dataset of the Hub's kind no record is read. `where` is the place of `data`.
    """
    given = {"prompt": setting.prompt, "answer": setting.answer}
    for key, text in given.items():
        if text is None:
            other = next(k for k in given if k != key)
            raise HarnessError(
                f"prompt and answer belong together, and there is no {key}",
                where=own.where((other,)),
                hint=f"add `{key}`, or leave both out: `data: file:PATH#FIELD` is plain text",
            )
    try:
        first = first_record(data, split)
    except HarnessError as error:
        raise error.located(where) from error
    for key, text in given.items():
        assert text is not None
        try:
            template = Template.parse(text)
        except HarnessError as error:
            raise error.located(own.where((key,))) from error
        if first is None:
            continue
        place, record = first
        try:
            template.render(record)
        except HarnessError as error:
            raise error.located(place).located(own.where((key,))) from error


def check_tokens(setting: ThinkingSetting, own: Located) -> None:
    """There are answers where the loss is to be theirs; else a HarnessError."""
    if setting.tokens == "answer" and not setting.asks:
        raise HarnessError(
            "plain text has no answers whose tokens could be counted",
            where=own.where(("tokens",)),
            given="answer",
            hint="give `prompt` and `answer`, and data that are records",
        )
