"""Where the hypotheses and models of baselines are looked for, and what is wrong about them."""

import re

import pytest

from espnet_ext.pipeline.baselines import ARCHIVE_SUFFIXES, locate, parse
from espnet_ext.pipeline.usage import UsageError


def write(folder, *files):
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def baselines(tmp_path, *words, langs=("ko", "en"), sets=("test",)):
    return locate(parse(words, ["do"]), langs, sets, [tmp_path])


def test_unknown_output_raises_usage_error():
    with pytest.raises(UsageError, match="'w:meanin=hyp': unknown output 'meanin'") as caught:
        parse(["w:meanin=hyp"], ["do"], ["surface", "meaning"])
    assert caught.value.remedy == "did you mean 'meaning'?"
    with pytest.raises(UsageError) as caught:
        parse(["w:gloss=hyp"], ["do"], ["surface", "meaning"])
    assert caught.value.remedy == "the outputs are surface, meaning (--token_types)"


def test_hypotheses_by_language_and_set(tmp_path):
    write(tmp_path / "hyp", "en/test/text", "ko/test/text.surface", "ko/other/text")
    result = baselines(tmp_path, "w:meaning=hyp", sets=("test", "other"))
    assert result.runs == ["ko test w", "ko other w", "en test w"]
    assert f"en test w meaning {tmp_path}/hyp/en/test" in result.texts
    assert result.models == []


def test_one_language_needs_no_folder_of_it(tmp_path, capsys):
    write(tmp_path / "hyp", "test/text")
    result = baselines(tmp_path, "w=hyp", langs=["en"], sets=("test", "other"))
    assert result.texts == [f"en test w - {tmp_path}/hyp/test"]
    assert "has nothing for en, other: not compared there" in capsys.readouterr().err


def test_language_and_set_in_the_path(tmp_path):
    write(tmp_path, "en_test_out/text", "ko_test_out/text", "exp/en/config.yaml")
    result = baselines(tmp_path, "w={lang}_{set}_out", "stock:meaning=exp/{lang}")
    assert result.runs == ["ko test w", "en test w", "en test stock"]
    assert result.texts[1] == f"en test w - {tmp_path}/en_test_out"
    assert result.models == [f"en stock meaning project {tmp_path}/exp/en"]


def test_several_outputs_are_one_baseline_and_models_are_found(tmp_path):
    write(tmp_path, "a/test/text", "b/test/text", "pack.zip", "old.tar.gz")
    words = ["w:surface=a", "w:meaning=b", "pack=pack.zip", "old=old.tar.gz", "hub=user/model"]
    result = baselines(tmp_path, *words, langs=["en"])
    assert result.names == ["w", "pack", "old", "hub"]
    assert result.runs == ["en test w", "en test pack", "en test old", "en test hub"]
    assert result.models == [
        f"en pack - project {tmp_path}/pack.zip",
        f"en old - project {tmp_path}/old.tar.gz",
        "en hub - project user/model",
    ]
    assert result.on_hub == ["user/model"]


def test_path_with_characters_of_patterns(tmp_path):
    write(tmp_path, "out[1]/test/text", "out1/test/text", "a*b/model.zip")
    result = baselines(tmp_path, "w=out[1]", "m=a*b", langs=["en"])
    assert result.texts == [f"en test w - {tmp_path}/out[1]/test"]
    assert result.models == [f"en m - project {tmp_path}/a*b"]


def test_each_baseline_may_name_its_search(tmp_path):
    write(tmp_path, "exp/config.yaml")
    words = ["a:meaning=exp", "b:meaning@stock=exp", "c@project=exp", "d=exp"]
    sources = parse(words, [])
    assert [source.word for source in sources] == words
    result = locate(sources, ["en"], ["test"], [tmp_path], "stock")
    assert [model.split()[1:4] for model in result.models] == [
        ["a", "meaning", "stock"],
        ["b", "meaning", "stock"],
        ["c", "-", "project"],
        ["d", "-", "stock"],
    ]


def test_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, "hyp/test/text")
    result = baselines(tmp_path / "elsewhere", "w=~/hyp", langs=["en"])
    assert result.texts == [f"en test w - {tmp_path}/hyp/test"]


def test_suffixes_of_archives_are_those_that_the_decoder_reads():
    from espnet_ext.model.archive import ARCHIVE_SUFFIXES as readable

    assert readable == ARCHIVE_SUFFIXES


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["w@stok=hyp"], "'w@stok=hyp': unknown search 'stok'"),
        (["w@=hyp"], "unknown search ''"),
        (["w@stock:meaning=hyp"], "unknown search 'stock:meaning'"),
        (["w@stock={lang}/hyp"], "has hypotheses, which need no search"),
        (["hyp"], "'hyp' is not NAME=DIR, NAME:OUTPUT=DIR or NAME:OUTPUT@SEARCH=DIR"),
        (["do=hyp"], "do is the name of a system"),
        (["do_coupled=hyp"], "do_coupled is the name of a system"),
        (["w=hyp", "w:meaning=hyp"], "have the same name"),
        (["w=nothing"], "w=nothing: no such file or folder"),
        (["w=hyp"], "the language of these hypotheses is not clear"),
        (["w=model"], "the language of this model is not clear"),
        (["w=other"], "neither hypotheses of test nor a model"),
        (["w=hyp/test/text"], "a file that is not an archive"),
        (["w=./exp/foo"], "w=./exp/foo: no such file or folder"),
        (["w=../exp/foo"], "no such file or folder"),
        (["w=/exp/foo"], "no such file or folder"),
        (["w=~/exp"], "no such file or folder"),
        (["w=exp/../foo"], "no such file or folder"),
        (["w=exp//foo"], "no such file or folder"),
        (["w=exp/foo/"], "no such file or folder"),
        (["w=hyp/foo/bar"], "no such file or folder"),
        (["w={lang}_{set}"], "no such file or folder"),
    ],
)
def test_wrong_baselines_raise_usage_error(tmp_path, words, message):
    write(tmp_path, "hyp/test/text", "model/config.yaml", "other/dev/text")
    write(tmp_path, "ko/hyp/test/text")
    with pytest.raises(UsageError, match=re.escape(message)):
        baselines(tmp_path, *words)
