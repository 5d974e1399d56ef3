"""Heads that read more than the encoder output: another decoder's states, an intermediate layer."""

import sys
from pathlib import Path

import pytest
import torch

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
import tiny_recipe  # noqa: E402

from espnet_ext.analysis.registry import ANALYSES  # noqa: E402
from espnet_ext.decoding.api import DualSpeech2Text  # noqa: E402
from espnet_ext.errors import UserError  # noqa: E402
from espnet_ext.model.build import build_model  # noqa: E402
from espnet_ext.model.encoding import EncoderRequest  # noqa: E402
from espnet_ext.model.export import stock_config  # noqa: E402
from espnet_ext.model.heads.side_inputs import DecoderStates, StateReader  # noqa: E402
from espnet_ext.model.layers import encoder_layers, watch  # noqa: E402
from espnet_ext.model.outputs import parse_outputs  # noqa: E402
from espnet_ext.objectives.registry import build_objective  # noqa: E402

OPTIONS = {"beam_size": 3, "nbest": 2, "maxlenratio": 0.4}
CASES = {
    "meaning reads surface": {"meaning": {"reads": "surface"}},
    "surface reads meaning": {"surface": {"reads": "meaning"}},
    "CTC at a layer": {"surface": {"ctc_layer": 1}},
    "both": {"surface": {"ctc_layer": 1}, "meaning": {"reads": "surface"}},
}


@pytest.fixture
def config(config):
    """Two encoder layers, and no dropout."""
    rates = ("dropout_rate", "positional_dropout_rate", "attention_dropout_rate")
    config["encoder_conf"] |= {"num_blocks": 2, **dict.fromkeys(rates, 0.0)}
    rates = ("dropout_rate", "positional_dropout_rate")
    attention = ("self_attention_dropout_rate", "src_attention_dropout_rate")
    rates = dict.fromkeys((*rates, *attention), 0.0)
    config["decoder_conf"] = config["decoder_conf"] | rates
    config["outputs"]["surface"] |= {
        "branch": "ctc_attention",
        "ctc_weight": 0.2,
        "attention_weight": 0.5,
    }
    return config


def changed(config, case):
    outputs = {n: {**o, **CASES.get(case, {}).get(n, {})} for n, o in config["outputs"].items()}
    return config | {"outputs": outputs}


def build(config, case):
    torch.manual_seed(0)
    model = build_model(changed(config, case)).double().eval()
    with torch.no_grad():
        for head in model.heads.values():
            head.decoder.output_layer.bias[0] = -100  # hypotheses are returned without blanks
    return model


def batch(unlabelled=()):
    """Return three utterances; `unlabelled` has pairs of an output and a row."""
    generator = torch.Generator().manual_seed(0)
    made = {
        "speech": torch.randn(3, 8000, generator=generator, dtype=torch.double),
        "speech_lengths": torch.tensor([8000, 8000, 7000]),
    }
    for name, size in (("surface", 5), ("meaning", 7)):
        text = torch.randint(2, size, (3, 4), generator=generator)
        lengths = torch.tensor([4, 3, 2])
        for row, length in enumerate(lengths.tolist()):
            text[row, length:] = -1
        for output, row in unlabelled:
            if output == name:
                text[row], lengths[row] = torch.tensor([-2, -1, -1, -1]), 1
        made[f"text_{name}"], made[f"text_{name}_lengths"] = text, lengths
    return made


def gradients(model, made, loss):
    model.zero_grad()
    _, stats, _ = model(**made)
    encoded = model.encode(made["speech"], made["speech_lengths"])
    model.losses(encoded, made)[loss].weighted()[-1].backward()
    return stats, {name: p.grad for name, p in model.named_parameters()}


def waves():
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(n, generator=generator).numpy() - 0.5 for n in (12000, 9000, 8000, 6400)]


# -- reading another decoder


def test_reader_appends_the_states_of_each_utterance_to_its_frames():
    torch.manual_seed(0)
    reader = StateReader(4).double()
    frames, states = torch.randn(2, 5, 4).double(), torch.randn(2, 3, 4).double()
    other = DecoderStates(states, torch.tensor([3, 0]))
    memory, lengths = reader(frames, torch.tensor([3, 5]), other)
    assert lengths.tolist() == [6, 5] and memory.shape == (2, 6, 4)
    projected = reader.projection(reader.norm(states))
    torch.testing.assert_close(memory[0], torch.cat([frames[0, :3], projected[0]]))
    torch.testing.assert_close(memory[1, :5], frames[1])


