"""Systems that read discrete units and text: sets of input ids, training, decoding of raw audio."""

import json
import shutil
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from espnet_ext.bin import cli, decode, unit_inputs
from espnet_ext.data.audio import load_audio
from espnet_ext.data.table import read_table, write_table
from espnet_ext.decoding import set_decoder
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.decoding.text_set import outputs_of_text
from espnet_ext.errors import UserError
from espnet_ext.files import sha256_of
from espnet_ext.model import espnet
from espnet_ext.model.build import build_model
from espnet_ext.model.encoding import EncoderRequest
from espnet_ext.model.pack import pack_model
from espnet_ext.model.unit_frontend import InputLayout, UnitEmbedding
from espnet_ext.training import run
from espnet_ext.training.collate import collate
from espnet_ext.training.run import merged_config
from espnet_ext.training.unit_rows import UnitAugmentation, UnitRows
from espnet_ext.training.unit_training import add_unit_layout, text_ratio_sampler
from espnet_ext.units.extractor import UnitExtractor
from espnet_ext.units.input_set import InputOptions, parse_ids, write_input_set
from espnet_ext.units.inputs import UnitInput

sys.path.insert(0, str(Path(__file__).parent))
import unit_systems  # noqa: E402
from tones import write_corpus  # noqa: E402

TOKENS = ["<blank>", "<unk>", "a", "b", "c", "<sos/eos>"]
LAYOUT = {
    "tokens": 20,
    "mask": 2,
    "units": [4, 12],
    "text": [12, 19],
    "upsample": 3,
    "vocabulary_sha256": "x",
}
HEADS = {
    "attention": {"attention_weight": 1.0},
    "ctc": {"ctc_weight": 1.0},
    "ctc_attention": {"attention_weight": 0.7, "ctc_weight": 0.3},
    "transducer": {"transducer_weight": 1.0, "prediction": "stateless"},
}


def read_input_ids(path, size):
    return {i: parse_ids(row, size, i) for i, row in read_table(path, empty_ok=True).items()}


def outputs(branch="ctc_attention", names=("surface", "meaning")):
    entry = {"branch": branch, "token_type": "char", "token_list": TOKENS, **HEADS[branch]}
    return {name: dict(entry) for name in names}


def batch_of(rows):
    """Return the batch of (input ids, surface or None, meaning)."""
    utterances = []
    for i, (ids, *labels) in enumerate(rows):
        arrays = {"speech": np.array(ids)}
        for name, label in zip(("surface", "meaning"), labels, strict=True):
            arrays[f"text_{name}"] = np.array(label or [-2])
        utterances.append((f"u{i}", arrays))
    return collate(utterances)[1]


