"""Prompt and answer of a likelihood evaluation, checked against the file that they are for."""

from __future__ import annotations

from harness.data.questions import first_record
from harness.data.templates import Template
from harness.errors import HarnessError
from harness.planning.eval_settings import LikelihoodSetting
from harness.planning.located import Located


def check_templates(
    setting: LikelihoodSetting, data: str, split: str, own: Located, where: str
) -> None:
    """Both are given and can be read, and the first record has their fields; else a HarnessError.

    `where` is the place of `data`.
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
        place, record = first_record(data, split)
    except HarnessError as error:
        raise error.located(where) from error
    for key, text in given.items():
        assert text is not None
        try:
            template = Template.parse(text)
        except HarnessError as error:
            raise error.located(own.where((key,))) from error
        try:
            template.render(record)
        except HarnessError as error:
            raise error.located(place).located(own.where((key,))) from error
