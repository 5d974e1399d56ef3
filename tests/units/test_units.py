"""Learn, dump and read units: streams equal memory, and every mismatch is an error."""

import json
import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from espnet_ext.data.audio import load_audio
from espnet_ext.data.table import read_table
from espnet_ext.errors import UserError
from espnet_ext.units import vocabulary
from espnet_ext.units.corpus import stream_features, stream_waves
from espnet_ext.units.dump import dump_units, read_dump_manifest, stream_dumped, stream_units
from espnet_ext.units.extractor import UnitExtractor, compute_features
from espnet_ext.units.features import FeatureOptions, build_features
from espnet_ext.units.files import read_model, write_model
from espnet_ext.units.inputs import UnitInput
from espnet_ext.units.learning import LearningOptions, learn
from espnet_ext.units.parallel_dump import stream_dumped_in_parallel
from espnet_ext.units.sequences import remove_repeats, text_to_units
from espnet_ext.units.vocabulary import JointVocabulary, UnitSource

sys.path.insert(0, str(Path(__file__).parent))
from tones import RATE, wave, write_corpus  # noqa: E402


def learned(corpus, folder, clusters=20, residual=0, seed=0, features=None, batch_seconds=2.0):
    extractor = build_features(features or FeatureOptions())
    options = LearningOptions(clusters, residual, seed)
    write_model(folder, learn(extractor, [corpus], options, batch_seconds))
    return folder


@pytest.fixture(scope="module")
def units(corpus, tmp_path_factory):
    return learned(corpus, tmp_path_factory.mktemp("kmeans"))


@pytest.fixture(scope="module")
def two_codebooks(corpus, tmp_path_factory):
    return learned(corpus, tmp_path_factory.mktemp("two"), 16, 8)


@pytest.mark.parametrize("batch_seconds", [0.1, 1.0, 60.0])
def test_streamed_features_equal_those_in_memory(corpus, batch_seconds):
    extractor = build_features(FeatureOptions())
    waves = list(stream_waves(corpus, RATE))
    assert [utt_id for utt_id, _ in waves] == sorted(read_table(corpus / "wav.scp"))
    expected = compute_features(extractor, [samples for _, samples in waves])
    streamed = list(stream_features(extractor, iter(waves), "wav.scp", batch_seconds))
    assert [utt_id for utt_id, _ in streamed] == [utt_id for utt_id, _ in waves]
    for (_, rows), row in zip(streamed, expected, strict=True):
        np.testing.assert_allclose(rows, row, atol=1e-4)


def test_learning_is_repeatable_and_independent_of_batches(corpus, units, tmp_path):
    again = read_model(learned(corpus, tmp_path / "a"))
    assert again.digest == read_model(units).digest
    small_batches = read_model(learned(corpus, tmp_path / "b", batch_seconds=0.1))
    np.testing.assert_allclose(small_batches.codebooks[0], again.codebooks[0], atol=1e-3)
    other_seed = read_model(learned(corpus, tmp_path / "c", seed=1))
    assert other_seed.digest != again.digest


@pytest.mark.parametrize("repeats", ["remove", "keep"])
@pytest.mark.parametrize("folder", ["units", "two_codebooks"])
def test_dumped_units_equal_brute_force(folder, repeats, corpus, tmp_path, request):
    model_dir = request.getfixturevalue(folder)
    extractor = UnitExtractor.from_pretrained(model_dir)
    target = tmp_path / "text.rm.units"
    statistics = dump_units(extractor, corpus, target, repeats, batch_seconds=1.0)
    dumped = dict(stream_units(target, extractor.model.count))
    codebooks = [codebook.astype("float64") for codebook in extractor.model.codebooks]
    features = build_features(FeatureOptions())
    for utt_id, path in read_table(corpus / "wav.scp").items():
        samples, _ = load_audio(path)
        rows = compute_features(features, [samples])[0].numpy().astype("float64")
        codes = []
        for codebook in codebooks:
            nearest = ((rows[:, None] - codebook) ** 2).sum(-1).argmin(1)
            codes.append(nearest)
            rows = rows - codebook[nearest]
        expected = np.stack(codes, 1)
        expected = remove_repeats(expected) if repeats == "remove" else expected
        offsets = np.cumsum([0, *map(len, codebooks[:-1])])
        np.testing.assert_array_equal(dumped[utt_id], (expected + offsets).reshape(-1))
        called = extractor(samples, keep_repeats=repeats == "keep")
        np.testing.assert_array_equal(called, dumped[utt_id])
    assert statistics.units == sum(map(len, dumped.values()))
    manifest = read_dump_manifest(target)
    assert manifest["units_sha256"] == extractor.digest
    assert manifest["repeats"] == repeats


