"""Tests of `prepare plain`: which table is read, what it replaces, and which languages are used."""

import json
import shutil
from pathlib import Path

import pytest
from published import write_sound

from espnet_ext.bin import cli
from espnet_ext.bin import prepare as command
from espnet_ext.corpora import new_recipe

ROOT = Path(__file__).resolve().parents[2]


def write(path, langs=("en", "en", "en")):
    """Write a table of three speakers, one per set and language."""
    write_sound(path.parent / "a.wav")
    lines = ["utt_id,speaker,audio,meaning,lang,set"]
    for number, lang in enumerate(langs):
        for name in ("train", "valid", "test"):
            lines.append(f"u{number},{name}{number},a.wav,we see,{lang},{name}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def prepare(tmp_path, capsys):
    """Return a function that prepares a table in one folder; returns exit code and output."""

    def run(table, *options):
        data = ["--data_dir", str(tmp_path / "data"), *options]
        code = cli.run(command.main, ["plain", "--manifest", str(table), *data])
        return code, capsys.readouterr().err

    return run


@pytest.fixture
def example(tmp_path):
    """Return the table that `new_corpus` writes."""
    template = Path("egs2/TEMPLATE")
    shutil.copytree(ROOT / template, tmp_path / template)
    return new_recipe.create("own", tmp_path) / "corpus.tsv"


def test_the_table_is_named_and_another_one_is_a_warning(tmp_path, prepare):
    first, second = write(tmp_path / "first.csv"), write(tmp_path / "second.csv")
    assert f"plain: read from {first}\n" in prepare(first)[1]
    assert "warning" not in prepare(first)[1]
    warning = f"warning: {tmp_path}/data/en: was prepared from {first} before, and is now from"
    assert f"{warning} {second}\n" in prepare(second)[1]
    report = json.loads((tmp_path / "data/en/prepare.json").read_text(encoding="utf-8"))
    assert report["source"] == str(second)


def test_the_example_table_replaces_no_other_one(tmp_path, prepare, example):
    code, output = prepare(example)
    assert code == 0 and "plain: this is the example table of new_corpus" in output
    table = write(tmp_path / "table.csv")
    code, output = prepare(table)
    assert code == 0 and "example table" not in output
    code, output = prepare(example)
    assert code == 1 and f"was prepared from {table}; the example table {example} would" in output
    assert f"remedy: write manifest={table} into conf/recipe.conf" in output
    scp = (tmp_path / "data/en/train/wav.scp").read_text(encoding="utf-8")
    assert str(tmp_path / "a.wav") in scp
    assert prepare(example, "--overwrite", "true")[0] == 0


def test_utterances_of_languages_that_are_not_used_are_noted(tmp_path, prepare):
    table = write(tmp_path / "mixed.csv", ("en", "korean", "en"))
    note = (
        "plain: 3 of 9 utterances are not used, because langs does not have their language (ko 3); "
        "to use them: --langs 'en ko'"
    )
    assert note in prepare(table, "--langs", "en")[1]
    for options in ([], ["--langs", "en ko"], ["--langs", "English 한국어"]):
        code, output = prepare(table, *options)
        assert code == 0 and "not used" not in output
    code, output = prepare(table, "--langs", "fr")
    assert code == 1 and f"{table}: no row is in fr (en 6, ko 3)" in output
