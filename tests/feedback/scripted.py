"""A recogniser with scripted transcripts, whose CTC posteriors are sure of the surface."""

from types import SimpleNamespace

import numpy as np
import torch

from espnet_ext.decoding.alignment import align
from espnet_ext.decoding.search import Hypothesis, Result
from espnet_ext.decoding.waveform import to_waveform
from espnet_ext.text.tokenizers import build_tokenizer

RATE = 16000
FRAMES_PER_TOKEN = 3


class ScriptedRecogniser:
    """Returns scripted transcripts, with CTC posteriors that are sure of the surface.

    Args:
        surface, meaning: the transcripts; None for a model without this output.
        token_type: of the surface.
        extra_tokens: further tokens of the surface.
        doubts: index of a token → another token that is nearly as probable there.
    """

    def __init__(self, surface, meaning=None, token_type="phone", extra_tokens=(), doubts=None):
        texts = {"surface": surface, "meaning": meaning}
        self.texts = {name: text for name, text in texts.items() if text is not None}
        self.outputs = list(self.texts)
        tokenizer = build_tokenizer(token_type, None, ())
        self.tokens = tokenizer.encode(surface or "")
        vocabulary = dict.fromkeys(["<blank>", "<unk>", *self.tokens, *extra_tokens, "<sos/eos>"])
        self.vocabulary = list(vocabulary)
        self.tokenizers = {"surface": tokenizer}
        self.doubts = doubts or {}
        head = SimpleNamespace(
            ctc=object(), options=SimpleNamespace(token_type=token_type), tokens=self.vocabulary
        )
        self.model = SimpleNamespace(heads={"surface": head}, condition_values={})
        self.sample_rate = RATE
        self.log_probs_of = ()

    def with_options(self, **options):
        assert options == {"times": True}
        return self

    def samples(self, audio, sample_rate=None):
        return to_waveform(audio, sample_rate, RATE)

    def is_too_short(self, samples):
        return samples < 400

    def token_ids(self, output, text):
        ids = {token: i for i, token in enumerate(self.vocabulary)}
        return [ids.get(token, 1) for token in self.tokenizers[output].encode(text)]

    def __call__(self, samples, conditions=None):
        seconds = len(samples) / RATE
        ids = [self.vocabulary.index(token) for token in self.tokens]
        logits = torch.zeros(max(1, FRAMES_PER_TOKEN * len(ids)), len(self.vocabulary))
        logits[:, 0] = 8.0
        for i, token in enumerate(ids):
            logits[FRAMES_PER_TOKEN * i + 1, [0, token]] = torch.tensor([0.0, 8.0])
            if i in self.doubts:
                other = self.vocabulary.index(self.doubts[i])
                logits[FRAMES_PER_TOKEN * i + 1, other] = 7.9
        log_probs = logits.log_softmax(-1)
        nbest = {name: [Hypothesis(text, (), (), 0.0)] for name, text in self.texts.items()}
        if "surface" in nbest:
            times = align(log_probs, ids, seconds)
            nbest["surface"] = [
                Hypothesis(
                    self.texts["surface"],
                    tuple(self.tokens),
                    tuple(ids),
                    0.0,
                    confidences=(0.9,) * len(ids),
                    times=times,
                )
            ]
        return Result(nbest, log_probs={"surface": log_probs})


NOISE = (np.random.default_rng(3).standard_normal(RATE) * 0.1).astype(np.float32)  # 1 s