def test_second_codebook_lowers_the_distance(two_codebooks):
    first, second = read_model(two_codebooks).training["inertia"]
    assert second < first


def test_portion_reads_fewer_utterances(corpus):
    ids = [utt_id for utt_id, _ in stream_waves(corpus, RATE, portion=0.5, seed=0)]
    assert 0 < len(ids) < 8
    assert ids == [utt_id for utt_id, _ in stream_waves(corpus, RATE, portion=0.5, seed=0)]


# -- bad input


def test_more_clusters_than_frames_names_the_data(corpus):
    with pytest.raises(UserError, match=f"{corpus}: 5000 clusters, but the sample has"):
        learn(build_features(FeatureOptions()), [corpus], LearningOptions(5000))


@pytest.mark.parametrize(
    "options",
    [
        LearningOptions(0),
        LearningOptions(5, -1),
        LearningOptions(5, seed=-1),
        LearningOptions(5, portion=0.0),
        LearningOptions(500, max_frames=400),
        LearningOptions(21000),
    ],
)
def test_impossible_learning_options_raise_user_error(options, corpus):
    with pytest.raises(UserError):
        learn(build_features(FeatureOptions()), [corpus], options)


def test_utterance_without_a_frame_is_named(corpus, checkpoints, tmp_path):
    short = write_corpus(tmp_path / "short", [0.5, 0.01])  # 160 samples; wavlm needs 400
    options = FeatureOptions(kind="pretrained", model=str(checkpoints["wavlm"]), layer=1)
    folder = learned(corpus, tmp_path / "kmeans", 8, features=options)
    extractor = UnitExtractor.from_pretrained(folder)
    with pytest.raises(UserError, match="wav.scp: s1-u01: too short for one unit"):
        dump_units(extractor, short, tmp_path / "text.rm.units", "remove")
    assert not (tmp_path / "text.rm.units").exists()


def test_unreadable_recording_is_named(tmp_path):
    broken = write_corpus(tmp_path / "broken", [0.5, 0.5])
    (broken / "audio" / "s1-u01.wav").write_bytes(b"RIFF")
    with pytest.raises(UserError, match="wav.scp:2: s1-u01: "):
        list(stream_waves(broken, RATE))


def test_unsorted_or_repeated_ids_raise_user_error(tmp_path):
    data = write_corpus(tmp_path / "data", [0.3, 0.3])
    rows = (data / "wav.scp").read_text().splitlines(keepends=True)
    for content, message in (
        (rows[1] + rows[0], "wav.scp:2: s1-u00: not sorted"),
        (rows[0] + rows[0], "wav.scp:2: s1-u00: the id is already in line 1"),
        ("s1-u00\n", "wav.scp:1: s1-u00: has no audio"),
    ):
        (data / "wav.scp").write_text("".join(content))
        with pytest.raises(UserError, match=message):
            list(stream_waves(data, RATE))


