"""Data without the canonical forms of `--canonical_prior` is an error before any other work."""

import json
from pathlib import Path

import pytest

from espnet_ext.errors import UserError
from espnet_ext.pipeline.canonical_files import check_files, main

VARIABLES = {
    "selected_stages": ["1", "12"],
    "datadir": "data",
    "dumpdir": "dump",
    "langs": "en ko",
    "train_sets": "a b",
    "train_set": "a+b_sp",
    "test_sets": "test other",
}


def write(folder, *names, text="u1 x\n"):
    folder = Path(folder)
    folder.mkdir(parents=True)
    for name in ("wav.scp", *names):
        (folder / name).write_text(text)


@pytest.fixture(autouse=True)
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_all_sets_that_lack_a_file_are_named():
    write("data/en/a", "text.canonical", "text.surface")
    write("data/en/b", "text.surface")  # one training set is enough
    write("data/en/test", "text.canonical")
    write("data/en/other")
    write("data/ko/a", "text.surface")
    write("data/ko/test", "text.canonical", text="u1\n")
    check_files(VARIABLES, "do:coupled")
    with pytest.raises(UserError) as caught:
        check_files(VARIABLES, "so:prompt do:prompt do:twopass")
    assert caught.value.message == (
        "--canonical_prior prompt twopass: no such file, or no transcript in it: "
        "data/en/other/text.canonical, data/ko/a/text.canonical, data/ko/test/text.canonical"
    )
    assert "every test set" in caught.value.remedy
    with pytest.raises(UserError, match="twopass: .* it: data/ko/a/text.canonical") as caught:
        check_files(VARIABLES, "do:twopass")
    assert "every test set" not in caught.value.remedy


@pytest.mark.parametrize(("stages", "root"), [(["4", "12"], "raw/org"), (["12"], "raw")])
def test_the_sets_that_the_first_stage_reads_are_checked(stages, root, capsys):
    write(f"dump/{root}/en/a+b_sp", "text.canonical", "text.surface")
    write(f"dump/{root}/en/test")
    Path("options.json").write_text(json.dumps({**VARIABLES, "selected_stages": stages}))
    assert main(["options.json", "--variants", "do:prompt"]) == 1
    error = capsys.readouterr().err
    assert f"dump/{root}/en/test/text.canonical\n" in error and "remedy: " in error
    assert main(["options.json", "--variants", "do:twopass"]) == 0
