"""Transducer search against ESPnet's, and against all transcripts of tiny models."""

import sys
from pathlib import Path

import pytest
import torch

from espnet_ext.decoding.options import SearchOptions
from espnet_ext.decoding.transducer import TransducerSearch
from espnet_ext.errors import UserError
from espnet_ext.model.rnnt import rnnt_loss

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
import tiny_recipe  # noqa: E402
import transducer_models as models  # noqa: E402


def search(parts, encoder_out, lengths, **options):
    """Return the n-best list (ids, score) of each utterance."""
    eos = parts["joint"].lin_out.out_features - 1
    nbest_lists = TransducerSearch(parts, eos, SearchOptions(**options))(encoder_out, lengths)
    return [
        [(hypothesis.token_ids, hypothesis.score) for hypothesis in nbest] for nbest in nbest_lists
    ]


def ids_of(nbest):
    return [ids for ids, _ in nbest]


def scores_of(nbest):
    return [score for _, score in nbest]


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize(
    ("beam", "max_symbols", "normalize"),
    [(3, 1, False), (5, 2, False), (4, 3, True), (8, 1, True)],
)
def test_beam_search_equals_espnets_time_synchronous_search(kind, beam, max_symbols, normalize):
    lengths = [17, 5, 30]
    compared = 0
    for seed in range(3):
        parts = models.make_parts(kind, seed=seed)
        encoder_out, frames = models.make_encoder_out(lengths, seed=seed)
        search_by_espnet = models.espnet_search(
            parts,
            beam,
            search_type="tsd",
            max_sym_exp=max_symbols + 1,
            nbest=beam,
            score_norm=normalize,
        )
        nbest_lists = search(
            parts,
            encoder_out,
            frames,
            beam_size=beam,
            nbest=beam,
            max_symbols=max_symbols,
            expansion_gamma=0.0,
            normalize_length=normalize,
        )
        for row, length in enumerate(lengths):
            expected = search_by_espnet(encoder_out[row, :length])
            assert ids_of(nbest_lists[row]) == ids_of(expected)
            assert scores_of(nbest_lists[row]) == pytest.approx(scores_of(expected), abs=1e-4)
            compared += sum(len(ids) > 0 for ids, _ in expected)
    assert compared > 20


def test_greedy_search_equals_espnet():
    lengths = [17, 5, 30]
    parts = models.make_parts()
    encoder_out, frames = models.make_encoder_out(lengths)
    nbest_lists = search(parts, encoder_out, frames, greedy=True, max_symbols=1)
    search_by_espnet = models.espnet_search(parts, 1)
    expected = [
        search_by_espnet(encoder_out[row, :length])[0][0] for row, length in enumerate(lengths)
    ]
    assert [nbest[0][0] for nbest in nbest_lists] == expected
    assert all(expected)


@pytest.mark.parametrize("kind", ["stateless", "lstm"])
@pytest.mark.parametrize("max_symbols", [1, 2])
def test_unlimited_beam_gives_the_probability_of_every_transcript(kind, max_symbols):
    parts = models.make_parts(kind, vocab_size=4, dtype=torch.double)
    encoder_out, frames = models.make_encoder_out([3], torch.double)
    expected = models.transcript_log_probs(parts, encoder_out[0], max_symbols)
    nbest = search(
        parts,
        encoder_out,
        frames,
        beam_size=len(expected),
        nbest=len(expected),
        max_symbols=max_symbols,
        expansion_gamma=0.0,
    )[0]
    score_of = dict(nbest)
    assert score_of.keys() == expected.keys()
    assert len(expected) == sum(2**length for length in range(3 * max_symbols + 1))
    for ids, score in expected.items():
        assert score_of[ids] == pytest.approx(score, abs=1e-9)
    best = max(expected, key=expected.get)
    for beam in (4, 8):
        nbest = search(parts, encoder_out, frames, beam_size=beam, max_symbols=max_symbols)[0]
        assert nbest[0][0] == best


