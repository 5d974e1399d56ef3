"""Stage 4: find bands, narrow and wide, that a test set has and training lacks."""

from collections import Counter
from pathlib import Path

from espnet_ext.data.checks.context import Checked
from espnet_ext.data.checks.findings import WARNING
from espnet_ext.data.record import BANDS
from espnet_ext.data.table import stream_rows

OTHER_BAND = "other-band"  # code of the finding
_NARROW, _WIDE = BANDS


def check_bands(checked: Checked) -> None:
    """Report a band that no utterance of a directory in `CheckOptions.against` has.

    Without a table `utt2band`, all audio is wideband: stage 3 writes the table if any is not.
    """
    file = checked.folder / "utt2band"
    counts = Counter({_WIDE: checked.utterances})
    if file.is_file():
        counts = Counter(band for _, _, band in stream_rows(file))
    for other in map(Path, checked.options.against):
        known = {_WIDE}
        if (other / "utt2band").is_file():
            known = {band for _, _, band in stream_rows(other / "utt2band")}
        for band, count in counts.items():
            if band in known or count == 0:
                continue
            rates = "8 kHz or less" if band == _NARROW else "above 8 kHz"
            share = f"{count} of {checked.utterances} utterances are {band}band ({rates})"
            message = f"{share}, and none of {other} is"
            remedy = f"train with {band}band audio too; otherwise expect higher error rates"
            if band == _NARROW:
                remedy = "train with such audio, or with narrowband_prob, which simulates it"
            checked.add(WARNING, OTHER_BAND, (file, 0, ""), message, remedy, share)
