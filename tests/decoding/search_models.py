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

SIZE = 32  # encoder output size


def sharpen(module, factor=3.0):
    """Scale the weights of a layer, so that it prefers some tokens as a trained one does."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(factor)


def make_decoder(vocab_size, kind="transformer", dtype=torch.double, **conf):
    if kind != "rnn":
        conf = {"attention_heads": 4, "linear_units": 64, "num_blocks": 2, **conf}
    build = espnet.resolve("decoder", kind)
    decoder = build(vocab_size=vocab_size, encoder_output_size=SIZE, **conf).to(dtype).eval()
    output = decoder.output if kind == "rnn" else decoder.output_layer
    sharpen(output)
    with torch.no_grad():
        output.bias[vocab_size - 1] += 1  # so that some hypotheses end before the maximum length
    return decoder


def make_ctc(vocab_size, dtype=torch.double):
    ctc = espnet.resolve("ctc", "ctc")(odim=vocab_size, encoder_output_size=SIZE)
    sharpen(ctc.ctc_lo)
    return ctc.to(dtype).eval()


def make_encoder_out(lengths, dtype=torch.double):
    """Return random encoder output (B, T, SIZE) and its lengths (B,)."""
    return torch.randn(len(lengths), max(lengths), SIZE, dtype=dtype), torch.tensor(lengths)


def search_by_us(
    decoder, ctc, ctc_weight, vocab_size, options, encoder_out, lengths, lm=None, lm_scorer=None
):
    """Return the n-best list (ids, score) of each utterance, by the search under test."""
    scorers = {"decoder": (build_scorer(decoder), 1.0 - ctc_weight)}
    if lm is not None or lm_scorer is not None:
        scorers["lm"] = (lm_scorer or build_scorer(lm), options.lm_weight)
    eos = vocab_size - 1
    search = BeamSearch(scorers, ctc, ctc_weight, vocab_size, eos, eos, options)
    return [
        [(hypothesis.token_ids, hypothesis.score) for hypothesis in nbest]
        for nbest in search(encoder_out, lengths)
    ]


def search_by_espnet(decoder, ctc, ctc_weight, vocab_size, options, encoder_out, lengths, lm=None):
    """Return the n-best lists of ESPnet's search, batched if it can be, without a CTC window."""
    eos = vocab_size - 1
    batched = hasattr(decoder, "batch_score")
    search = (BatchBeamSearch if batched else SingleBeamSearch)(
        beam_size=min(options.beam_size, vocab_size),
        weights={
            "decoder": 1.0 - ctc_weight,
            "ctc": ctc_weight,
            "length_bonus": options.penalty,
            "lm": options.lm_weight,
        },
        scorers={
            "decoder": decoder,
            "ctc": CTCPrefixScorer(ctc, eos),
            "length_bonus": LengthBonus(vocab_size),
            "lm": lm,
        },
        sos=eos,
        eos=eos,
        vocab_size=vocab_size,
        token_list=None,
        pre_beam_score_key=None if ctc_weight == 1.0 else "full",
        normalize_length=options.normalize_length,
    )
    search = search.eval().to(encoder_out.dtype)
    ratios = {"maxlenratio": options.maxlenratio, "minlenratio": options.minlenratio}
    with torch.no_grad():
        if batched:
            nbest_lists = search(x=encoder_out.clone(), x_lengths=lengths, **ratios)
        else:
            nbest_lists = [
                search(x=row[:length], **ratios)
                for row, length in zip(encoder_out, lengths, strict=True)
            ]
    return [
        [(_without_special(h.yseq.tolist(), eos), float(h.score)) for h in nbest[: options.nbest]]
        for nbest in nbest_lists
    ]


def _without_special(ids, eos):
    """Remove sos, all eos at the end, and blanks."""
    ids = ids[1:]
    while ids and ids[-1] == eos:
        ids.pop()
    return tuple(i for i in ids if i != 0)


def grid():
    """Yield (vocabulary size, CTC weight, options) for all settings that change the results."""
    for vocab_size, ctc_weight, beam, max_ratio, normalize, penalty, min_ratio in itertools.product(
        (5, 30),
        (0.0, 0.3, 0.5, 1.0),
        (1, 5, 10, 20),
        (0.0, 0.5, -3.0),
        (False, True),
        (0.0, 0.4),
        (0.0, 0.2),
    ):
        options = SearchOptions(
            beam_size=beam,
            maxlenratio=max_ratio,
            minlenratio=min_ratio,
            penalty=penalty,
            normalize_length=normalize,
            nbest=3,
        )
        yield vocab_size, ctc_weight, options
