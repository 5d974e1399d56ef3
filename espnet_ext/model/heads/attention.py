"""The head `attention`: an attention decoder alone, searched by beam search."""

from typing import Any

from espnet_ext.model.heads.attention_decoder import AttentionDecoder
from espnet_ext.model.heads.joint import JointHead


class AttentionHead(JointHead):
    @classmethod
    def criteria_of(cls, options):
        return (AttentionDecoder,)

    def search_defaults(self) -> dict[str, Any]:
        # Without CTC the sum of log-probabilities favours hypotheses that stop early.
        return {**super().search_defaults(), "normalize_length": True}
