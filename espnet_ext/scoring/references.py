"""References of a set: their hashes, and what a first reading finds without holding them."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from espnet_ext.data.directory import stream_directory, text_files
from espnet_ext.data.record import Utterance
from espnet_ext.scoring.normal_form import Changes, FileChanges, token_type_of


class LabelsDigest:
    """A hash of ids, speakers and transcripts, but not of paths and audio."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, utterance: Utterance) -> None:
        row = [utterance.utt_id, utterance.speaker]
        row += [f"{kind}={text}" for kind, text in sorted(utterance.texts.items())]
        self._digest.update("\t".join(row).encode() + b"\n")

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def labels_sha256(utterances: Iterable[Utterance]) -> str:
    """Return the hash of the labels of all utterances: see `LabelsDigest`."""
    digest = LabelsDigest()
    for utterance in utterances:
        digest.add(utterance)
    return digest.hexdigest()


@dataclass
class Survey:
    """What the references of a set contain. Speakers are held, utterances are not."""

    source_sha256: str = ""  # of the labels as they are
    sha256: str = ""  # of the labels in the form for comparison
    utterances: int = 0
    speakers: set[str] = field(default_factory=set)
    bands: set[str] = field(default_factory=set)
    # Kind → the changes of its file. Kinds are in the order in which they first occur.
    files: dict[str, FileChanges] = field(default_factory=dict)

    def report(self, changes: Changes) -> None:
        """Print how many texts of which file were changed, and how many are empty."""
        for file in self.files.values():
            changes.report(file)
            file.report_empty()


def survey_references(data: str | Path, token_types: Mapping[str, str], changes: Changes) -> Survey:
    """Read the references of a data directory; nothing is printed.

    Args:
        token_types: kind → token type.
        changes: knows the symbols that are removed.

    Raises:
        UserError: for the first problem in the directory.
    """
    survey, source, compared = Survey(), LabelsDigest(), LabelsDigest()
    paths = text_files(data)
    for utterance in stream_directory(data, empty_texts=True):
        texts = {}
        for kind, text in utterance.texts.items():
            if kind not in survey.files:
                token_type = token_type_of(kind, token_types)
                survey.files[kind] = changes.file(str(paths[kind]), token_type)
            texts[kind] = survey.files[kind].apply(utterance.utt_id, text)
        source.add(utterance)
        compared.add(replace(utterance, texts=texts))
        survey.utterances += 1
        survey.speakers.add(utterance.speaker)
        if utterance.band:
            survey.bands.add(utterance.band)
    survey.source_sha256, survey.sha256 = source.hexdigest(), compared.hexdigest()
    return survey