def test_scores_equal_the_training_loss():
    parts = models.make_parts("stateless", vocab_size=4, dtype=torch.double)
    encoder_out, frames = models.make_encoder_out([3], torch.double)
    options = {"beam_size": 127, "nbest": 127, "max_symbols": 2, "expansion_gamma": 0.0}
    nbest = search(parts, encoder_out, frames, **options)[0]
    # No path of these exceeds two labels per frame, so the loss sums over the same paths.
    short = [(ids, score) for ids, score in nbest if len(ids) <= 2]
    assert len(short) == 1 + 2 + 4
    for ids, score in short:
        predicted = parts["prediction"](torch.tensor([[0, *ids]]))
        logits = parts["joint"](encoder_out[:, :, None], predicted[:, None])
        loss = rnnt_loss(logits, torch.tensor([ids]), frames, torch.tensor([len(ids)]))
        assert score == pytest.approx(-float(loss.detach()), abs=1e-9)


def test_greedy_search_takes_the_most_probable_symbol():
    parts = models.make_parts("lstm", dtype=torch.double)
    encoder_out, frames = models.make_encoder_out([12], torch.double)
    for max_symbols in (1, 2, 5):
        ids, t, labels_at_frame, score = [], 0, 0, 0.0
        while t < 12:
            predicted = parts["prediction"](torch.tensor([[0, *ids]]))[:, -1]
            logits = parts["joint"](encoder_out[0, t], predicted[0])
            log_prob, token = logits.log_softmax(-1).max(-1)
            score += float(log_prob.detach())
            if int(token):
                ids.append(int(token))
                labels_at_frame += 1
            if not int(token) or labels_at_frame == max_symbols:
                t, labels_at_frame = t + 1, 0
        nbest = search(parts, encoder_out, frames, greedy=True, max_symbols=max_symbols)[0]
        assert nbest[0][0] == tuple(ids)
        assert nbest[0][1] == pytest.approx(score)


@pytest.mark.parametrize("kind", ["stateless", "lstm"])
@pytest.mark.parametrize("options", [{"greedy": True}, {"beam_size": 4, "nbest": 4}], ids=str)
def test_results_do_not_depend_on_the_batch(kind, options):
    lengths = [7, 22, 1, 15, 22]
    parts = models.make_parts(kind, dtype=torch.double)
    encoder_out, frames = models.make_encoder_out(lengths, torch.double)
    batch = search(parts, encoder_out, frames, **options)
    for row, length in enumerate(lengths):
        alone = search(
            parts, encoder_out[row : row + 1, :length], frames[row : row + 1], **options
        )[0]
        assert ids_of(batch[row]) == ids_of(alone)
        assert scores_of(batch[row]) == pytest.approx(scores_of(alone))


def test_expansion_gamma_only_prunes_improbable_labels():
    parts = models.make_parts("lstm")
    encoder_out, frames = models.make_encoder_out([25, 30])
    exact = search(parts, encoder_out, frames, beam_size=5, expansion_gamma=0.0)
    wide = search(parts, encoder_out, frames, beam_size=5, expansion_gamma=30.0)
    for exact_nbest, wide_nbest in zip(exact, wide, strict=True):
        assert exact_nbest[0][0] == wide_nbest[0][0]
        assert exact_nbest[0][1] == pytest.approx(wide_nbest[0][1], abs=1e-3)
    narrow = search(parts, encoder_out, frames, beam_size=5, expansion_gamma=1e-6)
    for narrow_nbest, exact_nbest in zip(narrow, exact, strict=True):
        assert narrow_nbest[0][1] <= exact_nbest[0][1] + 1e-6


