"""Stage 17 runs every registered analysis as it declares, or says why it cannot."""

import json
from pathlib import Path

import pytest

from espnet_ext.analysis import definition
from espnet_ext.analysis.definition import Analysis, Input, Option
from espnet_ext.analysis.registry import ANALYSES
from espnet_ext.pipeline.analyses import (
    NOT_RUN,
    collect,
    collect_with_reasons,
    kind_of,
    record_not_run,
)
from espnet_ext.report import collect as collect_results

VARIABLES = {
    "python": "py",
    "langs": "en",
    "systems": "a b",
    "twins": "b",
    "variants": "",
    "test_sets": "test other",
    "train_set": "train",
    "dumpdir": "dump",
    "expdir": "exp",
    "asr_tag": "small",
    "inference_tag": "decode",
    "inference_config": "decode.yaml",
    "asr_config": "train.yaml",
    "swaps": "false",
    "stress": "",
    "stress_output": "surface",
    "nlsyms_txt": "",
    "translations": "",
    "bleu_tokenize": "auto",
    "baseline_runs": [],
    "stress_runs": ["surface50_all a 0 surface50_all_a_small 50:a"],
    "system_config": {"a": "a.yaml", "b": "b.yaml"},
    "lexicon_of": {"en": "words.lex"},
    "distance_unit_of": {"en": ""},
    "mdd_lexicon_of": {"en": ""},
    "mdd_g2p_of": {"en": ""},
    "mdd_unit_of": {"en": "phone"},
    "mdd_without_prompt_of": {"en": "true"},
}


def numbers():
    return {}


def analysis(**fields) -> Analysis:
    declared = {
        "name": "length_ratio",
        "description": "",
        "inputs": [definition.SCORED_DECODINGS],
        "outputs": [],
        "run": numbers,
        "section": numbers,
        "result_files": ["analysis/lengths.json"],
    }
    return Analysis(**{**declared, **fields})


@pytest.fixture(autouse=True)
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in (("train", ""), ("a", ""), ("b", "conditioning: vectors\n")):
        Path(f"{name}.yaml").write_text(content or "encoder: conformer\n")


def steps_of(one: Analysis, **variables):
    steps, notes = collect({"any": one}, {**VARIABLES, **variables}, kind_of(one))
    return {words[0]: " ".join(words[1:]) for words in steps}, notes


def test_name_of_the_module_need_not_be_the_name_of_the_analysis():
    steps, notes = steps_of(analysis())
    assert not notes and list(steps) == ["en/lengths"]
    options, command = steps["en/lengths"].split(" -- ")
    assert f"--code {__name__}" in options and "--out exp/en/analysis/lengths.json" in options
    assert "--in exp/en/a_small/decode/test/utterances.json" in options
    assert command == (
        "py -m espnet_ext.bin.analyze length_ratio --systems a=exp/en/a_small/decode/test "
        "b=exp/en/b_small/decode/test --output exp/en/analysis/lengths.json"
    )


def test_several_result_files_and_test_sets():
    files = ["analysis/x_{set}.json", "{decoding}/y.json"]
    text = Input("--text", "", path="{decoding}/text.surface", result_file=files[1])
    steps, _ = steps_of(analysis(result_files=files, inputs=[definition.DATA, text]))
    assert set(steps) == {"en/x_test", "en/x_other"}  # no text.surface yet
    Path("exp/en/a_small/decode/test").mkdir(parents=True)
    Path("exp/en/a_small/decode/test/text.surface").touch()
    steps, notes = steps_of(analysis(result_files=files, inputs=[definition.DATA, text]))
    assert set(steps) == {"en/x_test", "en/x_other", "en/y_a_small_decode_test"} and not notes
    assert (
        "--data dump/raw/en/test --text exp/en/a_small/decode/test/text.surface"
        in (steps["en/y_a_small_decode_test"])
    )


def test_all_error_rates_of_stage_17_leave_out_non_linguistic_symbols():
    """What reads transcripts itself removes them; the others read scored ones."""
    for name in ("swaps", "vectors", "mdd"):
        if name == "mdd":
            for text in ("dump/raw/en/test/text.canonical", "dump/raw/en/test/text.surface"):
                Path(text).parent.mkdir(parents=True, exist_ok=True)
                Path(text).touch()
            Path("exp/en/a_small/decode/test").mkdir(parents=True)
            Path("exp/en/a_small/decode/test/text.surface").touch()
        steps, notes = steps_of(ANALYSES[name], nlsyms_txt="nlsyms.txt", swaps="true")
        assert steps, (name, notes)
        for words in steps.values():
            assert "--in nlsyms.txt" in words and "--nlsyms_txt nlsyms.txt" in words
        without, _ = steps_of(ANALYSES[name], swaps="true")
        assert without.keys() == steps.keys() and "nlsyms" not in str(without)


