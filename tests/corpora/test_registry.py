"""The registry of corpora: importable anywhere; the command line and recipes agree with it."""

import ast
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from published import write_sound

from espnet_ext.bin import cli, prepare
from espnet_ext.corpora import registry
from espnet_ext.corpora.languages import spoken_language
from espnet_ext.corpora.registry import CORPORA, KINDS, Corpus, Option
from espnet_ext.data.directory import read_directory
from espnet_ext.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("corpus", CORPORA.values(), ids=lambda corpus: corpus.name)
def test_entry_is_complete(corpus):
    assert corpus.title and corpus.module and CORPORA[corpus.name] is corpus
    for option in corpus.options:
        assert option.help and option.kind in KINDS, option.name
        assert option.default is None or option.default == "" or not option.problem(option.default)
    names = [option.name for option in corpus.options]
    assert len(names) == len(set(names))
    in_recipes = [option.name for option in corpus.recipe_options]
    assert len(in_recipes) == len(set(in_recipes))


@pytest.mark.parametrize("corpus", CORPORA.values(), ids=lambda corpus: corpus.name)
def test_options_of_the_module_equal_the_registry(corpus):
    """Each option is a field of `Options`, with the same default; `nj` may have another one."""
    module = corpus.import_module()
    required = {"manifest": "m.tsv"} if corpus.name == "plain" else {}
    fields = dataclasses.asdict(module.Options(**required))
    parser = prepare.get_parser()
    argv = [word for name, value in required.items() for word in (f"--{name}", value)]
    values = vars(parser.parse_args([corpus.name, *argv]))
    assert values.pop("corpus") == corpus.name
    del fields["nj"]
    values.pop("nj", None)
    unused = fields.keys() - values.keys()  # common options that the corpus does not have
    assert unused <= {"skip_unreadable"} and fields == values | {
        name: fields[name] for name in unused
    }


def test_registry_needs_only_the_standard_library():
    for path in (
        "corpora/registry.py",
        "corpora/options.py",
        "corpora/__init__.py",
        "errors.py",
        "__init__.py",
    ):
        ast.parse((ROOT / "espnet_ext" / path).read_text(encoding="utf-8"), feature_version=(3, 9))
    code = "import espnet_ext.corpora.registry"
    subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append('.'); {code}"],
        cwd=ROOT,
        check=True,
    )


def test_parsers_have_the_options_of_the_registry():
    subparsers = prepare.get_parser()._subparsers._group_actions[0].choices
    assert list(subparsers) == list(CORPORA)
    args = prepare.get_parser().parse_args(["aihub_l2", "--nj", "3", "--personal", "yes"])
    assert (args.data_dir, args.quick, args.nj, args.personal) == ("data", False, 3, True)
    assert args.read_tasks == ("LAR", "RS", "RW", "RP") and args.lang == "ko"


@pytest.mark.parametrize(
    "argv, message",
    [
        (["l2artic"], "no corpus 'l2artic': did you mean l2arctic?"),
        (["l2arctic", "--splt", "auto"], "l2arctic: no option --splt: did you mean --split?"),
        (["epadb", "--xyz=1"], "epadb: no option --xyz: choose one of --data_dir"),
        (["l2arctic", "--split", "x"], "invalid choice: 'x'"),
        (["l2arctic", "--nj", "0"], "whole number"),
        (["plain"], "--manifest"),
    ],
)
def test_wrong_usage_exits_2_with_a_suggestion(argv, message, capsys):
    with pytest.raises(SystemExit) as caught:
        prepare.main(argv)
    assert caught.value.code == 2 and message in capsys.readouterr().err


def test_get_corpus_suggests_the_nearest_name():
    assert registry.get_corpus("epadb") is CORPORA["epadb"]
    with pytest.raises(UserError, match="did you mean speechocean762"):
        registry.get_corpus("speechocean")


def test_arguments_from_values_of_a_recipe():
    values = {"data_dir": "d", "quick": "true", "nj": "3", "langs": "en", "l2arctic": "/c"}
    arguments = CORPORA["l2arctic"].arguments({**values, "archive": "", "split": "speakers"})
    assert prepare.get_parser().parse_args(arguments).corpus_dir == "/c"
    assert arguments[0] == "l2arctic" and "--langs" not in arguments
    assert arguments[arguments.index("--archive") + 1] == ""
    commonvoice = CORPORA["commonvoice"].arguments({"langs": "en de", "train_clips": "other"})
    assert commonvoice == ["commonvoice", "--langs", "en de", "--train", "other"]
    plain = CORPORA["plain"].arguments({"langs": "ko en", "manifest": "m.tsv"})
    assert plain == ["plain", "--manifest", "m.tsv", "--lang", "ko", "--langs", "ko en"]