def test_length_bonus_and_confidences():
    parts = models.make_parts("lstm", dtype=torch.double)
    encoder_out, frames = models.make_encoder_out([20], torch.double)
    eos = parts["joint"].lin_out.out_features - 1
    without_bonus, with_bonus = (
        TransducerSearch(
            parts, eos, SearchOptions(penalty=penalty, beam_size=6, expansion_gamma=0.0)
        )(encoder_out, frames)[0][0]
        for penalty in (0.0, 3.0)
    )
    num_tokens = len(with_bonus.token_ids)
    assert num_tokens > len(without_bonus.token_ids)
    assert with_bonus.score == pytest.approx(with_bonus.scores["transducer"] + 3.0 * num_tokens)
    assert len(without_bonus.confidences) == len(without_bonus.token_ids)
    assert all(0 < confidence <= 1 for confidence in without_bonus.confidences)


def test_eos_and_blank_are_never_emitted():
    parts = models.make_parts("stateless", vocab_size=4)
    with torch.no_grad():
        parts["joint"].lin_out.bias[3] = 50.0
    encoder_out, frames = models.make_encoder_out([6])
    for options in ({"greedy": True}, {"beam_size": 50, "nbest": 50}):
        for ids, _ in search(parts, encoder_out, frames, **options)[0]:
            assert set(ids) <= {1, 2}


OUTPUTS = {
    "surface": {
        "branch": "transducer",
        "transducer_weight": 0.6,
        "ctc_weight": 0.3,
        "prediction": "lstm",
        "prediction_conf": {"hidden_size": 8},
    },
    "meaning": {
        "branch": "transducer",
        "transducer_weight": 0.4,
        "prediction_conf": {"hidden_size": 8},
    },
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    recipe = tiny_recipe.make(tmp_path_factory.mktemp("transducer"))
    recipe.train(
        config={"best_model_criterion": [["valid", "loss", "min"]]},
        outputs=OUTPUTS,
        options=["--max_epoch", "1"],
    )
    return recipe


def run_decode_command(recipe, output_dir, **options):
    from espnet_ext.bin import decode

    config = recipe.write_yaml("decode", options)
    return decode.main(
        [
            *("--model_dir", str(recipe.root / "exp")),
            *("--data", str(recipe.root / "dump/valid")),
            *("--output_dir", str(output_dir)),
            *("--config", str(config)),
        ]
    )


def test_commands_train_and_decode(recipe, tmp_path):
    assert run_decode_command(recipe, tmp_path, nbest=2, times=True) == 0
    for name in ("surface", "meaning"):
        assert len((tmp_path / f"text.{name}").read_text().splitlines()) == 4
    assert (tmp_path / "ctm.surface").exists() and not (tmp_path / "ctm.meaning").exists()
    assert run_decode_command(recipe, tmp_path / "greedy", greedy=True, max_symbols=1) == 0


def test_invalid_options_raise_user_error(recipe, tmp_path):
    for key, value in (("max_symbols", 0), ("expansion_gamma", -1.0), ("expansion_gamma", "a")):
        with pytest.raises(UserError, match=f"{key} '?{value}"):
            run_decode_command(recipe, tmp_path, **{key: value})


def test_api_fuses_language_models(recipe, tmp_path):
    from espnet_ext.decoding.api import DualSpeech2Text
    from espnet_ext.text.ngram import estimate, write_arpa

    write_arpa(tmp_path / "k.arpa", estimate([["K", "AE", "T"]] * 3, 2))
    recogniser = DualSpeech2Text.from_pretrained(
        recipe.root / "exp", ngrams={"surface": tmp_path / "k.arpa"}, ngram_weight=0.5, nbest=3
    )
    audio = (recipe.root / "dump/valid/wav.scp").read_text().split()[1]
    result = recogniser(audio)
    scores = result.nbest["surface"][0].scores
    assert scores.keys() == {"transducer", "ngram", "ctc"}
    assert result.nbest["surface"][0].score == pytest.approx(
        0.7 * scores["transducer"] + 0.3 * scores["ctc"] + 0.5 * scores["ngram"]
    )
    assert result.best["meaning"].scores.keys() == {"transducer"}
