"""Tiny transducers, ESPnet's search over them, and all transcripts that they can give."""

import itertools
import math

import pytest
import torch

from espnet_ext.model import espnet
from espnet_ext.model.prediction import build_prediction

SIZE, HIDDEN = 16, 12


def make(kind="lstm", vocabulary=9, seed=0, dtype=torch.float32, layers=2):
    """Networks that prefer some tokens, as trained ones do; eos, the last, is never likely."""
    torch.manual_seed(seed)
    conf = {"hidden_size": HIDDEN} | ({} if kind == "stateless" else {"num_layers": layers})
    prediction = build_prediction(kind, conf, vocabulary, "outputs.surface")
    joint = espnet.load("JointNetwork")(vocabulary, SIZE, HIDDEN, 10)
    with torch.no_grad():
        for parameter in [*prediction.parameters(), *joint.parameters()]:
            parameter.mul_(3)
        joint.lin_out.bias[0] += 2
        joint.lin_out.bias[vocabulary - 1] = -1e4
    return {"prediction": prediction.to(dtype).eval(), "joint": joint.to(dtype).eval()}


def states(lengths, dtype=torch.float32, seed=1):
    random = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths), SIZE)
    return 2 * torch.randn(shape, generator=random).to(dtype), torch.tensor(lengths)


def peer_of(parts, beam, **options):
    module = pytest.importorskip("espnet2.asr.transducer.beam_search_transducer")
    network = pytest.importorskip("espnet2.asr.decoder.transducer_decoder")
    own = parts["prediction"]
    decoder = network.TransducerDecoder(
        own.embed.num_embeddings, "lstm" if own.has_cell else "gru", len(own.decoder), HIDDEN
    )
    decoder.load_state_dict(own.state_dict())
    search = module.BeamSearchTransducer(decoder.eval(), parts["joint"], beam, **options)

    def run(x):
        with torch.no_grad():
            return [(tuple(h.yseq[1:]), float(h.score)) for h in search(x)]

    return run


def every_transcript(parts, x, symbols):
    """P of each label sequence: all its paths with at most `symbols` labels a frame, enumerated."""
    frames, vocabulary = len(x), parts["joint"].lin_out.out_features
    found = {}
    for length in range(frames * symbols + 1):
        ways = [w for w in itertools.product(range(symbols + 1), repeat=frames) if sum(w) == length]
        for ids in itertools.product(range(1, vocabulary - 1), repeat=length):
            labels = torch.tensor([[0, *ids]])
            with torch.no_grad():
                said = parts["prediction"](labels)[0]
                logs = parts["joint"](x[:, None], said[None]).log_softmax(-1).tolist()
            total = 0.0
            for way in ways:
                u, log = 0, 0.0
                for t, count in enumerate(way):
                    for _ in range(count):
                        log += logs[t][u][ids[u]]
                        u += 1
                    log += logs[t][u][0]
                total += math.exp(log)
            found[ids] = math.log(total)
    return found
