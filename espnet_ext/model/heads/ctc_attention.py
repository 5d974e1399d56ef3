"""The head `ctc_attention`: an attention decoder and CTC, searched by joint beam search."""

from espnet_ext.model.heads.attention_decoder import AttentionDecoder
from espnet_ext.model.heads.ctc_layer import CTC
from espnet_ext.model.heads.joint import JointHead


class CTCAttentionHead(JointHead):
    @classmethod
    def criteria_of(cls, options):
        return (AttentionDecoder, CTC)
