"""Whether a model can be trained on the transcripts: its token lists, and CTC's frames.

CTC needs one encoder frame per label, and one more for each label that repeats the previous one
(Graves et al., "Connectionist temporal classification", ICML 2006).
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from operator import eq
from pathlib import Path

from espnet_ext.data.checks.context import (
    Checked,
    FrameOptions,
    TextRow,
    TokenCounts,
    TokenOptions,
    labelled_rows,
)
from espnet_ext.data.checks.findings import NOTE, WARNING
from espnet_ext.data.checks.phones import check_phones
from espnet_ext.data.directory import text_files
from espnet_ext.data.table import stream_rows
from espnet_ext.errors import UserError
from espnet_ext.files import read_yaml
from espnet_ext.text.tokenizers import (
    TOKENIZER_FILES,
    Tokenizer,
    build_tokenizer,
    lossy_texts,
    read_token_list,
)
from espnet_ext.text.unicode import normalize

# (kernel, stride) along time of ESPnet's subsampling layers, which do not pad.
_CONVOLUTIONS: dict[str, tuple[tuple[int, int], ...]] = {
    "conv1d1": ((3, 1), (3, 1)),
    "conv1d2": ((3, 1), (3, 2)),
    "conv1d3": ((3, 1), (5, 3)),
    "conv2d": ((3, 2), (3, 2)),
    "conv2d1": ((3, 1), (3, 1)),
    "conv2d2": ((3, 2), (3, 1)),
    "conv2d6": ((3, 2), (5, 3)),
    "conv2d8": ((3, 2), (3, 2), (3, 2)),
    "linear": (),
}


def parse_token_options(words: Iterable[str]) -> dict[str, TokenOptions]:
    """Parse `surface=phone:data/tokens.txt meaning=char` into token options by output.

    >>> parse_token_options(["surface=phone:t.txt"])["surface"].token_list
    't.txt'
    """
    options = {}
    for word in words:
        name, equals, value = word.partition("=")
        token_type, _, token_list = value.partition(":")
        if not equals or not name:
            remedy = "write <output>=<token type>, or <output>=<token type>:<token list>"
            raise UserError(f"'{word}': not the tokens of an output", remedy)
        if token_type not in TOKENIZER_FILES:
            build_tokenizer(token_type)  # raises UserError for an unknown type
        options[name] = TokenOptions(token_type, token_list)
    return options


def frame_options(config: Mapping) -> FrameOptions | None:
    """Return the frame options of a training configuration; None if only the model knows them.

    >>> frame_options({"encoder_conf": {"input_layer": "conv2d6"}})
    FrameOptions(rate=16000, hop=128, input_layer='conv2d6')
    """
    frontend = config.get("frontend_conf") or {}
    layer = (config.get("encoder_conf") or {}).get("input_layer", "conv2d")
    if config.get("frontend", "default") != "default" or layer not in _CONVOLUTIONS:
        return None
    rate = str(frontend.get("fs", 16000))
    rate = rate[:-1] + "000" if rate.endswith("k") else rate
    return FrameOptions(int(rate), int(frontend.get("hop_length", 128)), layer)


def read_frame_options(path: str | os.PathLike) -> FrameOptions | None:
    """Return the `frame_options` of a YAML file."""
    return frame_options(read_yaml(path, missing="name a training configuration"))


def encoder_frames(seconds: float, options: FrameOptions) -> int:
    """Return the number of encoder frames; the frontend pads half a window at both ends.

    >>> encoder_frames(1.0, FrameOptions(16000, 160, "conv2d"))
    24
    """
    length = round(seconds * options.rate) // options.hop + 1
    for kernel, stride in _CONVOLUTIONS[options.input_layer]:
        length = (length - kernel) // stride + 1
    return max(0, length)


def check_tokens(checked: Checked) -> None:
    """Report tokens that are not in a token list, lost characters, and texts too long for CTC."""
    available = text_files(checked.folder)
    seconds = _durations(checked) if checked.options.frames else {}
    for name, options in checked.options.tokens.items():
        if name not in available:
            continue
        file = available[name]
        tokenizer = _build_tokenizer(options)
        if tokenizer is None:
            message = f"its tokens ({options.token_type}) do not exist yet"
            checked.add(NOTE, "units", (file, 0, ""), message, "check it again after stage 5")
            continue
        if options.token_type == "phone":
            check_phones(checked, name)
        known = set(read_token_list(options.token_list)) if options.token_list else None
        unknown, lost = TokenCounts(), TokenCounts()
        if known is None and options.token_type != "bpe" and not checked.options.frames:
            continue  # there is nothing to compare the tokens with
        for row in labelled_rows(checked.folder, name):
            tokens = tokenizer.encode(row[2])
            if known is not None:
                unknown.add(row, (token for token in tokens if token not in known))
            if options.token_type == "bpe":
                for item in lossy_texts(tokenizer, tokens, {row[1]: normalize(row[2])}):
                    lost.add(row, item.characters)
            if checked.options.frames and row[1] in seconds:
                _check_ctc(checked, file, row, tokens, seconds[row[1]], checked.options.frames)
        for token, count in unknown.counts.most_common():
            message = f"'{token}' is not in {options.token_list} ({count} times in all)"
            remedy = "if it is not intended, correct it (it becomes <unk>); else run stage 5 again"
            place = (file, *unknown.first_rows[token])
            checked.add(WARNING, "unknown-token", place, message, remedy)
        for character, count in lost.counts.most_common():
            message = (
                f"'{character}' (U+{ord(character):04X}) is lost when the tokens are decoded "
                f"({count} texts)"
            )
            remedy = "if it is not intended, remove it; else run stage 5 again"
            place = (file, *lost.first_rows[character])
            checked.add(WARNING, "lossy-tokens", place, message, remedy)


def _durations(checked: Checked) -> dict[str, float]:
    """Return seconds by id, from the audio if it was checked, else from utt2dur."""
    if checked.audio:
        return {key: info.seconds for key, info in checked.audio.items()}
    file = checked.folder / "utt2dur"
    seconds = {}
    for _, key, value in stream_rows(file) if file.exists() else ():
        try:
            duration = float(value)
        except ValueError:
            continue  # check_tables reports it
        if duration > 0:
            seconds[key] = duration
    return seconds


def _check_ctc(
    checked: Checked,
    file: Path,
    row: TextRow,
    tokens: Sequence[str],
    seconds: float,
    options: FrameOptions,
) -> None:
    repeats = sum(map(eq, tokens, tokens[1:]))
    frames = encoder_frames(seconds, options)
    if frames < len(tokens) + repeats:
        message = (
            f"CTC cannot align {len(tokens)} labels ({repeats} of them repeated) with "
            f"{frames} encoder frames ({seconds:.2f} s)"
        )
        remedy = "use larger tokens, an input_layer with less subsampling, or check the audio"
        checked.add(WARNING, "ctc-infeasible", (file, row[0], row[1]), message, remedy)


@cache
def _build_tokenizer(options: TokenOptions) -> Tokenizer | None:
    """Return the tokenizer of an output; None without its model or tokenizer.json."""
    if options.token_type not in TOKENIZER_FILES:
        tokens = read_token_list(options.token_list) if options.token_list else ()
        return build_tokenizer(options.token_type, token_list=tokens)
    model = Path(options.token_list).parent / TOKENIZER_FILES[options.token_type]
    if not options.token_list or not model.is_file():
        return None
    return build_tokenizer(options.token_type, model)
