"""Transducer search: against ESPnet's, and against every transcript of tiny models."""

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
from transducer_models import every_transcript, make, peer_of, states  # noqa: E402


def search(parts, x, lengths, **options):
    vocabulary = parts["joint"].lin_out.out_features
    found = TransducerSearch(parts, vocabulary - 1, SearchOptions(**options))(x, lengths)
    return [[(raw.token_ids, raw.score) for raw in nbest] for nbest in found]


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize(
    ("beam", "symbols", "normalize"), [(3, 1, False), (5, 2, False), (4, 3, True), (8, 1, True)]
)
def test_espnets_time_synchronous_search_finds_the_same(kind, beam, symbols, normalize):
    lengths = [17, 5, 30]
    compared = 0
    for seed in range(3):
        parts = make(kind, seed=seed)
        x, frames = states(lengths, seed=seed)
        peer = peer_of(
            parts,
            beam,
            search_type="tsd",
            max_sym_exp=symbols + 1,
            nbest=beam,
            score_norm=normalize,
        )
        ours = search(
            parts,
            x,
            frames,
            beam_size=beam,
            nbest=beam,
            max_symbols=symbols,
            expansion_gamma=0.0,
            normalize_length=normalize,
        )
        for row, length in enumerate(lengths):
            theirs = peer(x[row, :length])
            assert [ids for ids, _ in ours[row]] == [ids for ids, _ in theirs]
            assert [s for _, s in ours[row]] == pytest.approx([s for _, s in theirs], abs=1e-4)
            compared += sum(len(ids) > 0 for ids, _ in theirs)
    assert compared > 20


def test_espnets_greedy_search_finds_the_same():
    lengths = [17, 5, 30]
    parts = make()
    x, frames = states(lengths)
    ours = search(parts, x, frames, greedy=True, max_symbols=1)
    peer = peer_of(parts, 1)
    said = [peer(x[row, :length])[0][0] for row, length in enumerate(lengths)]
    assert [nbest[0][0] for nbest in ours] == said
    assert all(said)


@pytest.mark.parametrize("kind", ["stateless", "lstm"])
@pytest.mark.parametrize("symbols", [1, 2])
def test_a_wide_beam_gives_every_transcript_its_probability(kind, symbols):
    parts = make(kind, vocabulary=4, dtype=torch.double)
    x, frames = states([3], torch.double)
    oracle = every_transcript(parts, x[0], symbols)
    ours = dict(
        search(
            parts,
            x,
            frames,
            beam_size=len(oracle),
            nbest=len(oracle),
            max_symbols=symbols,
            expansion_gamma=0.0,
        )[0]
    )
    assert ours.keys() == oracle.keys()
    assert len(oracle) == sum(2**length for length in range(3 * symbols + 1))
    for ids, score in oracle.items():
        assert ours[ids] == pytest.approx(score, abs=1e-9)
    best = max(oracle, key=oracle.get)
    for beam in (4, 8):
        assert search(parts, x, frames, beam_size=beam, max_symbols=symbols)[0][0][0] == best


def test_scores_are_the_losses_of_training():
    parts = make("stateless", vocabulary=4, dtype=torch.double)
    x, frames = states([3], torch.double)
    found = search(parts, x, frames, beam_size=127, nbest=127, max_symbols=2, expansion_gamma=0.0)
    short = [(ids, score) for ids, score in found[0] if len(ids) <= 2]
    assert len(short) == 1 + 2 + 4
    for ids, score in short:
        said = parts["prediction"](torch.tensor([[0, *ids]]))
        logits = parts["joint"](x[:, :, None], said[:, None])
        loss = rnnt_loss(logits, torch.tensor([ids]), frames, torch.tensor([len(ids)]))
        assert score == pytest.approx(-float(loss.detach()), abs=1e-9)


def test_greedy_goes_from_likeliest_to_likeliest():
    parts = make("lstm", dtype=torch.double)
    x, frames = states([12], torch.double)
    for symbols in (1, 2, 5):
        ids, t, spoken, score = [], 0, 0, 0.0
        while t < 12:
            said = parts["prediction"](torch.tensor([[0, *ids]]))[:, -1]
            log, token = parts["joint"](x[0, t], said[0]).log_softmax(-1).max(-1)
            score += float(log.detach())
            if int(token):
                ids.append(int(token))
                spoken += 1
            if not int(token) or spoken == symbols:
                t, spoken = t + 1, 0
        found = search(parts, x, frames, greedy=True, max_symbols=symbols)[0]
        assert found[0][0] == tuple(ids)
        assert found[0][1] == pytest.approx(score)


