"""Judge several recordings and print each result as soon as it is known."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping

from espnet_ext.errors import UserError
from espnet_ext.feedback.judge import Judge
from espnet_ext.feedback.judgement import Judgement, to_text
from espnet_ext.feedback.recordings import Recording, file_of
from espnet_ext.progress import say


def judge_all(
    judge: Judge,
    recordings: Iterable[Recording],
    prompts: Mapping[str, str] | str | None,
    *,
    as_json: bool = False,
    uncertain: bool = False,
    gloss: bool = False,
    segments: bool = False,
) -> int:
    """Print the judgements; return the number of recordings that raised an error.

    Args:
        prompts: the prompt of all recordings, or that of each by its `key`, or None.
        as_json: print JSON lines instead of text.
        uncertain, gloss: see `judgement.to_text`.
        segments: judge the segments of each recording.
    """
    failures = 0
    for recording in recordings:
        prompt = prompts.get(recording.key) if isinstance(prompts, Mapping) else prompts
        try:
            for judgement in _judgements(judge, recording, prompt, segments):
                if as_json:
                    print(json.dumps(judgement.to_json(), ensure_ascii=False), flush=True)
                else:
                    print(to_text(judgement, uncertain, gloss), flush=True)
        except UserError as error:
            failures += 1
            where = "" if recording.name in error.message else f"{recording.name}: "
            say(f"error: {where}{error}")
        if getattr(sys.stdout, "has_ended", False):  # the reader of the output
            return failures
    return failures


def _judgements(
    judge: Judge, recording: Recording, prompt: str | None, segments: bool
) -> Iterator[Judgement]:
    with file_of(recording) as path:
        if segments:
            yield from judge.segments(path, recording.name)
        else:
            yield judge(path, prompt, name=recording.name)
