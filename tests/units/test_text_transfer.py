"""Systems of units whose encoder and embeddings come from a pre-trained text model."""

import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
import yaml

pytest.importorskip("transformers")
from tokenizers import Tokenizer, models  # noqa: E402
from transformers import (  # noqa: E402
    ByT5Tokenizer,
    MBartConfig,
    MBartForConditionalGeneration,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from espnet_ext.bin import cli, unit_embeddings  # noqa: E402
from espnet_ext.decoding.api import DualSpeech2Text  # noqa: E402
from espnet_ext.errors import UserError  # noqa: E402
from espnet_ext.model.pretrained.registry import build_encoder  # noqa: E402
from espnet_ext.model.unit_frontend import UnitEmbedding  # noqa: E402
from espnet_ext.training import run  # noqa: E402
from espnet_ext.training.config import merge  # noqa: E402
from espnet_ext.training.unit_training import check_embeddings  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))
import unit_systems  # noqa: E402
from tones import write_corpus  # noqa: E402

CONF = Path(__file__).parents[2] / "conf"
SIZE = 16


def write_byt5(folder):
    torch.manual_seed(0)
    config = T5Config(vocab_size=384, d_model=SIZE, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    T5ForConditionalGeneration(config).save_pretrained(folder)
    ByT5Tokenizer().save_pretrained(folder)
    return folder


def write_mbart(folder):
    torch.manual_seed(0)
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "a", "b"]
    config = MBartConfig(
        vocab_size=len(pieces),
        d_model=SIZE,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=40,
        scale_embedding=True,
    )
    MBartForConditionalGeneration(config).save_pretrained(folder)
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    reader = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=reader, unk_token="<unk>").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A corpus with units, the joint vocabulary, and two checkpoints."""
    root = tmp_path_factory.mktemp("transfer")
    corpus = write_corpus(root / "corpus", [0.7, 0.4, 0.9, 0.5])
    unit_systems.write_texts(corpus)
    units = unit_systems.write_units(corpus, root / "units")
    joint = unit_systems.write_vocabulary(root / "joint", units)
    checkpoints = {"byt5": write_byt5(root / "byt5"), "mbart": write_mbart(root / "mbart")}
    return Namespace(root=root, corpus=corpus, units=units, joint=joint, **checkpoints)


def embeddings_of(made, name):
    target = made.root / f"{name}.pth"
    arguments = ["--joint_token_dir", str(made.root / "joint"), "--model", str(getattr(made, name))]
    arguments += ["--output", str(target), "--overwrite", "true"]
    assert cli.run(unit_embeddings.main, arguments) == 0
    return target, torch.load(target)["embed.weight"]


def test_embeddings_of_text_are_those_of_the_checkpoint(made):
    _, rows = embeddings_of(made, "byt5")
    weights = T5ForConditionalGeneration.from_pretrained(made.byt5).shared.weight
    for token in "ab":
        row = rows[made.joint.tokens.index(token)]
        torch.testing.assert_close(row, weights[ord(token) + 3])  # ByT5: bytes after 3 symbols
    torch.testing.assert_close(rows[made.joint.mask_id], weights.mean(0))
    units = rows[made.joint.unit_range.start : made.joint.unit_range.stop]
    assert len(units.unique(dim=0)) == 12
    assert 0.7 < (units.std() / weights.std()) < 1.3


def test_embeddings_of_another_vocabulary_raise_user_error(made):
    target, rows = embeddings_of(made, "byt5")
    layout = {"tokens": len(rows), "mask": 2, "units": [3, 15], "text": [15, 18], "upsample": 1}
    model = torch.nn.Module()
    model.encoder = torch.nn.Identity()
    option = [f"{target}:embed:frontend.embed"]
    model.frontend = UnitEmbedding(layout={**layout, "vocabulary_sha256": made.joint.digest})
    check_embeddings(model, option)
    model.frontend = UnitEmbedding(layout={**layout, "vocabulary_sha256": "0" * 64})
    with pytest.raises(UserError, match="byt5.pth: is of another joint vocabulary than"):
        check_embeddings(model, option)
    earlier = made.root / "earlier.pth"
    torch.save({"embed.weight": rows}, earlier)
    with pytest.raises(UserError, match="does not record the joint vocabulary"):
        check_embeddings(model, [f"{earlier}:embed:frontend.embed"])
    torch.save({"frontend.embed.weight": rows}, earlier)  # as in a trained model
    check_embeddings(model, [str(earlier)])


def test_tokens_that_the_checkpoint_lacks_get_the_mean_and_are_counted(made, capsys):
    _, rows = embeddings_of(made, "mbart")
    weights = MBartForConditionalGeneration.from_pretrained(made.mbart).model.shared.weight
    torch.testing.assert_close(rows[made.joint.tokens.index("a")], weights[4])
    torch.testing.assert_close(rows[made.joint.tokens.index("<space>")], weights.mean(0))
    assert "1 of 3 tokens of text have no piece" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["byt5", "mbart"])
def test_encoder_equals_that_of_transformers_alone_and_in_a_batch(made, name):
    network = (
        T5ForConditionalGeneration if name == "byt5" else MBartForConditionalGeneration
    ).from_pretrained(getattr(made, name))
    ids = torch.tensor([[4, 5, 4, 4, 5], [5, 4, 1, 1, 1]])
    lengths = torch.tensor([5, 2])
    expected = network.get_encoder().eval()(
        input_ids=ids, attention_mask=torch.arange(5) < lengths[:, None]
    )
    encoder = build_encoder(SIZE, model=str(getattr(made, name))).eval()
    embedded = torch.nn.functional.embedding(ids, network.get_input_embeddings().weight)
    states, _, _ = encoder(embedded, lengths)
    torch.testing.assert_close(states[0], expected.last_hidden_state[0])
    alone, _, _ = encoder(embedded[1:, :2], lengths[1:])
    torch.testing.assert_close(states[1, :2], alone[0])
    assert len(encoder.encoders) == 2


def test_wrong_sizes_and_lengths_raise_user_errors(made):
    with pytest.raises(UserError, match="reads embeddings of size 16, but gets 8"):
        build_encoder(8, model=str(made.byt5))
    assert build_encoder(SIZE, model=str(made.byt5)).max_length is None
    encoder = build_encoder(SIZE, model=str(made.mbart))
    assert encoder.max_length == 40  # training compares all inputs with it
    with pytest.raises(UserError, match="has 41 ids, but .* positions for 40"):
        encoder(torch.zeros(1, 41, SIZE), torch.tensor([41]))


def test_training_starts_from_the_checkpoint_and_needs_it_no_longer(made):
    data = unit_systems.recipe(made.root, made.corpus, made.units, made.joint)
    shipped = yaml.safe_load((CONF / "train_units_byt5.yaml").read_text(encoding="utf-8"))
    changes = {
        "frontend_conf": {"embed_dim": SIZE},
        "encoder_conf": {"model": str(made.byt5)},
        "decoder_conf": {"attention_heads": 2, "linear_units": 32, "num_blocks": 1},
        "optim_conf": {"lr": 1e-9, "weight_decay": 0.0},
        **{"max_epoch": 1, "batch_bins": 400, "num_workers": 0, "use_tensorboard": False},
    }
    config = merge(shipped, changes)
    base, overlay = made.root / "t5.yaml", made.root / "system.yaml"
    base.write_text(yaml.safe_dump(config))
    entry = {"branch": "ctc_attention", "ctc_weight": 0.3, "attention_weight": 0.7}
    overlay.write_text(yaml.safe_dump({"outputs": {"meaning": entry}}))
    with pytest.raises(UserError, match="the embeddings that it reads are random"):
        run.train(base, [overlay], data, made.root / "exp", [])
    target, rows = embeddings_of(made, "byt5")
    options = ["--init_param", f"{target}:embed:frontend.embed"]
    run.train(base, [overlay], data, made.root / "exp", options)
    made.byt5.rename(made.root / "elsewhere")
    recogniser = DualSpeech2Text.from_pretrained(made.root / "exp", beam_size=2, maxlenratio=-5)
    model = recogniser.model
    torch.testing.assert_close(model.frontend.embed.weight, rows, atol=1e-5, rtol=0)
    trained = model.encoder.network.block[0].layer[0].SelfAttention.q.weight
    network = T5ForConditionalGeneration.from_pretrained(made.root / "elsewhere")
    first = network.encoder.block[0].layer[0].SelfAttention.q.weight
    torch.testing.assert_close(trained, first, atol=1e-5, rtol=0)
    assert len(recogniser.texts(["ab", "ba"])) == 2
