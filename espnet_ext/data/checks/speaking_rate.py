"""Whether the length of a transcript is plausible for the duration of its audio."""

from espnet_ext.data.checks.context import Checked, labelled_rows
from espnet_ext.data.checks.findings import WARNING
from espnet_ext.data.checks.pairs import text_size
from espnet_ext.data.checks.text import is_phonetic, script_of
from espnet_ext.data.directory import text_files

# Units per second that no speaker reaches: Hangul syllables, Han characters, phones, other letters.
_MAX_RATE = {"Hangul": 15.0, "Han": 12.0, "phones": 35.0, "": 45.0}
_MIN_UNITS = 4  # a shorter transcript is never too long
_MIN_RATE = 0.2  # units per second
_LONG = 8.0  # seconds; the minimal rate applies from here on


def check_speaking_rate(checked: Checked) -> None:
    """Report transcripts that are too long or too short for their audio."""
    if not checked.audio:
        return
    for name, file in text_files(checked.folder).items():
        for line, key, text in labelled_rows(checked.folder, name):
            info = checked.audio.get(key)
            if info is None or not info.frames:
                continue
            phonetic = is_phonetic(text)
            script = "phones" if phonetic else next(filter(None, map(script_of, text)), "")
            size = text_size(text, phonetic)
            rate = size / info.seconds
            units = "phones" if phonetic else "characters"
            remedy = (
                "listen to it: check that the audio is complete and the transcript belongs to it"
            )
            if rate > _MAX_RATE.get(script, _MAX_RATE[""]) and size >= _MIN_UNITS:
                message = f"{size} {units} in {info.seconds:.2f} s: too many to be spoken"
                checked.add(WARNING, "too-fast", (file, line, key), message, remedy)
            elif rate < _MIN_RATE and info.seconds >= _LONG:
                message = f"{size} {units} in {info.seconds:.2f} s: something is not transcribed"
                checked.add(WARNING, "too-slow", (file, line, key), message, remedy)