def test_utterance_that_the_encoder_refuses_is_named(checkpoints, tmp_path):
    long = write_corpus(tmp_path / "long", [0.5, 30.5, 0.7])
    options = FeatureOptions(kind="pretrained", model=str(checkpoints["whisper"]), layer=1)
    with pytest.raises(UserError, match="wav.scp: s1-u01: .*at most 480000"):
        learn(build_features(options), [long], LearningOptions(4), 60.0)


def test_changed_encoder_raises_user_error(corpus, checkpoints, tmp_path):
    encoder = shutil.copytree(checkpoints["wavlm"], tmp_path / "encoder")
    options = FeatureOptions(kind="pretrained", model=str(encoder), layer=1)
    folder = learned(corpus, tmp_path / "kmeans", 8, features=options)
    shutil.rmtree(encoder)
    moved = UnitExtractor.from_pretrained(folder, encoder=str(checkpoints["wavlm"]))
    assert moved.model.count == 8
    with pytest.raises(UserError, match="is not the one that the k-means was learned with"):
        UnitExtractor.from_pretrained(folder, encoder=str(checkpoints["hubert"]))


def test_encoder_with_a_changed_configuration_raises_user_error(
    corpus, checkpoints, tmp_path, capsys
):
    encoder = shutil.copytree(checkpoints["wavlm"], tmp_path / "encoder")
    options = FeatureOptions(kind="pretrained", model=str(encoder), layer=1)
    folder = learned(corpus, tmp_path / "kmeans", 8, features=options)
    path = encoder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "do_normalize": False}))
    with pytest.raises(UserError, match="is not the one that the k-means was learned with"):
        UnitExtractor.from_pretrained(folder)
    assert "warning" not in capsys.readouterr().err
    model = read_model(folder)  # as an earlier version wrote it
    write_model(folder, replace(model, features_sha256=build_features(options).digest_of_weights()))
    assert len(UnitExtractor.from_pretrained(folder).model.codebooks[0]) == 8
    assert "the weights of the encoder only" in capsys.readouterr().err


def test_changed_or_missing_files_raise_user_error(units, tmp_path):
    def copy(name):
        return shutil.copytree(units, tmp_path / name)

    with pytest.raises(UserError, match="units.json: no such file"):
        read_model(tmp_path / "none")
    model = read_model(units)
    changed = copy("changed")
    np.savez(changed / "kmeans.npz", codebook_0=model.codebooks[0] + 1)
    with pytest.raises(UserError, match="kmeans.npz: is not the file that .* was written with"):
        read_model(changed)
    pickled = copy("pickled")
    np.savez(pickled / "kmeans.npz", codebook_0=np.array([{}], dtype=object))
    with pytest.raises(UserError, match="kmeans.npz: not readable"):
        read_model(pickled)
    for name, content in (("cut", (units / "kmeans.npz").read_bytes()[:100]), ("empty", b"")):
        (copy(name) / "kmeans.npz").write_bytes(content)
        with pytest.raises(UserError, match="kmeans.npz: not readable"):
            read_model(tmp_path / name)
    manifest = copy("manifest")
    values = json.loads((units / "units.json").read_text())
    for change in (
        {"format": 9},
        {"features": 3},
        {"features": {"kind": 3}},
        {"features": {"x": 1}},
    ):
        (manifest / "units.json").write_text(json.dumps({**values, **change}))
        with pytest.raises(UserError, match="units.json"):
            UnitExtractor.from_pretrained(manifest)


def test_units_of_another_kmeans_are_out_of_range(units, corpus, tmp_path):
    target = tmp_path / "text.rm.units"
    extractor = UnitExtractor.from_pretrained(units)
    dump_units(extractor, corpus, target, "remove")
    with pytest.raises(UserError, match="text.rm.units:1: s1-u00: unit .* is not one of the 3"):
        list(stream_units(target, 3))
    content = target.read_bytes()
    target.write_bytes(content[:-4] + "一\n".encode())
    with pytest.raises(UserError, match="is not the file that text.rm.units.json was written"):
        read_dump_manifest(target)
    target.write_bytes(content)
    assert read_dump_manifest(target)["codebooks"] == [20]
    Path(f"{target}.json").unlink()
    with pytest.raises(UserError, match="its manifest, text.rm.units.json, is missing"):
        read_dump_manifest(target)