def test_loss_of_the_reading_output_is_that_of_its_decoder_on_frames_and_states(config):
    """Compute the loss by hand: the surface decoder alone, then the meaning decoder."""
    model, made = build(config, "meaning reads surface"), batch()
    encoded = model.encode(made["speech"], made["speech_lengths"])
    states, lengths = encoded.hidden["surface"], encoded.lengths["surface"]
    surface, meaning = model.heads["surface"], model.heads["meaning"]
    hypotheses = [
        row[:length].tolist()
        for row, length in zip(made["text_surface"], made["text_surface_lengths"], strict=True)
    ]
    other = surface.decoder_states(states, lengths, hypotheses)
    assert other.states.shape[1:] == (5, states.size(2)) and other.lengths.tolist() == [5, 4, 3]
    memory, total = model.get_submodule("meaning_reader")(states, lengths, other)
    logits, target = meaning.teacher_forced(
        memory, total, made["text_meaning"], made["text_meaning_lengths"]
    )
    expected = meaning.criteria[0].loss(logits, target)
    loss = model.losses(encoded, made)["meaning"].terms["att"]
    torch.testing.assert_close(loss, expected)


def test_loss_of_the_reading_output_trains_the_decoder_that_it_reads(config):
    model = build(config, "meaning reads surface")
    _, of_parameters = gradients(model, batch(), "meaning")
    assert of_parameters["surface_decoder.decoders.0.feed_forward.w_1.weight"].abs().sum() > 0
    assert of_parameters["meaning_reader.projection.weight"].abs().sum() > 0
    _, of_parameters = gradients(model, batch(), "surface")
    assert of_parameters["meaning_decoder.decoders.0.feed_forward.w_1.weight"] is None


def test_utterance_without_a_surface_transcript_reads_the_encoder_alone(config):
    """Its loss is that of a decoder without a reader."""
    model = build(config, "meaning reads surface")
    plain = build(config, "none")
    plain.load_state_dict(model.state_dict(), strict=False)
    unlabelled = [("surface", 0), ("surface", 2), ("meaning", 1)]
    made = batch(unlabelled)
    losses = []
    for one in (model, plain):
        encoded = one.encode(made["speech"], made["speech_lengths"])
        losses.append(one.losses(encoded, made)["meaning"].terms["att"])
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("output", ["surface", "meaning"])
def test_every_parameter_has_a_gradient_without_labels_of_an_output(config, case, output):
    """Ranks whose backward graphs differ would hang."""
    model = build(config, case)
    model.zero_grad()
    loss, _, _ = model(**batch([(output, row) for row in range(3)]))
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    assert bool(loss.isfinite())


@pytest.mark.parametrize("objective", [None, "pcgrad"])
def test_half_precision_and_gradients_per_output_work(config, objective):
    torch.manual_seed(0)
    changes = {"cpu_autocast": "bfloat16", "objective": objective}
    config = changed(config, "both") | changes
    model = build_model(config, objective=build_objective(config)).train()
    made = batch()
    loss, _, _ = model(**{**made, "speech": made["speech"].float()})
    loss.backward()
    for name in ("meaning_reader.projection.weight", "surface_layer_norm.weight"):
        gradient = dict(model.named_parameters())[name].grad
        assert bool(gradient.isfinite().all()) and bool(gradient.any()), name


@pytest.mark.parametrize("objective", ["pcgrad", "gradvac"])
def test_decoder_that_is_read_has_the_gradient_of_both_losses_under_gradient_methods(
    config, objective
):
    """Only gradients of the encoder are changed: those of the decoders are those of the sum."""
    results = []
    for name in (None, objective):
        torch.manual_seed(0)
        one = changed(config, "meaning reads surface") | {"objective": name}
        model = build_model(one, objective=build_objective(one)).double()
        loss, _, _ = model(**batch())
        loss.backward()
        results.append({n: p.grad for n, p in model.named_parameters()})
    plain, combined = results
    for name, gradient in plain.items():
        if "_decoder." in name or "_reader." in name:
            torch.testing.assert_close(combined[name], gradient)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("greedy", [False, True])