@pytest.mark.parametrize(
    "corpus, langs, message",
    [
        ("l2arctic", "ko", "l2arctic has no ko, only en"),
        ("aihub_l2", "ko en", "one language at a time"),
        ("mini_l2", "ko de", "mini_l2 has no de, only ko en"),
    ],
)
def test_languages_that_a_corpus_lacks_raise_user_error(corpus, langs, message):
    with pytest.raises(UserError, match=message):
        CORPORA[corpus].arguments({"langs": langs})


def test_remedy_names_known_languages_and_how_to_add_one():
    def remedy(langs):
        with pytest.raises(UserError) as caught:
            CORPORA["mini_l2"].check_languages([langs])
        return caught.value.remedy

    assert "espnet-ext new_corpus NAME --lang de" in remedy("de")
    assert "the name Klingon is unknown, the known codes are: ar bn" in remedy("Klingon")
    with pytest.raises(UserError) as caught:
        CORPORA["l2arctic"].check_languages(["ko"])
    assert "a corpus that has ko (aihub505, aihub_l2, ksponspeech)" in caught.value.remedy
    assert spoken_language("Deutsch") == "de"


def test_values_are_checked():
    option = Option("nj", "1", "number of processes", "count")
    assert not option.problem("8") and "whole number" in option.problem("many")
    assert "neither true nor false" in Option("x", "false", "", "boolean").problem("maybe")
    assert Corpus("a", "A", "a").check_languages(["anything", "else"]) is None


# -- a new corpus is one module and one entry

TOY = Corpus(
    "toy",
    "a toy corpus",
    "toy_corpus",
    ("en",),
    (
        Option("corpus_dir", "", "folder of sounds", "path", (), "corpus", recipe_name="toy"),
        Option("case", "lower", "case of the words", choices=("lower", "upper")),
        Option("drop", "", "words to drop", "words"),
        Option("nj", "2", "number of files read in parallel", "count"),
        Option("skip_unreadable", "false", "leave out unreadable audio", "boolean"),
    ),
)


@pytest.fixture
def toy(monkeypatch, tmp_path):
    monkeypatch.setitem(CORPORA, "toy", TOY)
    for number in range(3):
        for word in ("yes", "no"):
            write_sound(tmp_path / f"corpus/s{number}_{word}.wav")
    return tmp_path / "corpus"


def run(*argv):
    return cli.run(prepare.main, [str(word) for word in argv])


def test_new_corpus_is_prepared_by_the_command(toy, tmp_path):
    argv = ["toy", "--corpus_dir", toy, "--data_dir", tmp_path / "data"]
    assert run(*argv, "--case", "upper", "--drop", "no maybe") == 0
    for number, name in enumerate(("train", "valid", "test")):
        (utterance,) = read_directory(tmp_path / "data/en" / name)
        assert utterance.utt_id == f"s{number}-yes" and utterance.texts == {"meaning": "YES"}
    report = json.loads((tmp_path / "data/en/prepare.json").read_text())
    assert report["corpus"] == "toy" and len(report["left_out"]) == 3


def test_options_of_a_new_corpus_are_checked(toy, capsys):
    for argv, message in (
        (["toys"], "no corpus 'toys': did you mean toy?"),
        (["toy", "--cse", "upper"], "toy: no option --cse: did you mean --case?"),
        (["toy", "--case", "title"], "invalid choice: 'title'"),
        (["toy", "--skip_unreadable", "perhaps"], "neither true nor false"),
    ):
        with pytest.raises(SystemExit) as caught:
            run(*argv)
        assert caught.value.code == 2 and message in capsys.readouterr().err
    assert run("toy") == 1
    assert "toy: no corpus path given" in capsys.readouterr().err


def test_new_corpus_has_recipe_options(toy, tmp_path):
    names = [option.name for option in TOY.recipe_options]
    assert names == ["toy", "case", "drop", "skip_unreadable", "sets", "overwrite"]
    assert TOY.required_groups == (("toy",),)
    values = {"langs": "en", "data_dir": tmp_path / "data", "toy": toy, "nj": "1", "quick": "true"}
    assert run(*TOY.arguments({name: str(value) for name, value in values.items()})) == 0
    assert len(read_directory(tmp_path / "data/en/train")) == 2