# -- the joint vocabulary

TEXTS = ["ab ba", "한자 一二", "abba"]  # the Hanja are written like units 0 and 12


def source_of(units, repeats="remove"):
    model = read_model(units)
    return UnitSource(model.digest, tuple(model.sizes), repeats)


@pytest.mark.parametrize("unit_type", ["unit", "bpe"])
@pytest.mark.parametrize("text_type", ["char", "jamo", "bpe", "word"])
def test_ids_of_units_and_text_are_separate(unit_type, text_type, units, corpus, tmp_path):
    extractor = UnitExtractor.from_pretrained(units)
    rows = ["一二一二", "丁七"]
    joint = vocabulary.build(
        tmp_path,
        source_of(units),
        rows,
        TEXTS,
        unit_type=unit_type,
        unit_size=40,
        text_type=text_type,
        text_size=30,
        symbols=["<to:meaning>"],
    )
    assert joint.symbol_id("<to:meaning>") == 3
    assert joint.mask_id == 2
    assert set(joint.unit_range).isdisjoint(joint.text_range)
    assert joint.text_range.stop == len(joint) - 1
    for unit in range(20):  # also units that no row has
        assert set(joint.unit_ids([unit])) <= set(joint.unit_range)
    for text in TEXTS:
        assert set(joint.text_ids(text)) <= set(joint.text_range)
    assert 1 in joint.text_ids("abz") or text_type == "bpe"
    again = JointVocabulary.read(tmp_path)
    assert (again.digest, list(again.tokens)) == (joint.digest, list(joint.tokens))
    reader = UnitInput(extractor, joint)
    (ids,) = reader.speech([wave(0.5, 0)])
    assert ids == joint.unit_ids(extractor(wave(0.5, 0)))
    assert reader.text("ab", 2) == [i for i in joint.text_ids("ab") for _ in range(2)]


def build_small(folder, units, **changes):
    options = {"unit_type": "unit", "text_type": "char", **changes}
    return vocabulary.build(folder, source_of(units), [], ["ab"], **options)


def test_fewer_tokens_than_units_raise_user_error(units, tmp_path):
    joint = build_small(tmp_path, units, unit_type="bpe", unit_size=22)  # 20 units
    assert len(joint.unit_range) == 21  # with the boundary of words, without the unknown unit
    with pytest.raises(UserError, match="21 SentencePiece units are fewer than the 22") as caught:
        build_small(tmp_path, units, unit_type="bpe", unit_size=21)
    assert caught.value.remedy.endswith("at least 22: unit_tokens --unit_vocab_size")


def test_units_of_another_kmeans_or_policy_raise_user_error(units, two_codebooks, tmp_path):
    joint = build_small(tmp_path, units)
    other = UnitExtractor.from_pretrained(two_codebooks)
    with pytest.raises(UserError, match="its units are of another k-means"):
        UnitInput(other, joint)
    with pytest.raises(UserError, match="repeats: keep, but the vocabulary is for"):
        joint.require_units(source_of(units, "keep"), "text.ts.units")


def test_bad_units_and_symbols_raise_user_error(units, tmp_path):
    joint = build_small(tmp_path, units)
    with pytest.raises(UserError, match="u1: unit 20 is not one of the 20 units"):
        joint.unit_ids([3, 20], "u1")
    with pytest.raises(UserError, match="u1: has no units"):
        joint.unit_ids([], "u1")
    with pytest.raises(UserError, match="no symbol '<to:surface>'"):
        joint.symbol_id("<to:surface>")
    with pytest.raises(UserError, match="the token '<x>' of the text has another meaning"):
        vocabulary.build(
            tmp_path / "x",
            source_of(units),
            [],
            ["a <x>"],
            unit_type="unit",
            text_type="word",
            symbols=["<x>"],
        )
    with pytest.raises(UserError, match="the token '<u>一' of the text"):
        vocabulary.build(
            tmp_path / "x", source_of(units), [], ["<u>一"], unit_type="unit", text_type="word"
        )
    with pytest.raises(UserError, match="not unique"):
        build_small(tmp_path / "x", units, symbols=["<mask>"])


