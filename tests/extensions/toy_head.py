"""A head that classifies the whole utterance: its output is one token. Its search is its own."""

from dataclasses import dataclass

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.config import OutputConfig
from espnet_ext.model.heads.base import Criterion, Head
from espnet_ext.model.heads.search import RawHypothesis


@dataclass(frozen=True)
class ClassifierOptions(OutputConfig):
    class_weight: float = 0.0


class MeanClassifier(Criterion):
    """Cross-entropy of the first token, from the mean of the encoder output."""

    term = "class"
    weight_key = "class_weight"
    stock_parts = {"classifier": "classifier"}
    ratios = ("right",)

    def __init__(self, context):
        self.module = torch.nn.Linear(context.encoder_size, context.vocabulary)
        self.parts = {"classifier": self.module}

    def logits(self, states, lengths):
        inside = torch.arange(states.size(1), device=states.device) < lengths[:, None]  # (N, T)
        mean = (states * inside[..., None]).sum(1) / lengths[:, None]
        return self.module(mean)  # (N, V)

    def __call__(self, states, lengths, text, text_lengths, autocast):
        logits, target = self.logits(states, lengths), text[:, 0]
        right = (logits.argmax(-1) == target).sum().to(states.dtype)
        counts = {"right": (right, right * 0 + len(target))}
        return torch.nn.functional.cross_entropy(logits, target), counts


class ClassifierHead(Head):
    Options = ClassifierOptions

    @classmethod
    def criteria_of(cls, options):
        return (MeanClassifier,)

    def check_search(self, head_conf, where):
        if set(head_conf) - {"candidates"}:
            raise UserError(f"{where}: {head_conf}", "the only option is candidates")

    def searcher(self, options):
        (criterion,) = self.criteria
        candidates = options.head_conf.get("candidates", 1)

        def search(encoder_out, lengths):
            log_probs = criterion.logits(encoder_out, lengths).log_softmax(-1)
            values, ids = log_probs.topk(candidates)  # (B, candidates)
            return [
                [RawHypothesis((i,), v, {"class": v}, (2.718281828**v,)) for v, i in pairs]
                for pairs in map(zip, values.tolist(), ids.tolist())
            ]

        return search
