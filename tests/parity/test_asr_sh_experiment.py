"""An experiment in the layout of ESPnet's asr.sh, made by ESPnet's own commands.

Its model, its pack and its hypotheses are baselines; its dump and its token list train a system.
"""

import contextlib
import importlib
import json
import shutil
import sys
from pathlib import Path

import editdistance
import numpy as np
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

import tiny_recipe  # noqa: E402

from espnet_ext.bin import baseline, decode, decode_stock, import_, score, train  # noqa: E402
from espnet_ext.data.audio import write_audio  # noqa: E402
from espnet_ext.data.table import read_table  # noqa: E402
from espnet_ext.files import read_yaml  # noqa: E402

pytestmark = pytest.mark.slow
TEXT = "the cat sat on a mat with his red hat and ran after the dog that ate a rat"
SEARCH = ["--beam_size", "3", "--ctc_weight", "0.3"]
SHARED = ("frontend", "encoder", "decoder", "optim")
TOKENS = "data/en_token_list/bpe_unigram30"


def stock(module, *words):
    """Run a command of stock ESPnet in the current folder."""
    importlib.import_module(f"espnet2.bin.{module}").main([str(word) for word in words])


def write_set(name, count, random):
    """Write a set as stage 3 of asr.sh does; its paths start in the folder of the recipe."""
    tables = {"wav.scp": [], "text": [], "utt2spk": []}
    for i in range(count):
        path = Path(f"dump/raw/org/{name}/data/format.1/s{i % 4}-{name}{i}.flac")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(path, 0.1 * random.standard_normal(16000), 16000)
        text = " ".join(random.choice(TEXT.split(), 4))
        for table, value in (("wav.scp", path), ("text", text), ("utt2spk", f"s{i % 4}")):
            tables[table].append(f"{path.stem} {value}\n")
    folder = Path("dump/raw") / name
    folder.mkdir(parents=True)
    for table, lines in tables.items():
        (folder / table).write_text("".join(sorted(lines)))
    speakers: dict[str, list[str]] = {}
    for line in sorted(tables["utt2spk"]):
        speakers.setdefault(line.split()[1], []).append(line.split()[0])
    rows = [f"{speaker} {' '.join(ids)}\n" for speaker, ids in sorted(speakers.items())]
    (folder / "spk2utt").write_text("".join(rows))
    (folder / "feats_type").write_text("raw\n")


def make_token_list():
    """Write a token list as stage 5 of asr.sh does."""
    import sentencepiece

    folder = Path(TOKENS)
    folder.mkdir(parents=True)
    lines = read_table("dump/raw/train/text").values()
    (folder / "train.txt").write_text("".join(f"{line}\n" for line in lines))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "train.txt"),
        model_prefix=str(folder / "bpe"),
        vocab_size=30,
        model_type="unigram",
        hard_vocab_limit=False,
        minloglevel=2,
    )
    pieces = [line.split("\t")[0] for line in (folder / "bpe.vocab").read_text().splitlines()[3:]]
    tokens = ["<blank>", "<unk>", *pieces, "<sos/eos>"]
    (folder / "tokens.txt").write_text("".join(f"{token}\n" for token in tokens))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """Return the folder of an asr.sh recipe whose stages 3 to 13 and 14 (packing) are done."""
    root = tmp_path_factory.mktemp("asr1")
    random = np.random.default_rng(0)
    with contextlib.chdir(root):
        for name, count in (("train", 12), ("dev", 4), ("test", 4)):
            write_set(name, count, random)
        make_token_list()
        config = {**tiny_recipe.CONFIG, "max_epoch": 1, "keep_nbest_models": 1}
        config |= {"normalize": None, "model_conf": {"ctc_weight": 0.3}}
        Path("conf").mkdir()
        Path("conf/train_asr.yaml").write_text(yaml.safe_dump(config))
        words = ["--config", "conf/train_asr.yaml", "--use_preprocessor", "true"]
        words += ["--token_type", "bpe", "--bpemodel", f"{TOKENS}/bpe.model"]
        words += ["--token_list", f"{TOKENS}/tokens.txt", "--cleaner", "none", "--g2p", "none"]
        for kind, name in (("train", "train"), ("valid", "dev")):
            option = f"--{kind}_data_path_and_name_and_type"
            words += [option, f"dump/raw/{name}/wav.scp,speech,sound"]
            words += [option, f"dump/raw/{name}/text,text,text"]
        shapes = []
        for kind, name in (("train", "train"), ("valid", "dev")):
            shapes += [f"--{kind}_shape_file", f"dump/raw/{name}/text"]
        stats = "exp/asr_stats_raw_en_bpe30"
        collected = ["--collect_stats", "true", "--output_dir", stats, *shapes]
        stock("asr_train", *words, *collected)
        for kind in ("train", "valid"):
            for shape in ("speech_shape", "text_shape"):
                words += [f"--{kind}_shape_file", f"{stats}/{kind}/{shape}"]
        words += [
            "--normalize",
            "global_mvn",
            "--normalize_conf",
            f"stats_file={stats}/train/feats_stats.npz",
        ]
        stock("asr_train", *words, "--output_dir", "exp/asr_train_raw_en_bpe30")
        exp = Path("exp/asr_train_raw_en_bpe30")
        model = ["--asr_train_config", exp / "config.yaml"]
        model += ["--asr_model_file", exp / "valid.acc.ave.pth"]
        decoded = exp / "decode_asr_model_valid.acc.ave/test"
        job = decoded / "logdir/output.1"
        data = ["--data_path_and_name_and_type", "dump/raw/test/wav.scp,speech,sound"]
        stock("asr_inference", *model, *data, "--output_dir", job, *SEARCH)
        shutil.copy(job / "1best_recog/text", decoded / "text")
        packed = ["--outpath", exp / "asr_train_raw_en_bpe30_valid.acc.ave.zip"]
        for extra in (f"{TOKENS}/bpe.model", f"{stats}/train/feats_stats.npz"):
            packed += ["--option", extra]
        stock("pack", "asr", *model, *packed)
    return root