def test_requested_by_an_option_or_by_the_configuration_of_a_system():
    assert steps_of(analysis(requested_by="swaps")) == ({}, [])
    assert "en/lengths" in steps_of(analysis(requested_by="swaps"), swaps="true")[0]
    (step,) = steps_of(analysis(requested_by="conditioning=vectors"))[0].values()
    assert "b=exp/en" in step and "a=exp/en" not in step
    assert steps_of(analysis(requested_by="conditioning=gates")) == ({}, [])


def test_options_twins_and_trainings_of_the_stress_test():
    inputs = [
        definition.TWINS,
        Input("--runs", "", per_system=True, depends_on=["score.json"], path="{stress_decoding}"),
    ]
    options = [Option("--output_name", "", required=True, value="{stress_output}")]
    (step,) = steps_of(analysis(inputs=inputs, options=options))[0].values()
    assert "--twins b=exp/en/b_small_twin" in step and "--output_name surface" in step
    assert "--runs 50:a=exp/en/stress/surface50_all_a_small/decode/test" in step
    assert "--in exp/en/stress/surface50_all_a_small/decode/test/score.json" in step


def test_coupled_decodings_are_systems_of_their_own_unless_models_are_needed():
    (step,) = steps_of(analysis(), variants="b:coupled")[0].values()
    assert "b=exp/en/b_small/decode/test " in step
    assert "b_coupled=exp/en/b_small/decode_coupled/test " in step
    inputs = [definition.MODELS, definition.HYPOTHESES]
    (step,) = steps_of(analysis(inputs=inputs), variants="b:coupled")[0].values()
    assert "_coupled" not in step
    per_decoding = analysis(result_files=["{decoding}/y.json"], inputs=[definition.DATA])
    steps, _ = steps_of(per_decoding, variants="b:coupled", test_sets="test")
    assert set(steps) == {
        f"en/y_{name}_test"
        for name in ("a_small_decode", "b_small_decode", "b_small_decode_coupled")
    }


def test_decodings_that_know_the_prompt_have_no_result_without_it():
    files = ["{decoding}/y.json", "{decoding}/unprompted.json"]
    one = analysis(
        result_files=files, unprompted_files=files[1:], inputs=[definition.DATA], options=[]
    )
    variants = "b:prompt b:twopass"
    steps, notes = steps_of(one, variants=variants, test_sets="test", systems="b")
    expected = {f"en/y_b_small_decode{tag}_test" for tag in ("", "_prompt", "_twopass")}
    expected |= {f"en/unprompted_b_small_decode{tag}_test" for tag in ("", "_twopass")}
    assert set(steps) == expected and not notes
    assert ANALYSES["mdd"].unprompted_files == ["{decoding}/mdd_no_prompt.json"]


def test_systems_without_model_are_left_out_of_analyses_of_models():
    one = analysis(inputs=[definition.MODELS], uses_device=True)
    hypotheses = Path("exp/en/a_small/decode/test/text.surface")
    hypotheses.parent.mkdir(parents=True)
    hypotheses.touch()
    steps, (note,) = steps_of(one)
    (words,) = steps.values()
    assert "--models b=exp/en/b_small " in words and "a=exp" not in words
    assert note == (
        "note: analysis length_ratio leaves out a for en: exp/en/a_small: hypotheses, but no "
        "model.pth"
    )
    steps, (note,) = steps_of(analysis(inputs=one.inputs, uses_device=True, min_systems=2))
    assert not steps and "is not run for en: exp/en/a_small: hypotheses, but no model.pth" in note
    # Analyses of texts read the hypotheses; a system with neither is an error of the command.
    (words,) = steps_of(analysis())[0].values()
    assert "a=exp/en/a_small/decode/test b=exp/en/b_small/decode/test" in words
    hypotheses.unlink()
    (words,) = steps_of(one)[0].values()
    assert "--models a=exp/en/a_small b=exp/en/b_small " in words


def test_systems_that_read_units_are_left_out_of_analyses_of_models():
    folder = Path("exp/en/b_small")
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("frontend: units\n")
    steps, (note,) = steps_of(analysis(inputs=[definition.MODELS], uses_device=True))
    assert "--models a=exp/en/a_small --output" in steps["en/lengths"]
    assert "leaves out b for en: exp/en/b_small/config.yaml: it reads discrete units" in note
    assert "b=exp/en/b_small/decode" in steps_of(analysis())[0]["en/lengths"]  # of texts