def test_batched_decoding_equals_one_by_one(config, case, greedy):
    model = build(config, case)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "output_layer" in name or "embed" in name:
                parameter.mul_(4)  # decisive decoders, so that transcripts differ
    options = {"greedy": True, "maxlenratio": 0.4} if greedy else OPTIONS
    recognise = DualSpeech2Text(model, changed(config, case), options)
    together = recognise.batch(waves())
    for wave, result in zip(waves(), together, strict=True):
        alone = recognise(wave)
        for output in ("surface", "meaning"):
            for a, b in zip(alone.nbest[output], result.nbest[output], strict=True):
                assert a.token_ids == b.token_ids
                assert a.score == pytest.approx(b.score, abs=1e-6)


@pytest.mark.parametrize("case", ["meaning reads surface", "surface reads meaning", "both"])
def test_score_of_a_hypothesis_is_its_teacher_forced_log_probability(config, case):
    """The decoder reads the best hypothesis of the other output, also if that is not requested."""
    model = build(config, case)
    reading = "surface" if case.startswith("surface") else "meaning"
    source = model.heads[reading].reads
    options = {**OPTIONS, "ctc_weight": 0.0}
    both = DualSpeech2Text(model, changed(config, case), options)(waves()[0])
    alone = DualSpeech2Text(model, changed(config, case), options, only=[reading])
    result = alone(waves()[0])
    assert list(result.nbest) == [reading]
    assert result.best[reading] == both.best[reading]
    speech = torch.from_numpy(waves()[0]).double()[None]
    lengths = torch.tensor([speech.size(1)])
    with torch.no_grad():
        encoded = model.encode(speech, lengths, EncoderRequest(batch_invariant=True))
        states, frames = encoded.hidden[source], encoded.lengths[source]
        ids = both.best[source].token_ids
        other = model.heads[source].decoder_states(states, frames, [ids])
        memory, total = model.get_submodule(f"{reading}_reader")(states, frames, other)
        hypothesis = torch.tensor([both.best[reading].token_ids], dtype=torch.long)
        count = torch.tensor([hypothesis.size(1)])
        head = model.heads[reading]
        logits, target = head.teacher_forced(memory, total, hypothesis, count)
    scores = logits.log_softmax(-1).gather(2, target[..., None]).flatten()
    # A hypothesis that the length limit ends has no score of the end.
    expected = [pytest.approx(float(part.sum()), abs=1e-4) for part in (scores, scores[:-1])]
    assert both.best[reading].scores["decoder"] in expected


# -- CTC at an intermediate layer


def test_ctc_reads_the_chosen_layer(config):
    model, made = build(config, "CTC at a layer"), batch()
    with watch({"layer": encoder_layers(model.encoder)["0"]}, detach=False) as seen:
        encoded = model.encode(made["speech"], made["speech_lengths"])
    head = model.heads["surface"]
    states = model.get_submodule("surface_layer_norm")(seen["layer"])
    text, lengths = made["text_surface"].clamp(min=-1), made["text_surface_lengths"]
    expected = head.ctc(states, encoded.lengths["surface"], text, lengths)
    torch.testing.assert_close(model.losses(encoded, made)["surface"].terms["ctc"], expected)


def test_layers_above_have_no_gradient_of_that_ctc(config):
    model, made = build(config, "CTC at a layer"), batch()
    encoded = model.encode(made["speech"], made["speech_lengths"])
    model.losses(encoded, made)["surface"].terms["ctc"].backward()
    sums = {"encoders.0.": 0.0, "encoders.1.": 0.0}
    for name, parameter in model.encoder.named_parameters():
        for start in sums:
            if name.startswith(start) and parameter.grad is not None:
                sums[start] += float(parameter.grad.abs().sum())
    assert sums["encoders.0."] > 0 and sums["encoders.1."] == 0