def test_changed_vocabulary_raises_user_error(units, tmp_path):
    folder = tmp_path / "v"
    build_small(folder, units)
    manifest = folder / "vocabulary.json"
    content = manifest.read_text()
    manifest.write_text(content.replace('"remove"', '"keep"'))
    with pytest.raises(UserError, match="was changed after it was written"):
        JointVocabulary.read(folder)
    manifest.write_text(content)
    tokens = folder / "tokens.txt"
    tokens.write_text(tokens.read_text().replace("<u>一\n<u>丁", "<u>丁\n<u>一"))
    with pytest.raises(UserError, match="tokens.txt: is not the file that"):
        JointVocabulary.read(folder)


# -- commands


def test_commands_from_audio_to_input_ids(corpus, tmp_path, capsys):
    from espnet_ext.bin import dump_units as dump
    from espnet_ext.bin import learn_kmeans, unit_tokens, validate

    data = tmp_path / "data"
    shutil.copytree(corpus, data)
    kmeans, joint = str(tmp_path / "kmeans"), str(tmp_path / "joint")
    learn_arguments = ["--input", str(data), "--output", kmeans, "--clusters", "20"]
    assert learn_kmeans.main(learn_arguments) == 0
    assert "20 units from" in capsys.readouterr().out
    assert learn_kmeans.main(learn_arguments) == 0  # its own files may be written again
    dump_arguments = ["--input", str(data), "--units", kmeans]
    assert dump.main(dump_arguments) == 0
    assert "8 utterances" in capsys.readouterr().out
    assert dump.main(dump_arguments) == 0
    units = data / "text.rm.units"
    token_arguments = ["--unit_text", str(units), "--text", str(data / "text.surface")]
    token_arguments += ["--unit_vocab_size", "60", "--text_token_type", "char"]
    token_arguments += ["--symbols", "<to:meaning> <to:surface>", "--token_dir", joint]
    assert unit_tokens.main(token_arguments) == 0
    reader = UnitInput.from_pretrained(kmeans, joint)
    row = read_table(units)["s1-u02"]
    samples, _ = load_audio(read_table(data / "wav.scp")["s1-u02"])
    assert reader.speech([samples]) == [reader.vocabulary.unit_text_ids(row)]
    assert len(text_to_units(row, 20, "")) == len(reader.extractor(samples))
    # other commands do not take units for transcripts
    assert validate.main([str(data)]) in (0, None)
    # files that the command did not write are protected
    (data / "text.ts.units").write_text("by hand\n")
    with pytest.raises(UserError, match="text.ts.units: exists"):
        dump.main([*dump_arguments, "--repeats", "keep"])


def test_several_processes_write_the_same_units_and_name_broken_recordings(units, tmp_path):
    data = write_corpus(tmp_path / "data", [0.3, 0.5, 0.4, 0.6, 0.2])
    load = partial(UnitExtractor.from_pretrained, units)
    alone = list(stream_dumped(load(), data, "remove"))
    several = list(stream_dumped_in_parallel(load, data, "remove", 2, part=2))
    assert [(row.utt_id, row.text, row.frames) for row in several] == [
        (row.utt_id, row.text, row.frames) for row in alone
    ]
    (data / "audio" / "s1-u03.wav").write_bytes(b"RIFF")
    with pytest.raises(UserError, match="wav.scp:4: s1-u03: ") as caught:
        list(stream_dumped_in_parallel(load, data, "remove", 2, part=2))
    assert caught.value.remedy