def test_system_without_model_is_left_out_of_analyses_of_models_that_need_no_device():
    Path("b.yaml").write_text("conditioning: sparse\n")
    hypotheses = Path("exp/en/b_small/decode/test/text.surface")
    hypotheses.parent.mkdir(parents=True)
    hypotheses.touch()
    steps, (note,) = steps_of(ANALYSES["features"])
    assert not steps and "exp/en/b_small: hypotheses, but no model.pth" in note


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"min_systems": 3}, "compares at least 3 systems"),
        ({"inputs": [Input("--scores", "")]}, "--scores has no path that stage 17 could give"),
        ({"inputs": [Input("--scores", "", path="{data}/x")]}, "dump/raw/en/test/x: no such file"),
        (
            {"inputs": [Input("--scores", "", path="{data}/x", remedy="write it by make_x")]},
            "dump/raw/en/test/x: no such file; write it by make_x",
        ),
        ({"inputs": [Input("--scores", "", path="{dada}")]}, "no 'dada' among data, train, model"),
        ({"inputs": [Input("--scores", "", path="{model}")]}, "names a file of one system"),
        ({"options": [Option("--way", "", required=True)]}, "--way has no value"),
        ({"requested_by": "swap"}, "'swap' is not an option of run.sh"),
    ],
)
def test_note_says_why_an_analysis_cannot_run(fields, reason):
    steps, (note,) = steps_of(analysis(**fields))
    assert not steps and reason in note
    assert note.startswith("note: analysis length_ratio is not run for en: ")


def test_reasons_are_recorded_for_the_report():
    folder = Path("exp/en/analysis")
    one = analysis(min_systems=3)
    _, _, reasons = collect_with_reasons({"any": one}, VARIABLES, kind_of(one))
    record_not_run(folder, "texts", reasons["en"])
    record_not_run(folder, "models", {})
    record = json.loads((folder / NOT_RUN).read_text())
    assert list(record) == ["texts"]
    assert "compares at least 3 systems" in record["texts"]["length_ratio"]
    assert NOT_RUN == collect_results.NOT_RUN
    one = analysis()
    _, _, reasons = collect_with_reasons({"any": one}, VARIABLES, kind_of(one))
    record_not_run(folder, "texts", reasons["en"])
    assert not (folder / NOT_RUN).exists()


def test_every_registered_analysis_has_a_step_if_its_inputs_exist():
    for path in ("dump/raw/en/test", "exp/en/a_small/decode/test"):
        Path(path).mkdir(parents=True)
        for output in ("canonical", "surface", "meaning"):
            Path(path, f"text.{output}").touch()
    Path("exp/en/a_small/model.pth").touch()
    Path("a.yaml").write_text("conditioning: sparse\n")
    variables = {**VARIABLES, "swaps": "true", "stress": "50", "translations": "meaning"}
    names = set()
    for kind in ("texts", "models", "stress"):
        steps, notes = collect(ANALYSES, variables, kind)
        assert not notes
        names |= {words[0] for words in steps}
    expected = {"cka", "probes", "swaps", "vectors", "features", "partial"}
    expected |= {"cross_test", "cross_other"}
    expected |= {"translation_test", "translation_other"}
    expected |= {f"{mdd}_a_small_decode_test" for mdd in ("mdd", "mdd_no_prompt")}
    assert names == {f"en/{name}" for name in expected}


def test_baselines_join_analyses_of_hypotheses_on_the_sets_that_they_have():
    inputs = [definition.SCORED_DECODINGS, definition.BASELINES]
    runs = ["en test whisper", "ko other whisper"]
    files = ["analysis/lengths_{set}.json"]
    steps, notes = steps_of(analysis(inputs=inputs, result_files=files), baseline_runs=runs)
    assert not notes
    assert "--baselines whisper=exp/en/baseline_whisper/decode/test" in steps["en/lengths_test"]
    assert "baseline_whisper" not in steps["en/lengths_other"]
    text = Input("--text", "", path="{decoding}/text.meaning")
    folder = Path("exp/en/baseline_whisper/decode/test")
    folder.mkdir(parents=True)
    (folder / "text.meaning").touch()
    one_each = analysis(inputs=[text], result_files=["{decoding}/y.json"])
    steps, _ = steps_of(one_each, baseline_runs=runs)
    assert list(steps) == ["en/y_baseline_whisper_decode_test"]
    with_models = analysis(inputs=[definition.MODELS, definition.HYPOTHESES])
    assert "whisper" not in str(steps_of(with_models, baseline_runs=runs)[0])
