"""Small random decoders, CTC layers and language models, and ESPnet's own search with them."""

import itertools

import torch
from espnet2.legacy.nets.batch_beam_search import BatchBeamSearch
from espnet2.legacy.nets.beam_search import BeamSearch as SingleBeamSearch
from espnet2.legacy.nets.scorers.ctc import CTCPrefixScorer
from espnet2.legacy.nets.scorers.length_bonus import LengthBonus

from espnet_ext.decoding.beam import BeamSearch
from espnet_ext.decoding.options import SearchOptions
from espnet_ext.decoding.scorers import build_scorer
from espnet_ext.model import espnet

SIZE = 32


def sharpen(module, factor=3.0):
    """Make an untrained output layer prefer some tokens, as a trained one does."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(factor)


def make_decoder(vocabulary, kind="transformer", dtype=torch.double, **conf):
    if kind != "rnn":
        conf = {"attention_heads": 4, "linear_units": 64, "num_blocks": 2, **conf}
    build = espnet.resolve("decoder", kind)
    decoder = build(vocab_size=vocabulary, encoder_output_size=SIZE, **conf).to(dtype).eval()
    output = decoder.output if kind == "rnn" else decoder.output_layer
    sharpen(output)
    with torch.no_grad():
        output.bias[vocabulary - 1] += 1  # so that some end before the longest allowed
    return decoder


def make_ctc(vocabulary, dtype=torch.double):
    ctc = espnet.resolve("ctc", "ctc")(odim=vocabulary, encoder_output_size=SIZE)
    sharpen(ctc.ctc_lo)
    return ctc.to(dtype).eval()


def make_states(lengths, dtype=torch.double):
    states = torch.randn(len(lengths), max(lengths), SIZE, dtype=dtype)
    return states, torch.tensor(lengths)


def ours(decoder, ctc, weight, vocabulary, options, states, lengths, lm=None, scorer=None):
    """N-best (ids, score) of each utterance, by the search under test."""
    scorers = {"decoder": (build_scorer(decoder), 1.0 - weight)}
    if lm is not None or scorer is not None:
        scorers["lm"] = (scorer or build_scorer(lm), options.lm_weight)
    eos = vocabulary - 1
    found = BeamSearch(scorers, ctc, weight, vocabulary, eos, eos, options)(states, lengths)
    return [[(h.token_ids, h.score) for h in nbest] for nbest in found]


def stock(decoder, ctc, weight, vocabulary, options, states, lengths, lm=None):
    """The same by ESPnet's batched search, without a window on CTC."""
    eos = vocabulary - 1
    batched = hasattr(decoder, "batch_score")
    search = (
        (BatchBeamSearch if batched else SingleBeamSearch)(
            beam_size=min(options.beam_size, vocabulary),
            weights={
                "decoder": 1.0 - weight,
                "ctc": weight,
                "length_bonus": options.penalty,
                "lm": options.lm_weight,
            },
            scorers={
                "decoder": decoder,
                "ctc": CTCPrefixScorer(ctc, eos),
                "length_bonus": LengthBonus(vocabulary),
                "lm": lm,
            },
            sos=eos,
            eos=eos,
            vocab_size=vocabulary,
            token_list=None,
            pre_beam_score_key=None if weight == 1.0 else "full",
            normalize_length=options.normalize_length,
        )
        .eval()
        .to(states.dtype)
    )
    ratios = {"maxlenratio": options.maxlenratio, "minlenratio": options.minlenratio}
    with torch.no_grad():
        if batched:
            found = search(x=states.clone(), x_lengths=lengths, **ratios)
        else:
            found = [search(x=row[:n], **ratios) for row, n in zip(states, lengths, strict=True)]
    return [
        [(_content(h.yseq.tolist(), eos), float(h.score)) for h in nbest[: options.nbest]]
        for nbest in found
    ]


def _content(ids, eos):
    inner = list(itertools.dropwhile(lambda i: i == eos, reversed(ids[1:])))
    return tuple(i for i in reversed(inner) if i != 0)


def grid():
    """(vocabulary, CTC weight, options): every setting that changes what is found."""
    axes = itertools.product(
        (5, 30),
        (0.0, 0.3, 0.5, 1.0),
        (1, 5, 10, 20),
        (0.0, 0.5, -3.0),
        (False, True),
        (0.0, 0.4),
        (0.0, 0.2),
    )
    for vocabulary, weight, beam, longest, normalize, penalty, shortest in axes:
        yield (
            vocabulary,
            weight,
            SearchOptions(
                beam_size=beam,
                maxlenratio=longest,
                minlenratio=shortest,
                penalty=penalty,
                normalize_length=normalize,
                nbest=3,
            ),
        )
