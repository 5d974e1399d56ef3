"""One decoder for several outputs: guiding tokens, a joint vocabulary, experts per output."""

import sys
from pathlib import Path

import pytest
import torch

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
import tiny_recipe  # noqa: E402

from espnet_ext.decoding.api import DualSpeech2Text  # noqa: E402
from espnet_ext.decoding.finite import NotFiniteError  # noqa: E402
from espnet_ext.errors import UserError  # noqa: E402
from espnet_ext.model.build import build_model  # noqa: E402
from espnet_ext.model.export import export_head  # noqa: E402
from espnet_ext.model.heads.shared_decoder import joint_vocabulary, own_decoder  # noqa: E402
from espnet_ext.model.layers import ALL, parameter_groups  # noqa: E402
from espnet_ext.model.load import load_model  # noqa: E402

EXPERTS = {"conditioning": "experts", "conditioning_conf": {"decoder_task": "all"}}
OPTIONS = {"beam_size": 3, "nbest": 2, "maxlenratio": 0.4}
SHARED = {name: {**output, "decoder": "shared"} for name, output in tiny_recipe.OUTPUTS.items()}


@pytest.fixture
def config(config):
    for output in config["outputs"].values():
        output["decoder"] = "shared"
    rates = ("dropout_rate", "positional_dropout_rate")
    attention = ("self_attention_dropout_rate", "src_attention_dropout_rate")
    rates = dict.fromkeys((*rates, *attention), 0.0)
    return config | {"decoder_conf": config["decoder_conf"] | rates | {"num_blocks": 2}}


def build(config, **changes):
    torch.manual_seed(0)
    return build_model(config | changes).eval()


def batch():
    generator = torch.Generator().manual_seed(0)
    made = {
        "speech": torch.randn(3, 8000, generator=generator),
        "speech_lengths": torch.tensor([8000, 8000, 7000]),
    }
    for name, size in (("surface", 5), ("meaning", 7)):
        made[f"text_{name}"] = torch.randint(2, size, (3, 4), generator=generator)
        made[f"text_{name}_lengths"] = torch.full((3,), 4)
    return made


def gradients(model, made):
    model.zero_grad()
    loss, _, _ = model(**made)
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters()}


def untie(model):
    torch.manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".experts." in name:
                parameter.add_(0.5 * torch.randn_like(parameter))
    return model


def nbest(recognise, waves):
    return [
        {name: [(h.token_ids, pytest.approx(h.score, abs=1e-4)) for h in hypotheses]}
        for result in recognise.batch(waves)
        for name, hypotheses in result.nbest.items()
    ]


def test_joint_vocabulary_has_every_token_once_and_the_guiding_tokens(config):
    decoder = build(config).shared_decoder
    assert decoder.joint[-3:] == ["<surface>", "<meaning>", "<sos/eos>"]
    assert len(decoder.joint) == len(set(decoder.joint)) == 3 + 3 + 2 + 5 + 1 - 1
    assert decoder.embed[0].num_embeddings == len(decoder.joint)


@pytest.mark.parametrize("conf", [{}, EXPERTS], ids=["dense", "experts"])
def test_decoder_of_each_output_alone_computes_the_same(config, conf):
    model = untie(build(config, **conf))
    made = batch()
    expected, _ = gradients(model, made)
    for head in model.heads.values():
        own_decoder(head, model)
        for criterion in head.criteria:
            if criterion.term == "att":
                criterion.module = head.parts["decoder"]
    del model.shared_decoder
    loss, _ = gradients(model, made)
    torch.testing.assert_close(loss, expected)
    assert len(model.surface_decoder.embed[0].weight) == 6


def test_tied_experts_equal_the_dense_decoder(config):
    loss, expected = gradients(build(config), batch())
    tied_loss, reached = gradients(build(config, **EXPERTS), batch())
    torch.testing.assert_close(tied_loss, loss)
    for name, gradient in expected.items():
        if "shared_decoder" in name and "feed_forward" not in name:
            torch.testing.assert_close(reached[name], gradient)
    first = "shared_decoder.decoders.0.feed_forward"
    parts = [reached[f"{first}.experts.task-{n}.w_1.weight"] for n in ("surface", "meaning")]
    assert all(part.any() for part in parts)
    torch.testing.assert_close(sum(parts), expected[f"{first}.w_1.weight"])


def test_gradient_reaches_only_the_tokens_and_experts_of_the_output(config):
    model = untie(build(config, **EXPERTS))
    made = batch()
    made["text_meaning"][:, 0], made["text_meaning_lengths"][:] = -2, 1
    _, reached = gradients(model, made)
    joint = model.shared_decoder.joint
    rows = reached["shared_decoder.embed.0.weight"].any(1)
    inputs = {model.heads["surface"].tokens[i] for i in made["text_surface"].unique().tolist()}
    assert {joint[i] for i in rows.nonzero().flatten()} == {*inputs, "<surface>"}
    for name, gradient in reached.items():
        assert gradient is not None, name
        if "task-meaning" in name:
            assert not gradient.any(), name
    assert any(g.any() for n, g in reached.items() if "task-surface" in n)


