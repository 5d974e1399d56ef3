"""A corpus that only the tests register: sound files named `<speaker>_<word>.wav`."""

from dataclasses import dataclass
from pathlib import Path

from espnet_ext.corpora.preparation import (
    CorpusOptions,
    Report,
    Sets,
    assign_sets,
    check_audio,
    require_folder,
)
from espnet_ext.data.record import Utterance


@dataclass(frozen=True)
class Options(CorpusOptions):
    """Options of the toy corpus."""

    corpus_dir: str = ""
    case: str = "lower"
    drop: tuple[str, ...] = ()


def prepare(options: Options, report: Report) -> Sets:
    """Return the corpus as train, valid and test, split by speakers."""
    root = Path(require_folder(options.corpus_dir, "toy", "make one"))
    utterances = []
    for path in sorted(root.glob("*.wav")):
        speaker, _, word = path.stem.partition("_")
        if word in options.drop:
            report.leave_out(f"{speaker}-{word}", f"word '{word}' is dropped")
            continue
        text = word.upper() if options.case == "upper" else word
        utterances.append(
            Utterance(f"{speaker}-{word}", speaker, str(path), {"meaning": text}, "en")
        )
    utterances = check_audio(
        utterances, report, skip_unreadable=options.skip_unreadable, nj=options.nj
    )
    speakers = sorted({utterance.speaker for utterance in utterances})
    set_of = assign_sets(speakers, {"valid": 1, "test": 1})
    sets: Sets = {"train": [], "valid": [], "test": []}
    for utterance in utterances:
        sets[set_of[utterance.speaker]].append(utterance)
    return sets