def test_private_layers_of_each_output_can_stand_above_the_ctc(config):
    """Tops: the rows of the shared trunk are used once, those of a private layer by its output."""
    made = batch()
    for number in (1, 2):
        config["encoder_conf"] |= {"num_blocks": 3}
        outputs = changed(config, "none")["outputs"]
        outputs["surface"]["ctc_layer"] = number
        tops = {"conditioning": "tops", "conditioning_conf": {"layers": 2}}
        torch.manual_seed(0)
        model = build_model(config | {"outputs": outputs} | tops).double().eval()
        encoded = model.encode(made["speech"], made["speech_lengths"])
        assert encoded.ctc_layers["surface"].shape == encoded.hidden["surface"].shape
        alone = model.encode(
            made["speech"], made["speech_lengths"], EncoderRequest(outputs=["surface"])
        )
        torch.testing.assert_close(alone.ctc_layers["surface"], encoded.ctc_layers["surface"])


def test_token_times_are_those_of_the_ctc_at_its_layer(config):
    config["outputs"]["surface"]["ctc_layer"] = 1
    model = build(config, "none")
    result = DualSpeech2Text(model, config, {**OPTIONS, "times": True})(waves()[0])
    best = result.best["surface"]
    assert best.times is not None and len(best.times) == len(best.tokens)


# -- configurations

WRONG = {
    "unknown output": ({"meaning": {"reads": "surfac"}}, "is not another output"),
    "itself": ({"meaning": {"reads": "meaning"}}, "is not another output"),
    "each other": (
        {"meaning": {"reads": "surface"}, "surface": {"reads": "meaning"}},
        "would read each other's decoder",
    ),
    "no decoder": (
        {
            "surface": {"branch": "ctc", "ctc_weight": 1.0, "attention_weight": 0.0},
            "meaning": {"reads": "surface"},
        },
        "branch 'ctc' of outputs.surface has no attention decoder",
    ),
    "shared decoder": (
        {"surface": {"decoder": "shared"}, "meaning": {"decoder": "shared", "reads": "surface"}},
        "shares its decoder",
    ),
    "recurrent decoder": (
        {"surface": {"decoder": "rnn", "decoder_conf": {}}, "meaning": {"reads": "surface"}},
        "hidden states of a RNNDecoder cannot be read",
    ),
    "not a name": ({"meaning": {"reads": 1}}, "reads: 1"),
    "layer above the last": ({"surface": {"ctc_layer": 2}}, "but the encoder has 2 layers"),
    "layer 0": ({"surface": {"ctc_layer": 0}}, "ctc_layer: 0"),
    "layer without CTC": ({"meaning": {"ctc_layer": 1}}, "does not use ctc_layer"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_configuration_is_an_error(config, case):
    changes, message = WRONG[case]
    if case == "recurrent decoder":
        config["decoder_conf"] = {}
    outputs = {n: {**o, **changes.get(n, {})} for n, o in config["outputs"].items()}
    with pytest.raises(UserError, match=message):
        build_model(config | {"outputs": outputs})


@pytest.mark.parametrize("case", ["meaning reads surface", "CTC at a layer"])
def test_stock_espnet_cannot_express_them(config, case):
    config = changed(config, case)
    name = "meaning" if case.startswith("meaning") else "surface"
    with pytest.raises(UserError, match="which ESPnet's ASR task cannot express"):
        stock_config(config, name, parse_outputs(config)[name])


@pytest.mark.parametrize("case", CASES)
def test_analyses_that_run_heads_on_encoder_output_alone_refuse_them(config, case):
    config = changed(config, case)
    assert "reads" in ANALYSES["swaps"].cannot_read(config)
    assert "reads" in ANALYSES["probes"].cannot_read(config)
    assert ANALYSES["cka"].cannot_read(config) == ""


def test_system_that_reads_another_decoder_trains_and_is_loaded(tmp_path):
    recipe = tiny_recipe.make(tmp_path)
    outputs = {
        "surface": tiny_recipe.OUTPUTS["surface"],
        "meaning": {**tiny_recipe.OUTPUTS["meaning"], "reads": "surface"},
    }
    exp = recipe.train(outputs=outputs, options=["--max_epoch", "1", "--diagnose_every", "1"])
    recognise = DualSpeech2Text.from_pretrained(exp, **OPTIONS)
    assert "meaning_reader.norm.weight" in recognise.model.state_dict()
    assert set(recognise(waves()[0]).nbest) == {"surface", "meaning"}
