"""The head `ctc`: a CTC layer alone, searched by prefix search, or greedily by its best path."""

from espnet_ext.model.heads.ctc_layer import CTC
from espnet_ext.model.heads.joint import JointHead


class CTCHead(JointHead):
    @classmethod
    def criteria_of(cls, options):
        return (CTC,)
