"""A byte-level BPE trained on a split's own text: the same text gives the same file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from harness.data.corpora.overlap import stream_documents
from harness.data.tokenizer import END_OF_TEXT, Tokenizer, load_tokenizer
from harness.errors import HarnessError
from harness.records import write_text

#: 256 bytes and end of text.
SMALLEST = 257
_TOLD_DOCUMENTS = 256


def train_tokenizer(
    name: str,
    split: str,
    *,
    vocab_size: int,
    out: Path,
    on_progress: Callable[[int, int], None] = lambda documents, size: None,
) -> Tokenizer:
    """Train on every document of the split, write the `tokenizers` JSON file and return it.

    Text too small for `vocab_size` distinct tokens gives fewer. HarnessError for a size that is
    too small, text that is not UTF-8, or another file that is already at `out`.
    """
    from tokenizers import Tokenizer as Encoder  # imported here: planning needs none
    from tokenizers import decoders, models, pre_tokenizers, trainers

    if vocab_size < SMALLEST:
        raise HarnessError(
            "a byte-level vocabulary holds every byte and end of text",
            given=str(vocab_size),
            allowed=(f"{SMALLEST} or more",),
        )
    if out.suffix != ".json":
        raise HarnessError("a tokenizer file is called .json", where="--out", given=str(out))
    encoder = Encoder(models.BPE())
    encoder.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    encoder.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    encoder.train_from_iterator(_texts(name, split, on_progress), trainer)
    content = encoder.to_str(pretty=True) + "\n"
    if out.exists() and out.read_bytes() != content.encode():
        raise HarnessError(
            "there is another file already, which runs may have been trained with",
            where=f"--out {out}",
            hint="give another --out",
        )
    write_text(out, content)
    return load_tokenizer(str(out))


def _texts(name: str, split: str, on_progress: Callable[[int, int], None]) -> Iterator[str]:
    size = 0
    for count, (document, text) in enumerate(stream_documents(name, split), start=1):
        try:
            decoded = text.decode()
        except UnicodeDecodeError as error:
            raise HarnessError(
                f"a tokenizer is trained on UTF-8 text, and this document is not: {error}",
                where=f"{name} ({document})",
                hint="use tokenizer: bytes for data that are not text",
            ) from error
        yield decoded
        size += len(text)
        if count % _TOLD_DOCUMENTS == 0:
            on_progress(count, size)