ROWS = [
    ([4, 7, 5, 11, 6, 8, 9], [2, 3], [4, 2]),
    ([12, 12, 12, 15, 15, 15], None, [4, 3]),
    ([9, 4], [3], [2]),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A corpus with units, the joint vocabulary, and a recipe."""
    root = tmp_path_factory.mktemp("recipe")
    corpus = write_corpus(root / "corpus", [0.7, 0.4, 0.9, 0.5])
    unit_systems.write_texts(corpus)
    units = unit_systems.write_units(corpus, root / "units")
    joint = unit_systems.write_vocabulary(root / "joint", units)
    data = unit_systems.recipe(root, corpus, units, joint)
    return Namespace(root=root, corpus=corpus, units=units, joint=joint, data=data)


@pytest.fixture(scope="module")
def trained(made):
    overlay = made.root / "system.yaml"
    entry = {"branch": "ctc_attention", "ctc_weight": 0.3, "attention_weight": 0.7}
    overlay.write_text(yaml.safe_dump({"outputs": {"surface": entry, "meaning": entry}}))
    options = ["--text_ratio", "0.5", "--unit_augment_conf", "mask=0.2"]
    run.train(made.root / "base.yaml", [overlay], made.data, made.root / "exp", options)
    return made.root / "exp"


def test_encoder_output_is_that_of_an_embedding_and_the_encoder_of_espnet():
    model = unit_systems.build(LAYOUT, outputs())
    embedding = torch.nn.Embedding.from_pretrained(model.frontend.embed.weight.detach())
    conf = unit_systems.CONFIG["encoder_conf"]
    encoder = espnet.resolve("encoder", "conformer")(input_size=16, **conf).eval()
    encoder.load_state_dict(model.encoder.state_dict())
    ids, lengths = torch.tensor([ROWS[0][0]]), torch.tensor([7])
    expected, frames, _ = encoder(embedding(ids), lengths)
    states, lengths_out = model.encode(ids, lengths).shared()
    torch.testing.assert_close(states, expected)
    assert lengths_out.tolist() == frames.tolist() == [7]


@pytest.mark.parametrize("branch", HEADS)
def test_loss_of_a_batch_is_that_of_its_utterances(branch):
    model = unit_systems.build(LAYOUT, outputs(branch))
    together, _, _ = model(**batch_of(ROWS))
    alone = [model(**batch_of([row]))[0] for row in ROWS]
    torch.testing.assert_close(together * len(ROWS), sum(alone))
    together.backward()
    assert model.frontend.embed.weight.grad[4].abs().sum() > 0
    assert model.frontend.embed.weight.grad[0].abs().sum() == 0  # padding


@torch.no_grad()
def test_inputs_shorter_than_the_subsampling_are_padded_and_decoded():
    """Compare with ESPnet's encoder on embeddings that are followed by zeros."""
    conf = {**unit_systems.CONFIG["encoder_conf"], "input_layer": "conv2d"}
    entries = outputs("ctc")
    model = unit_systems.build(LAYOUT, entries, encoder_conf=conf)
    assert model.min_frames == 7
    for head in model.heads.values():
        head.ctc.ctc_lo.bias[0] -= 20  # no blanks
    lengths = [4, 9, 1, 0, 6, 30]
    rows = [4 + torch.arange(length) % 8 for length in lengths]
    layout = InputLayout.of(LAYOUT)
    units = Namespace(sample_rate=16000, check_times=list, text=lambda _: rows, layout=layout)
    config = {**unit_systems.CONFIG, "outputs": entries}
    recogniser = DualSpeech2Text(model, config, {"greedy": True, "batch_frames": 20}, units=units)
    results = recogniser.texts([""] * len(rows))
    assert results[3].best["surface"].text == "" and results[3].best["surface"].score == 0
    encoder = espnet.resolve("encoder", "conformer")(input_size=16, **conf).eval()
    encoder.load_state_dict(model.encoder.state_dict())
    for length, ids, result in zip(lengths, rows, results, strict=True):
        if length:
            feats = torch.zeros(1, max(length, 7), 16)
            feats[0, :length] = model.frontend.embed.weight[ids]
            states, _, _ = encoder(feats, torch.tensor([feats.size(1)]))
            for name, head in model.heads.items():
                best, labels = head.ctc.log_softmax(states)[0].max(1)
                tokens = [TOKENS[i] for i in labels.unique_consecutive() if i]
                assert tokens and list(result.best[name].tokens) == tokens
                assert result.best[name].score == pytest.approx(float(best.sum()), abs=1e-4)


@pytest.mark.parametrize(
    "system", ["do_ctc_layer", "do_experts", "do_meaning_reads_surface", "do_shared_decoder"]
)
def test_systems_of_the_recipe_read_units(system, request):
    conf = request.config.rootpath / "conf"
    config = merged_config(conf / "train_units_small.yaml", [conf / f"systems/{system}.yaml"])
    config["frontend_conf"]["layout"] = LAYOUT
    for output in config["outputs"].values():
        output.update(token_type="char", token_list=TOKENS)
    torch.manual_seed(0)
    model = build_model(config).eval()
    together = model(**batch_of(ROWS))[0]
    alone = [model(**batch_of([row]))[0] for row in ROWS]
    torch.testing.assert_close(together * len(ROWS), sum(alone))


def test_encoder_output_is_independent_of_the_batch():
    model = unit_systems.build(LAYOUT, outputs())
    batch = batch_of(ROWS)
    request = EncoderRequest(batch_invariant=True)
    states, lengths = model.encode(batch["speech"], batch["speech_lengths"], request).shared()
    for i, (ids, *_) in enumerate(ROWS):
        single, _ = model.encode(torch.tensor([ids]), torch.tensor([len(ids)]), request).shared()
        torch.testing.assert_close(states[i, : lengths[i]], single[0])


def test_text_without_surface_trains_the_meaning_only():
    model = unit_systems.build(LAYOUT, outputs())
    loss, stats, _ = model(**batch_of([ROWS[1]]))
    loss.backward()
    assert torch.isnan(stats["loss_att_surface"]) and stats["labelled_surface"] == 0
    for name, weights in model.named_parameters():
        if name.startswith("surface_"):
            assert weights.grad is None or not weights.grad.any(), name
    assert any(w.grad.any() for n, w in model.named_parameters() if n.startswith("meaning_"))


def test_two_utterances_of_two_modalities_are_learned():
    model = unit_systems.build(LAYOUT, outputs(names=("surface", "meaning"))).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    batch = batch_of([ROWS[0], ROWS[1]])
    for _ in range(60):
        optimizer.zero_grad()
        loss, stats, _ = model(**batch)
        loss.backward()
        optimizer.step()
    assert stats["acc_surface"] == 1 and stats["acc_meaning"] == 1


GUIDES = {"surface": 3, "meaning": 19}
GUIDED = {**LAYOUT, "tokens": 21, "guides": GUIDES}


@pytest.mark.parametrize("branch", HEADS)
def test_guiding_tokens_of_the_input_mix_tasks_in_one_batch(branch):
    model = unit_systems.build(GUIDED, outputs(branch), conditioning="input_tokens")
    plain = unit_systems.build(GUIDED, outputs(branch))
    plain.load_state_dict(model.state_dict())  # the conditioner has no parameters of its own
    batch = batch_of(ROWS)
    calls = []
    model.encoder.register_forward_hook(lambda _, args, result: calls.append(result[0].size(0)))
    encoded = model.encode(batch["speech"], batch["speech_lengths"])
    assert calls == [6]  # one pass: three utterances, two tasks
    for name, guide in GUIDES.items():
        for i, (ids, *_) in enumerate(ROWS):
            single = torch.tensor([[guide, *ids]])
            expected, _ = plain.encode(single, torch.tensor([len(ids) + 1])).shared()
            assert encoded.lengths[name][i] == len(ids) + 1
            torch.testing.assert_close(encoded.hidden[name][i, : len(ids) + 1], expected[0])
    request = EncoderRequest(outputs=["meaning"])
    only = model.encode(batch["speech"], batch["speech_lengths"], request).hidden["meaning"]
    torch.testing.assert_close(only, encoded.hidden["meaning"])
    together = model(**batch)[0]
    alone = [model(**batch_of([row]))[0] for row in ROWS]
    torch.testing.assert_close(together * len(ROWS), sum(alone))
    together.backward()
    gradient = model.frontend.embed.weight.grad
    assert all(gradient[guide].abs().sum() > 0 for guide in GUIDES.values())
    model.zero_grad()
    model(**batch_of([ROWS[1]]))[0].backward()  # unlabelled for the surface
    gradient = model.frontend.embed.weight.grad
    assert gradient[GUIDES["meaning"]].any() and not gradient[GUIDES["surface"]].any()


def test_guiding_tokens_are_ids_of_their_own(made, tmp_path):
    for guides in ({"surface": 5}, {"surface": 12}, {"surface": 2}, {"surface": 20}, {"a": 1}):
        with pytest.raises(UserError, match="is not an id of a symbol of its own"):
            InputLayout.of({**GUIDED, "guides": guides})
    with pytest.raises(UserError, match="guides.meaning: 3 is not"):
        InputLayout.of({**GUIDED, "guides": {"surface": 3, "meaning": 3}})
    config = {**unit_systems.CONFIG, "outputs": outputs(), "conditioning": "input_tokens"}
    with pytest.raises(UserError, match="has no symbol '<to:surface>'"):
        add_unit_layout(config, made.data.sets, made.root / "joint", made.units)
    with pytest.raises(UserError, match="has no guiding token of surface and meaning"):
        unit_systems.build(LAYOUT, outputs(), conditioning="input_tokens")
    with pytest.raises(UserError, match="needs at least two outputs"):
        unit_systems.build(GUIDED, outputs(names=("surface",)), conditioning="input_tokens")
    with pytest.raises(UserError, match="is for systems that read discrete units"):
        build_model({**config, "frontend": None, "frontend_conf": {}, "input_size": 8})
    symbols = ("<to:surface>", "<to:meaning>")
    joint = unit_systems.write_vocabulary(tmp_path / "joint", made.units, symbols=symbols)
    options = InputOptions(("surface", "meaning"), "surface", upsample=3)
    sets = [tmp_path / name for name in ("train", "valid")]
    for folder in sets:
        folder.mkdir()
        write_input_set(joint, made.corpus, folder, options)
    merged, _ = add_unit_layout(config, sets, tmp_path / "joint", made.units)
    layout = InputLayout.of(merged["frontend_conf"]["layout"])
    ids = [layout.guides[name] for name in ("surface", "meaning")]
    assert [joint.tokens[i] for i in ids] == list(symbols)
    assert not set(ids) & {*joint.unit_range, *joint.text_range, joint.mask_id}


def test_invalid_ids_and_layouts_raise_user_errors():
    model = unit_systems.build(LAYOUT, outputs())
    with pytest.raises(UserError, match="input id 20 is not one of the 20"):
        model.encode(torch.tensor([[4, 20]]), torch.tensor([2]))
    with pytest.raises(UserError, match="got samples or features"):
        model.encode(torch.zeros(1, 400), torch.tensor([400]))
    with pytest.raises(UserError, match="layout: is missing"):
        UnitEmbedding(8)
    with pytest.raises(UserError, match="ids of units are ids of text too"):
        InputLayout.of({**LAYOUT, "text": [11, 19]})
    rows = UnitRows(InputLayout.of(LAYOUT), None)
    with pytest.raises(UserError, match="s1-u1: input id 99 is not one of the 20"):
        rows(np.array([4, 99]), "s1-u1")
    with pytest.raises(UserError, match="s1-u1: has no input ids"):
        rows(np.array([], dtype=int), "s1-u1")
    for wrong in ({"mask": 1.5}, {"mask_span": 0}, {"noise": 0.1}):
        with pytest.raises(UserError, match="unit_augment_conf"):
            UnitAugmentation.of(wrong)


def test_augmentation_keeps_the_modality_and_the_symbols():
    layout = InputLayout.of(LAYOUT)
    noisy = UnitRows(layout, UnitAugmentation(mask=0.3, mask_span=2, replace=0.5))
    speech = np.array([3, *[5] * 400])
    changed = noisy(speech, "u")
    assert changed[0] == 3  # a symbol
    assert set(changed[1:]) <= {2, *range(*layout.units)} and len(changed) == 401
    assert 0.15 < (changed == 2).mean() < 0.4
    text = noisy(np.array([13] * 400), "u")
    assert set(text) <= {2, *range(*layout.text)} and len(set(text)) > 3
    assert (UnitRows(layout, None)(speech, "u") == speech).all()
    shorter = UnitRows(layout, UnitAugmentation(drop=0.5))(speech, "u")
    assert 120 < len(shorter) < 280


def test_set_has_speech_and_text_with_ids_of_two_ranges(made):
    folder = made.data.dump / "train"
    ids = read_input_ids(folder / "input_ids", len(made.joint))
    modality = read_table(folder / "utt2modality")
    surface, meaning = read_table(folder / "text.surface"), read_table(folder / "text.meaning")
    assert sorted(modality.values()) == ["speech"] * 4 + ["text"] * 4
    texts = read_table(made.corpus / "text.surface")
    for utt_id, row in ids.items():
        if modality[utt_id] == "speech":
            assert set(row) <= set(made.joint.unit_range)
            assert surface[utt_id] == texts[utt_id]
        else:
            origin = utt_id.removesuffix("-text")
            assert set(row) <= set(made.joint.text_range)
            assert row == [i for i in made.joint.text_ids(texts[origin]) for _ in range(3)]
            assert surface[utt_id] == "<na>"
            assert meaning[utt_id] == meaning[origin]
    manifest = json.loads((folder / "input_ids.json").read_text())
    assert manifest["vocabulary_sha256"] == made.joint.digest and manifest["upsample"] == 3


def test_command_writes_a_set_with_text_only_data(made, tmp_path, capsys):
    texts = tmp_path / "texts"
    texts.mkdir()
    write_table(texts / "text.surface", {"t1": "ab", "t2": "b" * 60})
    write_table(texts / "text.meaning", {"t1": "ba", "t2": "b"})
    arguments = ["--input", str(made.corpus), "--joint_token_dir", str(made.root / "joint")]
    arguments += ["--outputs", "surface meaning", "--output", str(tmp_path / "set")]
    arguments += ["--text_input", "surface", "--text_data", str(texts), "--max_length", "100"]
    assert cli.run(unit_inputs.main, arguments) == 0
    assert "4 utterances of speech" in capsys.readouterr().out
    assert read_table(tmp_path / "set/utt2modality")["t1-text"] == "text"
    removed = (tmp_path / "set/removed.tsv").read_text()
    assert "t2-text\t240 input ids, more than 100" in removed
    assert cli.run(unit_inputs.main, [*arguments, "--outputs", "surface"]) == 1
    assert "there is no other output" in capsys.readouterr().err


def test_sets_of_other_units_or_without_texts_raise_user_errors(made, tmp_path):
    options = InputOptions(("surface", "meaning"), "surface")
    corpus = shutil.copytree(made.corpus, tmp_path / "corpus")
    path = corpus / "text.rm.units.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "units_sha256": "0" * 64}))
    with pytest.raises(UserError, match="of another k-means than those of the vocabulary"):
        write_input_set(made.joint, corpus, tmp_path / "set", options)
    path.write_text(json.dumps(manifest))
    (corpus / "text.meaning").unlink()
    write_table(corpus / "text.meaning", dict.fromkeys(read_table(corpus / "wav.scp"), "<na>"))
    with pytest.raises(UserError, match="none has a transcript in text.meaning"):
        write_input_set(made.joint, corpus, tmp_path / "set", options)
    shutil.copy(made.corpus / "text.meaning", corpus)
    units = corpus / "text.rm.units"
    rows = units.read_text()

    def add_row(row):
        units.write_text(rows + row + "\n")
        path.write_text(json.dumps({**manifest, "text_sha256": sha256_of(units)}))

    for name in ("wav.scp", "utt2spk"):
        write_table(corpus / name, {**read_table(corpus / name), "s1-u99": "s1"})
    add_row("s1-u99 ")
    with pytest.raises(UserError, match="s1-u99: has no units"):
        write_input_set(made.joint, corpus, tmp_path / "set", options)
    add_row("s1-u99 龥")
    with pytest.raises(UserError, match="s1-u99: unit .* is not one of the 12 units"):
        write_input_set(made.joint, corpus, tmp_path / "set", options)


def test_layout_of_other_files_raises_user_error(made, tmp_path):
    sets = made.data.sets
    config = {**unit_systems.CONFIG, "outputs": outputs()}
    with pytest.raises(UserError, match="needs a joint vocabulary and a k-means"):
        add_unit_layout(config, sets, made.root / "joint", None)
    with pytest.raises(UserError, match="for systems that read discrete units"):
        add_unit_layout({"frontend": "default"}, sets, made.root / "joint", made.units)
    with pytest.raises(UserError, match="normalize: utterance_mvn changes features"):
        with_normalize = {**config, "normalize": "utterance_mvn"}
        add_unit_layout(with_normalize, sets, made.root / "joint", made.units)
    other = unit_systems.write_vocabulary(tmp_path / "joint", made.units, symbols=("<to:x>",))
    assert other.digest != made.joint.digest
    with pytest.raises(UserError, match="input ids are of another vocabulary"):
        add_unit_layout(config, sets, tmp_path / "joint", made.units)


def test_ratio_of_text_counts_utterances_of_an_epoch(made):
    stats, dump = made.data.stats / "train", made.data.dump / "train"
    args = Namespace(
        text_ratio=0.5,
        train_shape_file=[str(stats / "speech_shape")],
        train_data_path_and_name_and_type=[(str(dump / "input_ids"), "speech", "text_int")],
        batch_type="unsorted",
        fold_length=[],
        batch_size=1,
        batch_bins=0,
        sort_in_batch="descending",
        sort_batch="descending",
        drop_last_iter=False,
        min_batch_size=1,
    )
    sampler = text_ratio_sampler(args)
    epochs = [[utt for batch in sampler.generate(seed) for utt in batch] for seed in range(2)]
    text = [{utt for utt in epoch if utt.endswith("-text")} for epoch in epochs]
    assert [len(epoch) for epoch in epochs] == [6, 6] and len(sampler) == 6
    assert [len(drawn) for drawn in text] == [2, 2] and len(text[0] | text[1]) == 4
    args.text_ratio = 3.0
    drawn = [utt for batch in text_ratio_sampler(args).generate(0) for utt in batch]
    assert len(drawn) == 4 + 12
    args.text_ratio = 0.0
    drawn = [utt for batch in text_ratio_sampler(args).generate(0) for utt in batch]
    assert len(drawn) == 4 and not any(utt.endswith("-text") for utt in drawn)
    args.text_ratio = 3.0
    args.train_data_path_and_name_and_type = [
        (str(made.data.dump / "valid/input_ids"), "speech", "text_int")
    ]
    args.train_shape_file = [str(made.data.stats / "valid/speech_shape")]
    with pytest.raises(UserError, match="4 utterances of speech and 0 of text"):
        text_ratio_sampler(args)


def test_trained_system_recognises_raw_audio_in_batches_and_text(
    made, trained, tmp_path, monkeypatch, capsys
):
    recogniser = DualSpeech2Text.from_pretrained(trained, beam_size=3, maxlenratio=-6)
    assert recogniser.sample_rate == 16000
    paths = list(read_table(made.corpus / "wav.scp").values())
    waves = [load_audio(path)[0] for path in paths]
    results = recogniser.batch(waves)
    with pytest.raises(UserError, match="audio 2 of 2: there are no samples"):
        recogniser.batch([waves[0], waves[0][:0]])
    for path, result in zip(paths, results, strict=True):
        single = recogniser(path)
        for name in ("surface", "meaning"):
            assert single.best[name].tokens == result.best[name].tokens
            assert single.best[name].score == pytest.approx(result.best[name].score, abs=1e-4)
    # the same input ids as in training
    ids = UnitInput.from_pretrained(made.units, made.root / "joint").speech([waves[0]])[0]
    written = read_input_ids(made.data.dump / "train/input_ids", len(made.joint))
    read = recogniser.units.speech([torch.from_numpy(waves[0])], [""])[0].tolist()
    assert ids == next(iter(written.values())) == read
    texts = recogniser.texts(["ab ba", "b a"])
    assert set(texts[0].best) == {"meaning"}  # surface was the input in training
    single = recogniser.texts(["b a"])[0]
    assert texts[1].best["meaning"].tokens == single.best["meaning"].tokens
    with monkeypatch.context() as patch:  # as features that need 400 samples
        patch.setattr(UnitExtractor, "__call__", lambda _, wave: [0] * (len(wave) // 400))
        short = [recogniser.is_too_short(samples) for samples in (0, 1, 399, 400, 16000)]
        assert short == [True, True, True, False, False]
    assert recogniser.units.text(["ab"])[0].tolist() == [
        i for i in made.joint.text_ids("ab") for _ in range(3)
    ]

    def fail(*_, **__):
        raise UserError("more than 30 s", "cut it")

    monkeypatch.setattr(recogniser.units.units.extractor, "batch", fail)
    with pytest.raises(UserError, match="audio 2 of 2: more than 30 s"):
        recogniser.batch(waves[:2])  # the shorter one is read first
    with pytest.raises(UserError, match="no token times"):
        recogniser.with_options(times=True)
    # trained without text: one warning, however many texts
    untrained = shutil.copytree(trained, tmp_path / "untrained", symlinks=True)
    config = yaml.safe_load((untrained / "config.yaml").read_text())
    (untrained / "config.yaml").write_text(yaml.safe_dump({**config, "text_ratio": 0}))
    recogniser = DualSpeech2Text.from_pretrained(untrained, beam_size=2, maxlenratio=-2)
    capsys.readouterr()
    recogniser(waves[0])
    assert "warning" not in capsys.readouterr().err
    recogniser.texts(["ab"])
    recogniser.texts(["b a", "zz"])
    messages = capsys.readouterr().err
    assert messages.count("was trained without text (text_ratio: 0)") == 1
    assert "1 of 2 texts have no token of the vocabulary" in messages and "'zz'" in messages
    # a packed model needs no other file
    pack_model(trained, tmp_path / "model.zip")
    packed = DualSpeech2Text.from_pretrained(tmp_path / "model.zip", beam_size=3, maxlenratio=-6)
    assert packed(waves[1]).best["meaning"].text == results[1].best["meaning"].text


def test_command_decodes_texts_of_a_set(made, trained, tmp_path, capsys, monkeypatch):
    corpus = shutil.copytree(made.corpus, tmp_path / "corpus")
    texts = read_table(corpus / "text.surface")
    unlabelled, *others = texts
    write_table(corpus / "text.surface", {**texts, unlabelled: "<na>"})
    (corpus / "wav.scp").unlink()
    arguments = ["--model_dir", str(trained), "--data", str(corpus), "--text_input", "surface"]
    arguments += ["--output_dir", str(tmp_path / "out"), "--beam_size", "3"]
    monkeypatch.setattr(set_decoder, "CHUNK_SIZE", 1)
    assert cli.run(decode.main, arguments) == 0
    assert "3 utterances, meaning; text.surface in" in capsys.readouterr().out
    recogniser = DualSpeech2Text.from_pretrained(trained, only=["meaning"], beam_size=3)
    results = recogniser.texts([texts[utt_id] for utt_id in others])
    expected = {utt: r.best["meaning"].text for utt, r in zip(others, results, strict=True)}
    assert read_table(tmp_path / "out/text.meaning", empty_ok=True) == expected
    assert not (tmp_path / "out/text.surface").exists()
    facts = json.loads((tmp_path / "out/decode.json").read_text())
    assert facts["text_input"] == "surface" and facts["rtf"] is None
    assert cli.run(decode.main, [*arguments, "--text_input", "canonical"]) == 1
    assert "text.canonical: no such file" in capsys.readouterr().err
    with pytest.raises(UserError, match="reads audio, and --text_input surface is text"):
        outputs_of_text({"frontend": "default"}, "exp", "surface", None)
    with pytest.raises(UserError, match="only output is meaning"):
        outputs_of_text({"frontend": "units", "outputs": {"meaning": {}}}, "m", "meaning", None)


def test_model_with_files_of_another_vocabulary_raises_user_error(made, trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "exp", symlinks=False)
    unit_systems.write_vocabulary(folder, made.units, symbols=("<to:x>",))
    with pytest.raises(UserError, match="vocabulary.json is not the joint vocabulary"):
        DualSpeech2Text.from_pretrained(folder)
    corpus = shutil.copytree(made.corpus, tmp_path / "corpus")
    other = unit_systems.write_units(corpus, tmp_path / "units", clusters=5)
    shutil.copy(other / "kmeans.npz", folder)
    with pytest.raises(UserError, match="kmeans.npz: is not the file that"):
        DualSpeech2Text.from_pretrained(folder)
    (folder / "kmeans.npz").unlink()
    with pytest.raises(UserError, match="kmeans.npz: no such file"):
        DualSpeech2Text.from_pretrained(folder)
