"""Tokenizers that go by a name: their size is known without a file, which the Hub gives once."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError

_FILE = "tokenizer.json"


@dataclass(frozen=True)
class NamedTokenizer:
    """A repository of the Hub that holds `tokenizer.json`, and the number of its token ids."""

    repository: str
    vocab_size: int


NAMED = {
    "gpt-neox-20b": NamedTokenizer("EleutherAI/gpt-neox-20b", 50277),
    "gpt2": NamedTokenizer("openai-community/gpt2", 50257),
}


@functools.cache
def named_file(name: str) -> Path:
    """The file of a named tokenizer: of the Hub's cache on this machine, else downloaded into it.

    Raises HarnessError where it is not here and the Hub cannot be reached.
    """
    from huggingface_hub import hf_hub_download  # imported here: it takes a second

    repository = NAMED[name].repository
    try:
        return Path(hf_hub_download(repository, _FILE, local_files_only=True))
    except OSError:  # not in the cache; its errors are of this kind
        pass
    try:
        return Path(hf_hub_download(repository, _FILE))
    except Exception as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise HarnessError(
            f"the tokenizer {name} is not on this machine, and the Hub cannot be reached: {said}",
            given=name,
            hint=f"where there is network, `hf download {repository} {_FILE}`; then copy the file "
            "here and give its path as tokenizer, or copy the Hub's cache folder (HF_HOME)",
        ) from error