@pytest.fixture(scope="module")
def test_set(recipe):
    """Import the test set, and return its data directory."""
    with contextlib.chdir(recipe):
        target = recipe / "here/dump/raw/en/test"
        words = ["--from", "kaldi", "dump/raw/test", "--root", ".", "--output", str(target)]
        assert import_.main(words) == 0
    return target


def stock_scoring(recipe, hypotheses, token_type):
    """Return the error rate as stage 13 of asr.sh computes it: tokenize_text, then alignment."""
    tokens = []
    for i, path in enumerate((recipe / "dump/raw/test/text", hypotheses)):
        target = recipe / f"{token_type}{i}.txt"
        words = ["-f", "2-", "--input", path, "--output", target, "--cleaner", "none"]
        words += ["--remove_non_linguistic_symbols", "true", "--token_type", token_type]
        stock("tokenize_text", *words)
        ids = [line.split(maxsplit=1)[0] for line in path.read_text().splitlines()]
        lines = [line.split() for line in target.read_text().splitlines()]
        tokens.append(dict(zip(ids, lines, strict=True)))
    references, texts = tokens
    errors = sum(editdistance.eval(references[i], texts[i]) for i in references)
    return 100 * errors / sum(map(len, references.values()))


def test_error_rates_are_those_of_stock_scoring(recipe, test_set, tmp_path):
    decoded = recipe / "exp/asr_train_raw_en_bpe30/decode_asr_model_valid.acc.ave/test"
    target = tmp_path / "baseline_stock/decode/test"
    words = ["--data", str(test_set), "--token_types", "surface=phone meaning=bpe"]
    imported = ["--hypotheses", f"meaning={decoded}", "--output_dir", str(target)]
    assert baseline.main([*imported, *words]) == 0
    assert score.main(["--hypotheses", str(target), "--missing", "leave_out", *words]) == 0
    (cell,) = json.loads((target / "score.json").read_text())["cells"]
    for metric, token_type in (("cer", "char"), ("wer", "word")):
        expected = stock_scoring(recipe, decoded / "text", token_type)
        assert f"{cell['metrics'][metric]['rate']:.2f}" == f"{expected:.2f}" != "0.00"


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("command", [decode, decode_stock])
def test_model_and_pack_are_decoded_as_by_stock(
    recipe, test_set, tmp_path, monkeypatch, is_packed, command
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for decoy in (f"{TOKENS}/bpe.model", "exp/asr_stats_raw_en_bpe30/train/feats_stats.npz"):
        Path(decoy).parent.mkdir(parents=True)  # of another recipe, in the current folder
        Path(decoy).write_text("not a model")
    exp = recipe / "exp/asr_train_raw_en_bpe30"
    model = exp / "asr_train_raw_en_bpe30_valid.acc.ave.zip" if is_packed else exp
    options = {"beam_size": 3, "ctc_weight": 0.3}
    options |= {"maxlenratio": 0} if command is decode else {}
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(options))
    words = ["--model_dir", str(model), "--data", str(test_set), "--output_dir", "decoded"]
    assert command.main([*words, "--config", "search.yaml"]) == 0
    expected = read_table(exp / "decode_asr_model_valid.acc.ave/test/text", empty_ok=True)
    assert read_table("decoded/text.text", empty_ok=True) == expected


def test_dump_and_token_list_train_a_system(recipe, test_set, tmp_path):
    """Follow docs/baselines.md: import the sets, copy the token list, train without stage 5."""
    here = tmp_path / "dump"
    with contextlib.chdir(recipe):
        for name in ("train", "dev"):
            source = ["--from", "kaldi", f"dump/raw/{name}", "--root", "."]
            assert import_.main([*source, "--output", str(here / name)]) == 0
    shutil.copytree(recipe / TOKENS, tmp_path / "tokens/meaning_bpe")
    config = read_yaml(recipe / "conf/train_asr.yaml")
    config = {**config, "normalize": "global_mvn", "model_conf": {}}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(config))
    head = {"branch": "ctc_attention", "ctc_weight": 0.3, "attention_weight": 0.7}
    (tmp_path / "so.yaml").write_text(yaml.safe_dump({"outputs": {"meaning": head}}))
    words = ["--config", str(tmp_path / "base.yaml"), "--data_dir", str(here)]
    words += ["--valid_set", "dev", "--token_dir", str(tmp_path / "tokens")]
    words += ["--outputs", "meaning=bpe", "--stats_dir", str(tmp_path / "stats")]
    assert train.main([*words, "--collect_stats", "true"]) == 0
    words += ["--system", str(tmp_path / "so.yaml"), "--exp_dir", str(tmp_path / "exp")]
    assert train.main(words) == 0
    ours = read_yaml(tmp_path / "exp/config.yaml", exponents=False)
    stock_config = read_yaml(recipe / "exp/asr_train_raw_en_bpe30/config.yaml", exponents=False)
    assert ours["outputs"]["meaning"]["token_list"] == stock_config["token_list"]
    assert all(ours[part] == stock_config[part] for part in SHARED)
    lengths = read_table(tmp_path / "stats/train/text_meaning_shape")
    stock_lengths = read_table(recipe / "exp/asr_stats_raw_en_bpe30/train/text_shape")
    assert {i: n.split(",")[0] for i, n in lengths.items()} == {
        i: n.split(",")[0] for i, n in stock_lengths.items()
    }