@pytest.mark.parametrize("conf", [{}, EXPERTS], ids=["dense", "experts"])
def test_batched_search_equals_one_by_one(config, conf):
    model = untie(build(config, **conf))
    recognise = DualSpeech2Text(model, config | conf, OPTIONS)
    generator = torch.Generator().manual_seed(1)
    waves = [0.3 * torch.randn(n, generator=generator).numpy() for n in (9000, 7000, 8000)]
    assert nbest(recognise, waves) == [one for wave in waves for one in nbest(recognise, [wave])]


def test_score_of_a_hypothesis_is_its_teacher_forced_log_probability(config):
    model = untie(build(config, **EXPERTS))
    recognise = DualSpeech2Text(model, config | EXPERTS, OPTIONS | {"minlenratio": 0.1})
    wave = 0.3 * torch.randn(9000, generator=torch.Generator().manual_seed(1))
    head = model.heads["meaning"]
    (best, *_) = recognise(wave.numpy()).nbest["meaning"]
    with torch.no_grad():
        encoded = model.encode(wave[None], torch.tensor([9000]), recognise._encoder_request({}))
        states, lengths = encoded.shared()
        text = torch.tensor([best.token_ids])
        logits, target = head.teacher_forced(states, lengths, text, torch.tensor([text.size(1)]))
    scores = logits.log_softmax(-1).gather(-1, target[..., None]).flatten()
    # A hypothesis that the length limit ends has no score of the end.
    expected = [pytest.approx(float(part.sum()), abs=1e-4) for part in (scores, scores[:-1])]
    assert best.scores["decoder"] in expected


def test_logits_that_are_not_finite_are_reported(config):
    model = build(config)
    with torch.no_grad():
        model.shared_decoder.output_layer.bias.fill_(float("nan"))
    recognise = DualSpeech2Text(model, config, OPTIONS)
    with pytest.raises(NotFiniteError, match="head of output"):
        recognise(0.1 * torch.ones(8000).numpy())


def test_parameters_of_the_decoder_are_shared_ones(config):
    model = build(config)
    groups = parameter_groups(model)
    decoder = {id(p) for p in model.shared_decoder.parameters()}
    assert decoder <= {id(p) for p in groups.shared[ALL]}
    assert not any(id(p) in decoder for of_head in groups.heads.values() for p in of_head)


def test_trained_system_resumes_and_exports(tmp_path):
    recipe = tiny_recipe.make(tmp_path / "recipe")
    exp = recipe.train(config=EXPERTS, outputs=SHARED, options=["--diagnose_every", "2"])
    halves = recipe.train(exp="halves", config={**EXPERTS, "max_epoch": 1}, outputs=SHARED)
    recipe.train(exp="halves", config=EXPERTS, outputs=SHARED)
    state = load_model(halves, "2epoch.pth")[0].state_dict()
    for name, value in load_model(exp, "2epoch.pth")[0].state_dict().items():
        assert torch.equal(state[name], value), name
    wave = 0.1 * torch.randn(9000, generator=torch.Generator().manual_seed(1)).numpy()
    search = {"beam_size": 3, "maxlenratio": 0.4}
    result = DualSpeech2Text.from_pretrained(exp, **search)(wave)
    for output in ("surface", "meaning"):
        folder = export_head(exp, output, tmp_path / output)
        stock = DualSpeech2Text.from_pretrained(folder, **search)(wave)
        (separate,) = stock.nbest.values()
        assert separate[0].tokens == result.nbest[output][0].tokens
        names = set(load_model(folder)[0].state_dict())
        assert not any("shared_decoder" in n or "experts" in n for n in names)


def test_wrong_configurations_are_errors(config):
    def fails(message, **changes):
        with pytest.raises(UserError, match=message):
            build(config, **changes)

    outputs = config["outputs"]
    unshared = {name: {**output, "decoder": None} for name, output in outputs.items()}
    fails("no outputs share a decoder", outputs=unshared, **EXPERTS)
    fails("no other output .* shares it", outputs={**outputs, "meaning": unshared["meaning"]})
    fails("no other output .* shares it", outputs={"surface": outputs["surface"]})
    ctc = {"branch": "ctc", "ctc_weight": 1.0, "attention_weight": 0.0}
    fails("no other output .* shares it", outputs={**outputs, "meaning": outputs["meaning"] | ctc})
    fails("can only share a Transformer decoder", decoder="rnn", decoder_conf={})
    wrong = {"decoder_task": 5}
    fails("decoder_task: 5, but there are 2", conditioning="experts", conditioning_conf=wrong)
    conf = {**outputs["surface"], "decoder_conf": {"num_blocks": 1}}
    fails("shares its decoder with others", outputs={**outputs, "surface": conf})
    fails("decoder would have the name", outputs={**outputs, "shared": outputs["meaning"]})
    tokens = [*outputs["meaning"]["token_list"][:-1], "<surface>", "<sos/eos>"]
    meaning = {**outputs["meaning"], "token_list": tokens}
    fails("contains <surface>, the guiding token", outputs={**outputs, "meaning": meaning})
    fails("gradient_checkpoint", decoder_conf={"gradient_checkpoint_layers": [1]})
    with pytest.raises(UserError, match="end with different tokens"):
        joint_vocabulary({"a": ["<blank>", "<eos>"], "b": ["<blank>", "<end>"]})