@pytest.mark.parametrize("kind", ["stateless", "lstm"])
@pytest.mark.parametrize("options", [{"greedy": True}, {"beam_size": 4, "nbest": 4}], ids=str)
def test_the_company_does_not_matter(kind, options):
    lengths = [7, 22, 1, 15, 22]
    parts = make(kind, dtype=torch.double)
    x, frames = states(lengths, torch.double)
    together = search(parts, x, frames, **options)
    for row, length in enumerate(lengths):
        alone = search(parts, x[row : row + 1, :length], frames[row : row + 1], **options)[0]
        assert [ids for ids, _ in together[row]] == [ids for ids, _ in alone]
        assert [s for _, s in together[row]] == pytest.approx([s for _, s in alone])


def test_unlikely_labels_need_not_be_tried():
    parts = make("lstm")
    x, frames = states([25, 30])
    exact = search(parts, x, frames, beam_size=5, expansion_gamma=0.0)
    wide = search(parts, x, frames, beam_size=5, expansion_gamma=30.0)
    for one, other in zip(exact, wide, strict=True):
        assert one[0][0] == other[0][0]
        assert one[0][1] == pytest.approx(other[0][1], abs=1e-3)
    narrow = search(parts, x, frames, beam_size=5, expansion_gamma=1e-6)
    assert all(nbest[0][1] <= one[0][1] + 1e-6 for nbest, one in zip(narrow, exact, strict=True))


def test_length_bonus_and_confidences():
    parts = make("lstm", dtype=torch.double)
    x, frames = states([20], torch.double)
    options = {"beam_size": 6, "expansion_gamma": 0.0}
    vocabulary = parts["joint"].lin_out.out_features
    plain, paid = (
        TransducerSearch(parts, vocabulary - 1, SearchOptions(penalty=penalty, **options))(
            x, frames
        )[0][0]
        for penalty in (0.0, 3.0)
    )
    assert len(paid.token_ids) > len(plain.token_ids)
    assert paid.score == pytest.approx(paid.scores["transducer"] + 3.0 * len(paid.token_ids))
    assert len(plain.confidences) == len(plain.token_ids)
    assert all(0 < sure <= 1 for sure in plain.confidences)


def test_eos_and_blank_are_never_said():
    parts = make("stateless", vocabulary=4)
    with torch.no_grad():
        parts["joint"].lin_out.bias[3] = 50.0
    x, frames = states([6])
    for options in ({"greedy": True}, {"beam_size": 50, "nbest": 50}):
        for ids, _ in search(parts, x, frames, **options)[0]:
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


def decode(recipe, target, **options):
    from espnet_ext.bin import decode

    path = recipe.write_yaml("decode", options)
    return decode.main(
        [
            "--model_dir",
            str(recipe.root / "exp"),
            "--data",
            str(recipe.root / "dump/valid"),
            "--output_dir",
            str(target),
            "--config",
            str(path),
        ]
    )


def test_commands_train_and_decode(recipe, tmp_path):
    assert decode(recipe, tmp_path, nbest=2, times=True) == 0
    for name in ("surface", "meaning"):
        assert len((tmp_path / f"text.{name}").read_text().splitlines()) == 4
    assert (tmp_path / "ctm.surface").exists() and not (tmp_path / "ctm.meaning").exists()
    assert decode(recipe, tmp_path / "greedy", greedy=True, max_symbols=1) == 0


def test_wrong_options_are_named(recipe, tmp_path):
    for key, value in (("max_symbols", 0), ("expansion_gamma", -1.0), ("expansion_gamma", "a")):
        with pytest.raises(UserError, match=f"{key} '?{value}"):
            decode(recipe, tmp_path, **{key: value})


def test_commands_fuse_language_models(recipe, tmp_path):
    from espnet_ext.decoding.api import DualSpeech2Text
    from espnet_ext.text.ngram import estimate, write_arpa

    write_arpa(tmp_path / "k.arpa", estimate([["K", "AE", "T"]] * 3, 2))
    recognise = DualSpeech2Text.from_pretrained(
        recipe.root / "exp", ngrams={"surface": tmp_path / "k.arpa"}, ngram_weight=0.5, nbest=3
    )
    audio = (recipe.root / "dump/valid/wav.scp").read_text().split()[1]
    result = recognise(audio)
    found = result.nbest["surface"][0]
    assert found.scores.keys() == {"transducer", "ngram", "ctc"}
    assert found.score == pytest.approx(
        0.7 * found.scores["transducer"] + 0.3 * found.scores["ctc"] + 0.5 * found.scores["ngram"]
    )
    assert result.best["meaning"].scores.keys() == {"transducer"}
