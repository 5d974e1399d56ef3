"""Tiny transducers, ESPnet's search with them, and all transcripts that they can emit."""

import itertools
import math

import pytest
import torch

from espnet_ext.model import espnet
from espnet_ext.model.prediction import build_prediction

SIZE, HIDDEN, JOINT = 16, 12, 10  # encoder output, prediction network, joint network


def make_parts(kind="lstm", vocab_size=9, seed=0, dtype=torch.float32, num_layers=2):
    """Return networks that prefer some tokens, as trained ones do; eos, the last, is improbable."""
    torch.manual_seed(seed)
    conf = {"hidden_size": HIDDEN}
    if kind != "stateless":
        conf["num_layers"] = num_layers
    prediction = build_prediction(kind, conf, vocab_size, "outputs.surface")
    joint = espnet.load("JointNetwork")(vocab_size, SIZE, HIDDEN, JOINT)
    with torch.no_grad():
        for parameter in [*prediction.parameters(), *joint.parameters()]:
            parameter.mul_(3)
        joint.lin_out.bias[0] += 2
        joint.lin_out.bias[vocab_size - 1] = -1e4
    return {"prediction": prediction.to(dtype).eval(), "joint": joint.to(dtype).eval()}


def make_encoder_out(lengths, dtype=torch.float32, seed=1):
    """Return random encoder output (B, T, SIZE) and its lengths (B,)."""
    generator = torch.Generator().manual_seed(seed)
    encoder_out = 2 * torch.randn(len(lengths), max(lengths), SIZE, generator=generator)
    return encoder_out.to(dtype), torch.tensor(lengths)


def espnet_search(parts, beam_size, **options):
    """Return ESPnet's search with the same weights: encoder output (T, SIZE) to (ids, score)."""
    search_module = pytest.importorskip("espnet2.asr.transducer.beam_search_transducer")
    decoder_module = pytest.importorskip("espnet2.asr.decoder.transducer_decoder")
    prediction = parts["prediction"]
    decoder = decoder_module.TransducerDecoder(
        prediction.embed.num_embeddings,
        "lstm" if prediction.has_cell else "gru",
        len(prediction.decoder),
        HIDDEN,
    )
    decoder.load_state_dict(prediction.state_dict())
    search = search_module.BeamSearchTransducer(
        decoder.eval(), parts["joint"], beam_size, **options
    )

    def run(encoder_out):
        with torch.no_grad():
            return [(tuple(h.yseq[1:]), float(h.score)) for h in search(encoder_out)]

    return run


def transcript_log_probs(parts, encoder_out, max_symbols):
    """Return log P of each transcript, the sum over its paths, by enumerating all of them.

    Args:
        encoder_out: (T, SIZE).
        max_symbols: labels that a path may emit per frame.
    """
    frames, vocab_size = len(encoder_out), parts["joint"].lin_out.out_features
    log_probs = {}
    for length in range(frames * max_symbols + 1):
        # A path is the number of labels that it emits at each frame.
        paths = [
            path
            for path in itertools.product(range(max_symbols + 1), repeat=frames)
            if sum(path) == length
        ]
        for ids in itertools.product(range(1, vocab_size - 1), repeat=length):
            with torch.no_grad():
                predicted = parts["prediction"](torch.tensor([[0, *ids]]))[0]
                logits = parts["joint"](encoder_out[:, None], predicted[None])
            lattice = logits.log_softmax(-1).tolist()  # [t][u][token]
            probability = 0.0
            for path in paths:
                u, log_prob = 0, 0.0
                for t, num_labels in enumerate(path):
                    for _ in range(num_labels):
                        log_prob += lattice[t][u][ids[u]]
                        u += 1
                    log_prob += lattice[t][u][0]
                probability += math.exp(log_prob)
            log_probs[ids] = math.log(probability)
    return log_probs
