"""Read the references and hypotheses of a set in step, as blocks of utterances."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from espnet_ext.data.record import Utterance
from espnet_ext.scoring.hypotheses import HypothesisColumn
from espnet_ext.scoring.normal_form import comparison_form, token_type_of
from espnet_ext.scoring.tag_errors import Tags, split_all_tags


@dataclass(frozen=True)
class Block:
    """Consecutive utterances. Texts are in the form for comparison, without their tags."""

    utterances: Sequence[Utterance]
    hypotheses: Mapping[str, Mapping[str, str]]  # kind → utterance → text, if it has one
    reference_tags: Mapping[str, Mapping[str, Tags]]  # utterance → kind → tags
    hypothesis_tags: Mapping[str, Mapping[str, Tags]]  # kind → utterance → tags


class BlockReader:
    """Reads blocks. A block is held at a time, and tables that are not sorted by id.

    Args:
        data: the data directory with the references, for messages.
        hypotheses: kind → file.
        kinds: of references, in the order in which an utterance has them.
        token_types: kind → token type.
        symbols: non-linguistic symbols, which are removed.
    """

    def __init__(
        self,
        data: Path,
        hypotheses: Mapping[str, Path],
        kinds: Iterable[str],
        token_types: Mapping[str, str],
        symbols: Sequence[str] = (),
    ):
        self._columns = {kind: HypothesisColumn(file, data) for kind, file in hypotheses.items()}
        self._reference_types = {kind: token_type_of(kind, token_types) for kind in kinds}
        self._hypothesis_types = {kind: token_types.get(kind, "") for kind in hypotheses}
        self._symbols = symbols

    def read(self, utterances: Iterable[Utterance], size: int) -> Iterator[Block]:
        """Yield the utterances of the data directory, `size` of them at a time."""
        for batch in itertools.batched(utterances, size):
            yield self._block(batch)

    def _block(self, batch: Sequence[Utterance]) -> Block:
        utterances, reference_tags = [], {}
        for utterance in batch:
            texts, tags = split_all_tags(
                {
                    kind: comparison_form(utterance.texts[kind], token_type, self._symbols)
                    for kind, token_type in self._reference_types.items()
                    if kind in utterance.texts
                }
            )
            utterances.append(replace(utterance, texts=texts))
            reference_tags[utterance.utt_id] = tags
        hypotheses, hypothesis_tags = {}, {}
        for kind, column in self._columns.items():
            token_type = self._hypothesis_types[kind]
            hypotheses[kind], hypothesis_tags[kind] = split_all_tags(
                {
                    utterance.utt_id: comparison_form(text, token_type, self._symbols)
                    for utterance in batch
                    if (text := column.value(utterance.utt_id)) is not None
                }
            )
        return Block(utterances, hypotheses, reference_tags, hypothesis_tags)
