"""run.sh with stub commands: order of stages, options, skipping, failures and messages."""

import json
import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from timing import cpu_seconds, wait_for


def verbs(calls):
    return [call.split()[0] for call in calls]


def test_without_options_all_stages_run_in_order(project):
    done = project.run()
    assert done.returncode == 0, done.stderr
    numbers = [int(n) for n in re.findall(r"^stage (\d+),", done.stderr, re.M)]
    assert numbers == [1, 3, 4, 5, 10, 11, 12, 13, 17, 18]
    called = verbs(project.calls())
    # two languages, three sets, two outputs, three systems
    expected = {"format_audio": 6, "filter": 6, "tokens": 4, "train": 8, "decode": 6, "score": 6}
    assert {verb: called.count(verb) for verb in expected} == expected
    assert called.count("analyze") == 4 and called[-1] == "report"
    assert "| ko do | 1.0 |" in done.stdout and "other" not in done.stdout
    assert (project.recipe / "exp/RESULTS.md").exists()
    assert (project.recipe / "exp/report.html").exists()


def test_options_of_trainings_and_filters(project):
    project.run()
    calls = project.calls()
    train = next(c for c in calls if c.startswith("train") and "exp/en/do_small" in c)
    for part in (
        "--data_dir dump/raw/en",
        "--token_dir data/en_token_list",
        "--outputs surface=phone meaning=char",
        "--stats_dir exp/en/stats",
        "conf/systems/do.yaml",
    ):
        assert part in train
    filters = [c for c in calls if c.startswith("filter")]
    assert all(("--no_filter true" in c) == ("/test " in c) for c in filters)


def test_diagnose_every_goes_to_trainings_and_its_file_to_the_report(project):
    assert project.run("--diagnose_every", "50", "--systems", "do").returncode == 0
    trainings = [c for c in project.calls() if c.startswith("train")]
    asked = ["--diagnose_every 50" in call for call in trainings]
    assert asked == ["--exp_dir" in call for call in trainings] and any(asked)
    (project.recipe / "exp/ko/do_small/diagnostics.jsonl").write_text("{}\n")
    project.run("--diagnose_every", "50", "--systems", "do")
    assert verbs(project.calls()) == ["report"]
    assert project.run("--diagnose_every", "-1").returncode == 2


def test_finished_pipeline_runs_nothing_and_is_fast(project):
    project.run()
    project.calls()
    started = cpu_seconds()
    again = project.run()
    seconds = cpu_seconds() - started
    assert again.returncode == 0 and project.calls() == []
    assert again.stderr.count("(unchanged)") == 10
    assert "| ko do | 1.0 |" in again.stdout
    assert seconds < 4  # less than two on an idle machine


def test_only_commands_of_stages_load_torch(project, tmp_path):
    """Planning, checking and running of steps takes seconds longer with it."""
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "torch.py").write_text("raise ImportError('torch was loaded')\n")
    systems = "do do_meaning_reads_surface do_experts"
    done = project.run("--systems", systems, "--langs", "en", PYTHONPATH=str(blocked))
    assert done.returncode == 0, done.stderr
    assert "torch was loaded" not in done.stderr


def test_change_reruns_only_what_depends_on_it(project):
    project.run()
    project.calls()
    text = project.recipe / "dump/raw/ko/train/text.surface"
    text.write_text("u1 other\n")
    again = project.run("--stage", "5")
    calls = project.calls()
    assert again.returncode == 0
    assert verbs(calls).count("tokens") == 1  # Korean surface alone
    assert all("exp/en" not in call or call.startswith(("analyze", "report")) for call in calls)
    assert sum("--exp_dir exp/ko" in call for call in calls) == 3
    # a model of other data is moved aside, never resumed into
    assert len(list((project.recipe / "exp/ko").glob("do_small.before-*"))) == 1


def test_resume_changed_keeps_the_folder(project):
    project.run("--stop_stage", "11")
    (project.recipe / "dump/raw/ko/train/text.surface").write_text("u1 other\n")
    project.run("--stage", "11", "--stop_stage", "11", "--resume_changed", "true")
    assert not list((project.recipe / "exp/ko").glob("*.before-*"))


def test_missing_output_is_made_again(project):
    project.run()
    project.calls()
    (project.recipe / "exp/ko/do_small/decode/test/decode.json").unlink()
    project.run()
    assert verbs(project.calls()).count("decode") == 1


def test_parallelism_is_no_reason_to_run_again(project):
    project.run()
    project.calls()
    project.run("--nj", "7", "--inference_nj", "3", "--parallel_trainings", "2")
    assert project.calls() == []


def test_stage_range_and_skips(project):
    project.run("--stop_stage", "5")
    assert set(verbs(project.calls())) == {"format_audio", "filter", "tokens"}
    done = project.run("--skip_data_prep", "true", "--skip_train", "true", "--skip_stages", "17 18")
    assert re.findall(r"^stage (\d+),", done.stderr, re.M) == ["12", "13"]


def test_one_language_and_one_system(project):
    done = project.run("--lang", "ko", "--systems", "do")
    assert done.returncode == 0, done.stderr
    assert verbs(project.calls()).count("train") == 2
    assert "one system alone" in done.stderr


def test_decoding_with_language_models_has_its_own_tag(project):
    options = ("--use_lm", "true", "--skip_stages", "6 7 8 13 17 18")
    done = project.run(*options)
    assert done.returncode == 0, done.stderr
    decoding = [call for call in project.calls() if call.startswith("decode")]
    assert len(decoding) == 6
    assert all("conf/decode_lm.yaml" in call and "/decode_lm/test" in call for call in decoding)
    assert "--lm surface=exp/ko/lm_surface meaning=exp/ko/lm_meaning" in decoding[0]


def test_ngrams_are_estimated_and_used_in_decoding(project):
    done = project.run("--use_ngram", "true", "--ngram_num", "3", "--skip_stages", "13 17 18")
    assert done.returncode == 0, done.stderr
    calls = project.calls()
    estimated = [call for call in calls if call.startswith("ngram")]
    assert len(estimated) == 4 and all("--order 3" in call for call in estimated)
    decoding = [call for call in calls if call.startswith("decode")]
    assert all("conf/decode_lm.yaml" in call and "/decode_lm_ngram/" in call for call in decoding)
    expected = "--ngram surface=exp/ko/ngram_surface.arpa meaning=exp/ko/ngram_meaning.arpa"
    assert expected in decoding[0] and "--lm " not in decoding[0]
    wrong = project.run("--use_ngram", "true", "--ngram_num", "1")
    assert wrong.returncode == 2 and "--ngram_num 1" in wrong.stderr


def test_mdd_runs_where_canonical_transcripts_exist(project):
    project.run("--stop_stage", "13")
    assert not [call for call in project.calls() if call.startswith("mdd")]
    for lang in ("ko", "en"):
        (project.recipe / f"dump/raw/{lang}/test/text.canonical").write_text("u1 x\n")
    done = project.run("--stage", "17", "--stop_stage", "17")
    assert done.returncode == 0, done.stderr
    calls = [call for call in project.calls() if call.startswith("mdd")]
    assert len(calls) == 12  # two languages, three systems, with a prompt and without
    english = [call for call in calls if "dump/raw/en" in call]
    assert all("--unit phone" in call for call in english)
    assert all("--unit jamo" in call for call in calls if call not in english)
    prompted = [call for call in calls if "--meaning" not in call]
    assert len(prompted) == 6 and all("/mdd.json" in call for call in prompted)
    pronounced = [call for call in calls if "--g2p true" in call]
    assert pronounced == [call for call in english if call not in prompted]
    with_words = [call for call in calls if "--words dump/raw/en/test/text.meaning" in call]
    assert with_words == english
    assert all("espnet_ext/text/english_lexicon.txt" in call for call in english)


def test_mdd_of_other_languages_uses_characters(project):
    conf = project.recipe / "conf/recipe.conf"
    conf.write_text(conf.read_text().replace("corpus=mini_l2\n", ""))
    (project.recipe / "local/data.sh").write_text(
        'set -eu\nfor s in train valid test; do d="$2/fr/$s"; mkdir -p "$d"\n'
        'for t in wav.scp text.surface text.meaning; do echo "u1 x" >"$d/$t"; done; done\n'
    )
    options = ("--langs", "fr", "--token_types", "surface=char meaning=char")
    done = project.run(*options, "--stop_stage", "13")
    assert done.returncode == 0, done.stderr
    (project.recipe / "dump/raw/fr/test/text.canonical").write_text("u1 x\n")
    done = project.run(*options, "--stage", "17", "--stop_stage", "17")
    assert done.returncode == 0, done.stderr
    calls = [call for call in project.calls() if call.startswith("mdd")]
    # Three systems; without a prompt it would take rules of pronunciation.
    assert len(calls) == 3 and all("--unit char" in call for call in calls)
    assert not any("--meaning" in call for call in calls)


def test_coupled_decoding_is_a_system_of_its_own_in_scores_and_report(project):
    done = project.run("--coupling", "true", "--langs", "ko")
    assert done.returncode == 0, done.stderr
    calls = project.calls()
    decoding = [call for call in calls if call.startswith("decode")]
    coupled = [call for call in decoding if "--coupling" in call]
    assert len(decoding) == 4 and len(coupled) == 1  # `do` alone has two outputs
    assert "--output_dir exp/ko/do_small/decode_coupled/test" in coupled[0]
    assert "--coupling dump/raw/ko/train" in coupled[0]
    scored = [call for call in calls if call.startswith("score")]
    assert [call for call in scored if "exp/ko/do_small/decode_coupled/test" in call]
    cross = next(call for call in calls if call.startswith("cross"))
    assert "do=exp/ko/do_small/decode/test do_coupled=exp/ko/do_small/decode_coupled" in cross
    report = next(call for call in calls if call.startswith("report"))
    assert "--decode_tag decode " in report and "--variants do:coupled " in report
    assert project.run("--coupling", "true", "--langs", "ko").returncode == 0
    assert project.calls() == []


def test_decoding_with_canonical_forms_gives_systems_of_their_own(project):
    done = project.run("--canonical_prior", "prompt twopass", "--langs", "ko")
    assert done.returncode == 0, done.stderr
    calls = project.calls()
    decoding = {
        call.split("--output_dir ")[1].split()[0]: call
        for call in calls
        if call.startswith("decode")
    }
    prompted = decoding["exp/ko/do_small/decode_prompt/test"]
    assert (
        "--canonical dump/raw/ko/test/text.canonical --canonical_model dump/raw/ko/train"
        in prompted
    )
    two_pass = decoding["exp/ko/do_small/decode_twopass/test"]
    assert "--canonical_from meaning --canonical_model dump/raw/ko/train" in two_pass
    assert "exp/ko/so_surface_small/decode_prompt/test" in decoding
    assert "exp/ko/so_surface_small/decode_twopass/test" not in decoding  # it has no meaning
    assert "--canonical" not in decoding["exp/ko/do_small/decode/test"]
    report = next(call for call in calls if call.startswith("report"))
    assert "--variants so_surface:prompt do:prompt do:twopass " in report
    done = project.run("--canonical_prior", "promt")
    assert done.returncode == 2 and "unknown: promt" in done.stderr


def test_second_pass_pronounces_words_by_the_lexicon(project):
    (project.recipe / "words.txt").write_text("live L IH V\n")
    options = ("--canonical_prior", "twopass", "--lexicon", "words.txt", "--stop_stage", "12")
    done = project.run(*options, "--langs", "en ko")
    assert done.returncode == 0, done.stderr
    calls = project.calls()
    two_pass = {
        lang: next(call for call in calls if f"exp/{lang}/do_small/decode_twopass/test" in call)
        for lang in ("en", "ko")
    }
    assert "--lexicon words.txt" in two_pass["en"]
    assert "--lexicon" not in two_pass["ko"]  # its surface has no phones


def test_canonical_forms_that_the_data_lacks_end_the_run_after_stage_1(project):
    script = project.recipe / "local/data.sh"
    script.write_text(script.read_text() + "rm data/ko/test/text.canonical\n")
    done = project.run("--canonical_prior", "prompt")
    assert done.returncode == 1 and project.calls() == []
    assert "--canonical_prior prompt: no such file, or no transcript in it" in done.stderr
    assert "in it: data/ko/test/text.canonical\n" in done.stderr and "g2p" in done.stderr
    assert project.run("--canonical_prior", "prompt", "--langs", "en").returncode == 0


def test_baselines_are_imported_scored_compared_and_reported(project):
    hypotheses = project.recipe / "hyp/en/test/text"
    hypotheses.parent.mkdir(parents=True)
    hypotheses.write_text("u1 x\n")
    options = ["--baselines", "w:meaning=hyp", "--baseline_clean", "true"]
    done = project.run(*options)
    assert done.returncode == 0, done.stderr
    assert "note: --baselines w:meaning=hyp: has nothing for ko, test" in done.stderr
    calls = project.calls()
    (imported,) = [call for call in calls if call.startswith("baseline ")]
    assert f"--hypotheses meaning={hypotheses.parent} --data dump/raw/en/test" in imported
    assert "--lang en --output_dir exp/en/baseline_w/decode/test --baseline_clean true" in imported
    (scored,) = [call for call in calls if "--missing leave_out" in call]
    assert "--hypotheses exp/en/baseline_w/decode/test" in scored
    cross = {call.split("/")[1]: call for call in calls if call.startswith("cross")}
    assert "--baselines w=exp/en/baseline_w/decode/test" in cross["en"]
    assert "--baselines" not in cross["ko"]
    assert "--baselines w " in next(call for call in calls if call.startswith("report"))
    assert project.run(*options).returncode == 0 and project.calls() == []
    hypotheses.write_text("u1 y\n")
    assert project.run(*options).returncode == 0
    assert [call.split()[0] for call in project.calls()] == ["baseline"]  # its results are the same


def test_baselines_that_are_models_are_trained_and_decoded(project):
    model = project.recipe / "models/en"
    model.mkdir(parents=True)
    (model / "config.yaml").write_text("encoder: conformer\n")
    words = ["--baselines", "pack=models/{lang}", "--train_baseline", "true", "--langs", "en"]
    done = project.run(*words, "--baseline_search", "stock")
    assert done.returncode == 0, done.stderr
    calls = project.calls()
    trained = sorted(call for call in calls if call.startswith("train_stock"))
    assert len(trained) == 2 and "--exp_dir exp/en/stock_meaning_small " in trained[0]
    assert "so_meaning.yaml --data_dir dump/raw/en " in trained[0]
    decoded = [call for call in calls if call.startswith("decode_stock")]
    assert len(decoded) == 3 and f"--model_dir {model} " in str(decoded)
    folder = "exp/en/baseline_stock_meaning/decoded_stock_meaning/test"
    assert f"--output_dir {folder}" in str(decoded)
    imported = str([call for call in calls if call.startswith("baseline ")])
    assert "--hypotheses exp/en/baseline_pack/decoded_stock/test --data" in imported
    assert f"--hypotheses meaning={folder} --data" in imported
    cross = next(call for call in calls if call.startswith("cross"))
    assert "--baselines pack=exp/en/baseline_pack/decode/test stock_surface=" in cross
    assert project.run(*words).returncode == 0  # by the search of this project
    calls = project.calls()
    decoded = [call for call in calls if call.startswith("decode ")]
    assert len(decoded) == 3 and all("--weights model.pth" in call for call in decoded)
    assert all("--search_defaults project" in call for call in decoded)
    assert not [call for call in calls if call.startswith("train")]


def test_stock_models_are_trained_for_the_outputs_of_the_systems(project):
    words = ["--train_baseline", "true", "--langs", "en", "--systems", "so_surface"]
    done = project.run(*words, "--stop_stage", "11")
    assert done.returncode == 0, done.stderr
    trained = [call for call in project.calls() if call.startswith("train_stock")]
    assert ["stock_surface" in call for call in trained] == [True]


def test_one_baseline_by_another_search(project):
    model = project.recipe / "models/en"
    model.mkdir(parents=True)
    (model / "config.yaml").write_text("encoder: conformer\n")
    words = ["a:meaning=models/{lang}", "b:meaning@stock=models/{lang}"]
    done = project.run("--baselines", " ".join(words), "--langs", "en")
    assert done.returncode == 0, done.stderr
    calls = project.calls()
    (by_stock,) = [call for call in calls if call.startswith("decode_stock")]
    assert "--output_dir exp/en/baseline_b/decoded_stock_meaning/test" in by_stock
    imported = str([call for call in calls if call.startswith("baseline ")])
    assert "--hypotheses meaning=exp/en/baseline_a/decoded_decode_meaning/test --data" in imported
    assert "--hypotheses meaning=exp/en/baseline_b/decoded_stock_meaning/test --data" in imported


def test_baselines_that_are_models_are_decoded(project):
    model = project.recipe / "models/en"
    model.mkdir(parents=True)
    (model / "config.yaml").write_text("encoder: conformer\n")
    done = project.run("--baselines", "a=models/{lang} b:meaning=models/{lang}", "--langs", "en")
    assert done.returncode == 0, done.stderr
    calls = project.calls()
    decoded = [call for call in calls if re.match("decode .*_dir exp/en/baseline_", call)]
    assert len(decoded) == 2 and all(f"--model_dir {model} " in call for call in decoded)
    assert "--weights model.pth" in decoded[0]
    imported = str([call for call in calls if call.startswith("baseline ")])
    assert "--hypotheses exp/en/baseline_a/decoded_decode/test --data" in imported
    assert "--hypotheses meaning=exp/en/baseline_b/decoded_decode_meaning/test" in imported
    cross = next(call for call in calls if call.startswith("cross"))
    assert "--baselines a=exp/en/baseline_a/decode/test b=exp/en/baseline_b/decode/test" in cross


def test_coupling_without_a_system_with_two_outputs_is_noted(project):
    done = project.run("--coupling", "true", "--systems", "so_meaning", "--stop_stage", "1")
    assert done.returncode == 0 and "no system has two outputs to couple" in done.stderr


def test_quick_uses_its_own_folders(project):
    (project.recipe / "local/data.sh").write_text(
        'set -eu\nfor l in ko en; do for s in train valid test; do d="$2/$l/$s"; mkdir -p "$d"\n'
        'for t in wav.scp text.surface text.meaning; do echo "u1 x" >"$d/$t"; done; done; done\n'
    )
    done = project.run("--quick", "true")
    assert done.returncode == 0, done.stderr
    assert not (project.recipe / "exp/RESULTS.md").exists()
    assert (project.recipe / "exp/quick/RESULTS.md").exists()
    assert any("--max_epoch 1" in call for call in project.calls())


def test_speed_perturbation_renames_the_training_set(project):
    done = project.run("--speed_perturb_factors", "0.9 1.0 1.1", "--stop_stage", "5")
    calls = project.calls()
    assert done.returncode == 0, done.stderr
    assert "--speeds 0.9 1.0 1.1" in calls[0]
    assert any("dump/raw/ko/train_sp" in call for call in calls)


def test_unknown_option_suggests_the_nearest(project):
    done = project.run("--stop_stag", "3")
    assert done.returncode == 2
    assert "unknown option --stop_stag" in done.stderr and "--stop_stage" in done.stderr
    assert "Traceback" not in done.stderr


def test_unknown_system_lists_the_known_ones(project):
    done = project.run("--systems", "so_surface duo")
    assert done.returncode == 2
    assert "no system named 'duo'" in done.stderr
    assert "do" in done.stderr.split("choose among:")[1].split()
    assert project.calls() == []


def test_system_of_the_recipe_is_found(project):
    (project.recipe / "conf/systems").mkdir()
    (project.recipe / "conf/systems/mine.yaml").write_text("outputs: {}\n")
    done = project.run("--systems", "mine", "--stop_stage", "11")
    assert done.returncode == 0, done.stderr
    assert any("--system conf/systems/mine.yaml" in call for call in project.calls())


@pytest.mark.parametrize(
    "options, message",
    [
        (("--nj", "0"), "--nj 0: must be at least 1"),
        (("--inference_nj", "0"), "--inference_nj 0: must be at least 1"),
        (("--parallel_trainings", "0"), "--parallel_trainings 0: must be at least 1"),
        (("--num_nodes", "0"), "--num_nodes 0: must be at least 1"),
        (("--langs", ""), "--langs is empty"),
        (("--systems", " "), "--systems is empty"),
        (("--test_sets", ""), "--test_sets is empty"),
        (("--skip_stages", "10,11"), "10,11 is not a number"),
        (("--stage", "5", "--", "--foo"), "unexpected argument '--foo'"),
        (("--skip_upload", "false"), "without --hf_repo"),
        (("--fs", "8k"), "is for audio of 16000 Hz"),
        (("--asr_args", "--ngpu 1"), "--asr_args has --ngpu, which run.sh itself sets"),
        (("--num_nodes", "2"), "--num_nodes 2 with --cmd local"),
        (("--stage", "5", "--stop_stage", "3"), "--stage 5 --stop_stage 3: no stage would run"),
        (("--stage", "14", "--stop_stage", "14"), "write --skip_packing false"),
        (("--skip_stages", "3", "--stage", "3", "--stop_stage", "3"), "leave out --skip_stages"),
        (
            ("--token_types", "surface=phone"),
            "has the output meaning, which has no token type (--token_types",
        ),
    ],
)
def test_wrong_values_exit_2_before_any_work(project, options, message):
    done = project.run(*options)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and "remedy:" in done.stderr and project.calls() == []


def test_stages_that_do_nothing_are_named(project):
    done = project.run("--stage", "6", "--stop_stage", "7")
    assert (
        done.returncode == 0 and "note: stage 6 does nothing without --use_lm true" in done.stderr
    )


def test_system_without_the_missing_output_can_be_trained(project):
    done = project.run("--token_types", "surface=phone", "--systems", "so_surface")
    assert done.returncode == 0, done.stderr
    assert all("meaning" not in call for call in project.calls() if call.startswith("train "))


def test_report_of_a_quick_run_says_so(project):
    (project.recipe / "local/data.sh").write_text(
        'set -eu\nfor l in ko en; do for s in train valid test; do d="$2/$l/$s"; mkdir -p "$d"\n'
        'for t in wav.scp text.surface text.meaning; do echo "u1 x" >"$d/$t"; done; done; done\n'
    )
    for options, is_quick in ((("--quick", "true"), True), ((), False)):
        assert project.run(*options).returncode == 0
        (report,) = (call for call in project.calls() if call.startswith("report "))
        assert ("the numbers mean nothing" in report) == is_quick
        assert ("(quick run)" in report) == is_quick
        assert report.endswith(" --quick true") == is_quick


def test_stages_may_have_leading_zeros(project):
    project.run()
    done = project.run("--stage", "08", "--stop_stage", "013", "--skip_stages", "010  11")
    assert re.findall(r"^stage (\d+),", done.stderr, re.M) == ["12", "13"], done.stderr


def test_other_sample_rate_with_a_matching_configuration(project):
    text = (project.root / "conf/train_small.yaml").read_text()
    (project.recipe / "conf/train_8k.yaml").write_text(text.replace("fs: 16000", "fs: 8k"))
    done = project.run("--fs", "8k", "--train_config", "train_8k.yaml", "--stop_stage", "3")
    assert done.returncode == 0, done.stderr
    assert all("--sample_rate 8000" in call for call in project.calls())


def test_channel_is_passed_to_format_audio(project):
    project.run("--stop_stage", "3")
    assert not any("--channel" in call for call in project.calls())
    done = project.run("--stop_stage", "3", "--channel", "mix")
    assert done.returncode == 0 and all("--channel mix" in call for call in project.calls())


@pytest.mark.parametrize(
    "gpus, options, message, remedy",
    [
        (0, ("--ngpu", "1"), "--ngpu 1, but PyTorch", "use --ngpu 0 to work on the CPU"),
        (1, ("--ngpu", "2"), "sees 1 GPU", "use --ngpu 1, or --ngpu 0"),
        (2, ("--ngpu", "4", "--stage", "7", "--use_lm", "true"), "sees 2 GPUs", "use --ngpu 2"),
        (0, ("--gpu_inference", "true"), "--gpu_inference true, but", "--gpu_inference false"),
        (1, ("--ngpu", "2", "--stage", "17", "--stress", "0 50"), "--ngpu 2, but", "--ngpu 1"),
    ],
)
def test_missing_gpus_are_reported_before_any_work(project, gpus, options, message, remedy):
    done = project.run(*options, STUB_GPUS=str(gpus))
    assert done.returncode == 1 and project.calls() == []
    assert message in done.stderr and remedy in done.stderr and "Traceback" not in done.stderr


def test_units_on_a_gpu_need_one_in_stage_5(project):
    options = ("--stop_stage", "5", "--gpu_inference", "true")
    assert project.run(*options).returncode == 0
    units = ("--kmeans_feature", "log_mel", "--asr_config", "train_units_small.yaml")
    done = project.run(*options, *units)
    assert done.returncode == 1 and "--gpu_inference true, but PyTorch" in done.stderr


def test_stages_without_training_need_no_gpu(project):
    assert project.run("--ngpu", "1", "--stop_stage", "5").returncode == 0
    assert project.run("--ngpu", "2", STUB_GPUS="2").returncode == 0
    assert project.run("--ngpu", "1", "--stage", "12").returncode == 0


def test_command_line_takes_precedence_over_settings_of_a_language(project):
    conf = project.recipe / "conf/recipe.conf"
    (project.recipe / "own.lex").write_text("a A\n")
    (project.root / "given.lex").write_text("a AA\n")
    conf.write_text(conf.read_text() + "lexicon_en=own.lex\n")
    project.run()
    calls = "\n".join(project.calls())
    assert "--outputs surface=phone meaning=char" in calls and "--lexicon own.lex" in calls
    (project.recipe / "own.lex").write_text("a AH\n")  # scores depend on it
    project.run()
    scored = [call for call in project.calls() if call.startswith("score")]
    assert len(scored) == 3 and all("/en/" in call for call in scored)
    project.run("--token_types", "surface=char meaning=bpe", "--lexicon", "given.lex")
    calls = "\n".join(project.calls())
    assert "--outputs surface=char meaning=bpe" in calls and "surface=phone" not in calls
    assert f"--lexicon {project.root}/given.lex" in calls and "own.lex" not in calls


def test_cross_task_evaluation_of_all_systems_in_the_given_unit(project):
    conf = project.recipe / "conf/recipe.conf"
    conf.write_text(conf.read_text() + "distance_unit_ko=jamo\n")
    done = project.run("--test_sets", "test valid")
    assert done.returncode == 0, done.stderr
    calls = [call for call in project.calls() if call.startswith("cross")]
    assert len(calls) == 4  # two languages, two sets
    korean = next(c for c in calls if "exp/ko/analysis/cross_valid.json" in c)
    for system in ("so_surface", "so_meaning", "do"):
        assert f"{system}=exp/ko/{system}_small/decode/valid" in korean
    assert "--unit jamo" in korean
    assert not any("--unit" in c for c in calls if "exp/en" in c)
    assert project.run("--test_sets", "test valid").returncode == 0 and project.calls() == []
    text = project.recipe / "exp/ko/do_small/decode/test/utterances.json"
    text.write_text("other")
    project.run("--stage", "17", "--test_sets", "test valid")
    assert [c.split()[0] for c in project.calls()] == ["cross", "report"]


def test_notes_of_data_stages_are_shown(project):
    lines = "d/text:3: warning: u1: odd [x]\\n  removed 2: too long\\nd: 3 of 5 kept\\n"
    done = project.run("--stop_stage", "4", STUB_SAYS="filter", STUB_TEXT=lines)
    assert "ko/filter_train: d/text:3: warning: u1: odd" in done.stderr
    assert "removed 2: too long" in done.stderr and "3 of 5 kept" not in done.stderr
    script = project.recipe / "local/data.sh"
    script.write_text(script.read_text() + "echo 'plain: split by speakers' >&2; echo noise\n")
    done = project.run("--stop_stage", "1")
    assert "data: plain: split by speakers" in done.stderr and "noise" not in done.stderr


def test_comparison_of_another_training_is_not_reused(project):
    project.run()
    project.calls()
    again = ("--train_tag", "other", "--stage", "11", "--stop_stage", "17")
    project.run(*again)
    assert verbs(project.calls()).count("analyze") == 4
    project.run("--stage", "17", "--stop_stage", "17")
    assert sorted(verbs(project.calls())) == ["analyze"] * 4 + ["cross"] * 2


def test_configuration_relative_to_the_current_directory(project):
    mine = project.root / "mine"
    mine.mkdir()
    shutil.copy(project.root / "conf/train_small.yaml", mine / "train_mine.yaml")
    stages = ("--stage", "11", "--stop_stage", "11")
    done = project.run("--train_config", "mine/train_mine.yaml", *stages)
    assert done.returncode == 0, done.stderr
    assert all(f"--config {mine}/train_mine.yaml" in call for call in project.calls())
    done = project.run("--train_config", "conf/train.yaml", *stages)
    assert done.returncode == 0, done.stderr


def test_recipe_is_found_from_any_folder(project, tmp_path):
    command = ["bash", str(project.root / "run.sh"), "--recipe", "egs2/mini_l2/dual1"]
    options = ["--stop_stage", "1", "--lang", "English"]
    done = subprocess.run(
        [*command, *options], cwd="/", text=True, capture_output=True, env=project.environment()
    )
    assert done.returncode == 0, done.stderr
    assert "note: --langs English: read as en" in done.stderr
    assert (project.recipe / "data/en/train/wav.scp").exists()
    words = (project.recipe / "data_options").read_text().split()
    assert words[words.index("--langs") + 1] == "en"


def test_default_recipe_is_that_of_the_repository(project, tmp_path):
    """Also when run.sh is called from the folder of another clone."""
    other = tmp_path / "other"
    shutil.copytree(project.root / "egs2", other / "egs2")
    command = ["bash", str(project.root / "run.sh"), "--stop_stage", "1"]
    subprocess.run(command, cwd=other, check=True, env=project.environment())
    assert (project.recipe / "data/en").exists() and not list(other.glob("egs2/*/*/data"))


def test_remedies_name_options_of_run_sh(project):
    remedy = "error: x\\n  remedy: change --max_seconds\\n"
    done = project.run(
        *("--stage", "4"),
        **{"STUB_SAYS": "filter", "STUB_TEXT": remedy, "STUB_FAIL": "filter"},
    )
    assert done.returncode == 1
    assert "in run.sh, --max_seconds is --max_wav_duration" in done.stderr


def test_pipes_and_overwriting_are_passed_on_when_asked_for(project):
    project.run("--stop_stage", "5")
    assert not any("--overwrite" in call or "--allow_pipes" in call for call in project.calls())
    project.run("--force", "true", "--stop_stage", "5", "--overwrite", "true")
    calls = [call for call in project.calls() if not call.startswith("data")]
    assert calls and all("--overwrite true" in call for call in calls)
    project.run("--stage", "3", "--stop_stage", "3", "--allow_pipes", "true")
    assert all("--allow_pipes true" in call for call in project.calls())


def test_unknown_recipe_and_configuration(project):
    assert "egs2/mini_l2/dual1" in project.run("--recipe", "egs2/nowhere").stderr
    done = project.run("--train_config", "none.yaml")
    listed = done.stderr.split("choose among:")[1].split()
    assert done.returncode == 2 and listed == [
        "train.yaml",
        "train_small.yaml",
        "train_units.yaml",
        "train_units_byt5.yaml",
        "train_units_small.yaml",
        "train_wavlm_base_plus.yaml",
        "train_wavlm_large.yaml",
        "train_whisper_base.yaml",
        "train_whisper_small.yaml",
        "train_xlsr.yaml",
        "train_xlsr_transducer.yaml",
    ]
    done = project.run("--decode_config", "none.yaml")
    assert done.stderr.split("choose among:")[1].split() == ["decode.yaml", "decode_lm.yaml"]


@pytest.fixture
def corpus_recipe(project):
    """A recipe whose corpus is not in the registry: recipe.conf declares its options."""
    conf = project.recipe / "conf" / "recipe.conf"
    settings = conf.read_text().replace("corpus=mini_l2\n", "")
    conf.write_text(settings + "\n# folder of the corpus\nmy_corpus=\ncorpus_paths=my_corpus\n")
    return project


def test_missing_corpus_path_is_reported(corpus_recipe):
    done = corpus_recipe.run()
    assert done.returncode == 2
    assert "--my_corpus is not given" in done.stderr and "folder of the corpus" in done.stderr


def test_corpus_path_that_does_not_exist(corpus_recipe):
    done = corpus_recipe.run("--my_corpus", "no where")
    assert done.returncode == 1 and "no where" in done.stderr and "remedy" in done.stderr


def test_corpus_path_relative_to_the_current_directory(corpus_recipe):
    (corpus_recipe.root / "the corpus").mkdir()
    done = corpus_recipe.run("--my_corpus", "the corpus", "--stop_stage", "1")
    assert done.returncode == 0, done.stderr
    data_options = (corpus_recipe.recipe / "data_options").read_text().splitlines()
    assert data_options[data_options.index("--my_corpus") + 1] == str(
        corpus_recipe.root / "the corpus"
    )
    assert "--corpus_paths" not in data_options and "--quick_asr_args" not in data_options


def test_one_of_several_corpus_paths_is_enough(corpus_recipe):
    conf = corpus_recipe.recipe / "conf" / "recipe.conf"
    conf.write_text(
        conf.read_text().replace("=my_corpus", '="my_corpus|archive|download"')
        + "archive=\ndownload=false\n"
    )
    done = corpus_recipe.run()
    assert done.returncode == 2 and "it or --archive or --download" in done.stderr
    done = corpus_recipe.run("--archive", "no.zip")
    assert done.returncode == 1 and "--archive no.zip: no such file" in done.stderr
    assert corpus_recipe.run("--download", "true", "--stop_stage", "1").returncode == 0
    (corpus_recipe.recipe / "here.zip").touch()  # a path of recipe.conf is the recipe's
    conf.write_text(conf.read_text().replace("archive=\n", "archive=here.zip\n"))
    assert corpus_recipe.run("--stop_stage", "1").returncode == 0


def test_edited_manifest_is_prepared_again(corpus_recipe):
    table = corpus_recipe.root / "table.tsv"
    options = ("--my_corpus", "table.tsv", "--stop_stage", "1")
    messages = []
    for text in ("one", "one", "two"):
        table.write_text(text)
        messages.append(corpus_recipe.run(*options).stderr)
    assert ["(unchanged)" in message for message in messages] == [False, True, False]


def test_help_lists_options_of_the_recipe(corpus_recipe):
    done = corpus_recipe.run("--help")
    assert done.returncode == 0
    assert "--my_corpus" in done.stdout and "--stop_stage" in done.stdout


def test_failing_command_shows_the_end_of_its_log(project):
    done = project.run(STUB_FAIL="tokens")
    assert done.returncode == 1
    assert "a made-up mistake" in done.stderr and "exp/log/" in done.stderr
    assert "Traceback" not in done.stderr
    log = next((project.recipe / "exp/log").glob("*/tokens_*.log")).read_text().splitlines()
    assert "-m espnet_ext.bin.tokens" in log[0]
    assert project.run().returncode == 0  # and continues from there
    assert "format_audio" not in verbs(project.calls()[10:])


def test_killed_run_ends_its_steps_and_continues(project):
    project.run("--stop_stage", "10")
    process = subprocess.Popen(
        ["bash", str(project.root / "run.sh"), "--stage", "11"],
        env=project.environment(STUB_SLEEP="train"),
        stderr=subprocess.PIPE,
        text=True,
    )
    log = project.recipe / "exp/log/ko/train_do_small.log"  # of the longest training
    wait_for(lambda: log.exists() and "# process" in log.read_text())
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 143 and "continues from here" in stderr
    project.calls()
    done = project.run("--stage", "11", "--stop_stage", "11")
    assert done.returncode == 0, done.stderr  # the lock is free: nothing lived on
    assert verbs(project.calls()) == ["train"] * 6


def test_reader_that_ends_does_not_end_the_run(project):
    """As `./run.sh 2>&1 | less`, left before the end."""
    process = subprocess.Popen(
        ["bash", str(project.root / "run.sh"), "--langs", "en"],
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=600) == 0
    assert (project.recipe / "exp/RESULTS.md").exists()


def test_help_into_a_reader_that_ends(project):
    done = subprocess.run(
        ["bash", "-c", f"bash {project.root}/run.sh --help | head -1"],
        env=project.environment(),
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("usage: ") and done.stderr == ""


def test_slurm_needs_sbatch_and_nodes_need_slurm(project):
    fake_path = project.root / "bin"
    fake_path.mkdir()
    assert project.run("--num_nodes", "2").returncode == 2
    done = project.run("--cmd", "slurm", PATH=os.environ["PATH"])
    assert done.returncode == 2 and "no sbatch" in done.stderr


@dataclass
class Slurm:
    """Programs that stand for those of slurm, and what was submitted."""

    environment: dict[str, str]
    calls_file: Path

    def submitted(self) -> list[str]:
        return self.calls_file.read_text().splitlines() if self.calls_file.exists() else []


@pytest.fixture
def slurm(tmp_path) -> Slurm:
    tools = tmp_path / "tools"
    tools.mkdir()
    scripts = {
        "sbatch": 'echo "$@" >>"$SBATCH_CALLS"\necho "4711;cluster"\nexec bash "${@: -1}"',
        "srun": 'exec "$@"',
        "scancel": 'echo "scancel $*" >>"$SBATCH_CALLS"',
    }
    for name, script in scripts.items():
        (tools / name).write_text(f"#!/usr/bin/env bash\n{script}\n")
        (tools / name).chmod(0o755)
    calls = tmp_path / "submitted"
    return Slurm({"PATH": f"{tools}:{os.environ['PATH']}", "SBATCH_CALLS": str(calls)}, calls)


def test_slurm_jobs_are_submitted_and_waited_for(project, slurm):
    environment = slurm.environment
    done = project.run("--cmd", "slurm", "--ngpu", "2", "--slurm_options", "-p gpu", **environment)
    assert done.returncode == 0, done.stderr
    submitted = slurm.submitted()
    training = next(line for line in submitted if "en.train_do_small" in line)
    assert "--wait" in training and "--gpus-per-node 2" in training and "-p gpu" in training
    failing = {"STUB_FAIL": "format_audio", **environment}
    failed = project.run("--cmd", "slurm", "--force", "true", **failing)
    assert failed.returncode == 1 and "format" in failed.stderr


def test_twins_are_trained_with_another_seed_and_compared(project):
    done = project.run("--twins", "so_surface", "--train_args", "--seed 7", "--langs", "en")
    assert done.returncode == 0, done.stderr
    calls = project.calls()
    trained = [call for call in calls if call.startswith("train ")]  # and the statistics
    twins = [call for call in trained if "exp/en/so_surface_small_twin" in call]
    assert len(trained) == 5 and len(twins) == 1 and twins[0].endswith("--seed 1")
    compared = next(call for call in calls if "analyze cka" in call)
    assert "--twins so_surface=exp/en/so_surface_small_twin" in compared
    assert "do=exp/en/do_small/decode/test" in compared.partition("--hypotheses")[2]
    assert any("analyze probes" in call for call in calls)
    assert not any("analyze swaps" in call for call in calls)

    refused = project.run("--twins", "so_other")
    assert refused.returncode == 2 and "so_other is not one of --systems" in refused.stderr


def test_swaps_on_request(project):
    assert project.run("--swaps", "true", "--langs", "en").returncode == 0
    call = next(call for call in project.calls() if "analyze swaps" in call)
    assert "--config" in call and "--train dump/raw/en/train" in call


def test_several_training_sets_are_combined(project):
    with open(project.recipe / "local/data.sh", "a") as script:
        script.write("for lang in ko en; do cp -r data/$lang/train data/$lang/read; done\n")
    done = project.run("--train_sets", "train read", "--langs", "en", "--stop_stage", "11")
    assert done.returncode == 0, done.stderr
    calls = project.calls()
    combined = next(call for call in calls if call.startswith("combine"))
    assert "--inputs data/en/train data/en/read --output data/en/train+read" in combined
    assert combined.endswith("--outputs surface meaning")
    order = verbs(calls)
    assert order.index("combine") < order.index("format_audio")
    formatted = [call for call in calls if call.startswith("format_audio")]
    assert sorted(call.split("--input data/en/")[1].split()[0] for call in formatted) == [
        "test",
        "train+read",
        "valid",
    ]
    trained = [call for call in calls if call.startswith("train ")]
    assert trained and all("--train_set train+read" in call for call in trained)
    again = project.run("--train_sets", "train read", "--langs", "en", "--stop_stage", "11")
    assert again.returncode == 0 and project.calls() == []


def test_label_outputs_are_passed_to_combine(project):
    assert project.run("--langs", "en", "--stop_stage", "1").returncode == 0
    (project.recipe / "data/en/read").symlink_to("train")
    project.calls()
    done = project.run(
        "--train_sets",
        "train read",
        "--label_outputs",
        "l1=utt2l1",
        "--langs",
        "en",
        "--token_types",
        "surface=phone l1=label",
        "--stage",
        "3",
        "--stop_stage",
        "3",
    )
    assert done.returncode == 0, done.stderr
    combined = next(call for call in project.calls() if call.startswith("combine"))
    assert combined.endswith("--outputs surface l1 --label_outputs l1=utt2l1")


def test_data_without_local_data_sh(project):
    assert project.run("--langs", "en", "--stop_stage", "1").returncode == 0
    (project.recipe / "local/data.sh").unlink()
    (project.recipe / "data/en/read").symlink_to("train")
    options = ("--train_sets", "train read", "--langs", "en", "--stop_stage", "3")
    done = project.run(*options)
    assert done.returncode == 0 and "there is no local/data.sh" in done.stderr, done.stderr
    assert any(call.startswith("combine") for call in project.calls())

    (project.recipe / "data/en/train+read/wav.scp").unlink()
    again = project.run("--stage", "3", *options)  # combines what is not combined yet
    assert again.returncode == 0, again.stderr
    assert any(call.startswith("combine") for call in project.calls())

    (project.recipe / "data/en/test/wav.scp").unlink()
    missing = project.run(*options)
    assert missing.returncode == 1 and "local/data.sh" in missing.stderr


def test_label_outputs_and_inline_tags(project):
    done = project.run(
        "--label_outputs",
        "l1=utt2l1",
        "--inline_tags",
        "meaning=l1",
        "--langs",
        "en",
        "--token_types",
        "surface=phone meaning=char l1=label",
        "--stop_stage",
        "5",
    )
    assert done.returncode == 0, done.stderr
    calls = project.calls()
    filters = [call for call in calls if call.startswith("filter")]
    assert len(filters) == 3
    assert all("--label_outputs l1=utt2l1 --inline_tags meaning=l1" in call for call in filters)
    assert any(call.startswith("tokens") and "--token_type label" in call for call in calls)


def test_systems_with_task_vectors_are_inspected(project):
    project.run("--langs", "en")
    assert not any("analyze vectors" in call for call in project.calls())
    done = project.run("--langs", "en", "--systems", "do do_vectors_sum")
    assert done.returncode == 0, done.stderr
    call = next(call for call in project.calls() if "analyze vectors" in call)
    assert "--models do_vectors_sum=exp/en/do_vectors_sum_small --data" in call


def test_stress_trains_with_labels_removed(project):
    done = project.run("--stress", "0 50", "--langs", "en", "--systems", "do", "--stage", "1")
    assert done.returncode == 0, done.stderr
    calls = project.calls()
    taken = [call for call in calls if call.startswith("drop_labels")]
    assert [
        re.search(r"--output (\S+) .*--share (\S+) .*--complete (\S+)", c).groups()
        for c in sorted(taken)
    ] == [
        ("dump/raw/en/stress/surface0_all", "0.00", "false"),
        ("dump/raw/en/stress/surface0_complete", "0.00", "true"),
        ("dump/raw/en/stress/surface50_all", "0.50", "false"),
        ("dump/raw/en/stress/surface50_complete", "0.50", "true"),
    ]
    trained = [c for c in calls if c.startswith("train ") and "--exp_dir exp/en/stress/" in c]
    assert len(trained) == 6  # do on the complete part, do and do_vectors_sum on all, twice
    assert all("--match_updates exp/en/stats" in call for call in trained)
    assert all("--valid_set ../valid" in call for call in trained)
    collected = next(call for call in calls if "analyze partial" in call)
    runs = re.findall(r"(\S+)=exp/en/stress/(\S+)_small/decode/test", collected)
    assert runs == [
        (f"{p}:{way}", f"surface{p}_{folder}")
        for p in (0, 50)
        for way, folder in (
            ("complete", "complete_do"),
            ("do", "all_do"),
            ("do_vectors_sum", "all_do_vectors_sum"),
        )
    ]
    assert project.run("--stress", "0 50", "--langs", "en", "--systems", "do").returncode == 0
    assert project.calls() == []
    more = project.run(
        "--stress",
        "50",
        "--langs",
        "en",
        "--systems",
        "do",
        "--stress_systems",
        "do",
        "--stress_trainings",
        "2",
    )
    assert more.returncode == 0, more.stderr
    calls = project.calls()
    trained = [c for c in calls if c.startswith("train ")]
    assert [c.rsplit(" --seed ", 1)[1] for c in trained] == ["1", "1"]
    assert not any(c.startswith("drop_labels") for c in calls)
    collected = next(call for call in calls if "analyze partial" in call)
    assert re.findall(r"(\S+)=exp/en/stress/surface50_(\S+)/decode/test", collected) == [
        ("50:complete", "complete_do_small"),
        ("50:do", "all_do_small"),
        ("50:complete", "complete_do_small_seed1"),
        ("50:do", "all_do_small_seed1"),
    ]
    refused = project.run("--stress", "50", "--stress_trainings", "0")
    assert refused.returncode == 2 and "--stress_trainings 0: must be at least 1" in refused.stderr
    for options, message in (
        (["--stress", "50 50"], "duplicate 50"),
        (["--stress", "5 05"], "duplicate 5"),
        (["--stress", "50", "--stress_systems", "do do"], "duplicate do"),
        (["--stress", "50", "--stress_systems", " "], "--stress_systems is empty"),
        (["--stress", "50", "--stress_output", "surfce"], "surfce: 'ko' has no such output"),
    ):
        refused = project.run(*options)
        assert refused.returncode == 2 and message in refused.stderr
    refused = project.run("--stress", "half")
    assert refused.returncode == 2 and "half is not a percentage" in refused.stderr


# -- what counts as a change


def test_report_is_written_again_when_any_file_that_it_reads_changes(project):
    """A stress test after a report, or any new analysis, reaches the report."""
    assert project.run("--langs", "en").returncode == 0
    project.calls()
    exp = project.recipe / "exp/en"
    decoding = exp / "do_small/decode/test"
    for path in (
        exp / "analysis/partial.json",
        exp / "analysis/of_a_later_version.json",
        exp / "do_small/diagnostics.jsonl",
        exp / "do_small/train.json",
        decoding / "mdd.json",
        decoding / "nbest.json",
        project.recipe / "dump/raw/en/test/utt2spk",
    ):
        path.write_text("{}\n")
        done = project.run("--langs", "en", "--stage", "18")
        assert done.returncode == 0, done.stderr
        assert verbs(project.calls()) == ["report"], path


def test_stress_after_a_report_is_in_the_report(project):
    options = ("--langs", "en", "--systems", "do")
    assert project.run(*options).returncode == 0
    project.calls()
    assert project.run(*options, "--stress", "50").returncode == 0
    called = verbs(project.calls())
    assert called[-2:] == ["analyze", "report"] and "drop_labels" in called


def test_changed_code_runs_the_steps_that_it_concerns_and_keeps_trainings(project):
    package = project.copy_package()
    assert project.run("--langs", "en").returncode == 0
    project.calls()

    def verbs_after_changing(name: str) -> list[str]:
        with open(package / name, "a") as module:
            module.write("\nchanged = True\n")
        done = project.run("--langs", "en")
        assert done.returncode == 0, done.stderr
        return sorted(set(verbs(project.calls())))

    assert verbs_after_changing("report/html.py") == ["report"]
    assert verbs_after_changing("bin/tokens.py") == ["tokens"]
    # The stub's products do not change, so nothing that depends on them runs again
    assert verbs_after_changing("analysis/probes.py") == ["analyze"]
    assert verbs_after_changing("training/task.py") == ["train"]  # the statistics
    assert not list((project.recipe / "exp/en").glob("*.before-*"))
    done = project.run("--langs", "en", "--stage", "11", "--stop_stage", "11")
    assert "kept, though its code changed: espnet_ext.training.task" in done.stderr
    assert "(unchanged)" in done.stderr
    # Stage 1 notices the code of its corpus, and of no other
    script = project.recipe / "local/data.sh"
    text = script.read_text()
    script.write_text(text + "# python -m espnet_ext.bin.prepare\n")
    project.run("--langs", "en", "--stop_stage", "1")
    with open(package / "corpora/epadb.py", "a") as module:
        module.write("\nchanged = True\n")
    assert "unchanged" in project.run("--langs", "en", "--stop_stage", "1").stderr
    with open(package / "corpora/mini_l2/synthesis.py", "a") as module:
        module.write("\nchanged = True\n")
    done = project.run("--langs", "en", "--stop_stage", "1")
    assert "data: runs again, since code changed: espnet_ext.corpora.mini_l2" in done.stderr


def test_every_analysis_of_stage_17_has_its_code_and_inputs_recorded(project):
    options = ("--langs", "en", "--systems", "do do_vectors_sum", "--swaps", "true")
    (project.recipe / "dump/raw/en/test").mkdir(parents=True)
    (project.recipe / "dump/raw/en/test/text.canonical").write_text("u1 x\n")
    done = project.run(*options, "--twins", "do", "--stress", "50")
    assert done.returncode == 0, done.stderr
    log = project.recipe / "exp/log/en"
    for name in ("cka", "probes", "swaps", "vectors", "partial", "cross_test"):
        record = json.loads((log / f"{name}.done").read_text())
        assert f"espnet_ext.analysis.{name.removesuffix('_test')}" in record["code"], name
        assert "missing" not in record["inputs"].values(), name
    inputs = json.loads((log / "cka.done").read_text())["inputs"]
    assert "exp/en/do_small_twin/model.pth" in inputs and "dump/raw/en/test/text.surface" in inputs
    inputs = json.loads((log / "mdd_no_prompt_do_small_decode_test.done").read_text())["inputs"]
    assert "exp/en/do_small/decode/test/text.meaning" in inputs


def test_analysis_that_is_only_registered_runs_in_stage_17(project):
    package = project.copy_package()
    (package / "analysis/lengths.py").write_text(
        "from espnet_ext.analysis.definition import SCORED_DECODINGS, Analysis\n"
        "def run(): pass\n"
        "ANALYSIS = Analysis('lengths', '', [SCORED_DECODINGS], [], run=run, section=run,\n"
        "    result_files=['analysis/lengths_{set}.json'])\n"
    )
    with open(package / "analysis/registry.py", "a") as registry:
        registry.write(
            "from espnet_ext.analysis import lengths\nANALYSES['x'] = lengths.ANALYSIS\n"
        )
    done = project.run("--langs", "en", "--systems", "do", "--test_sets", "test valid")
    assert done.returncode == 0, done.stderr
    calls = [call for call in project.calls() if "lengths" in call]
    assert len(calls) == 2 and (
        "analyze lengths --systems do=exp/en/do_small/decode/valid "
        "--output exp/en/analysis/lengths_valid.json" in calls
    )


# -- folders and names of ESPnet


def test_options_of_espnet(project):
    done = project.run(
        *("--asr_config", "train.yaml", "--asr_tag", "big", "--asr_args", "--max_epoch 2"),
        *("--inference_config", "decode_lm.yaml", "--inference_tag", "lm"),
        *("--inference_args", "--beam_size 3", "--lang", "en", "--systems", "do"),
    )
    assert done.returncode == 0, done.stderr
    calls = project.calls()
    training = next(call for call in calls if "--exp_dir" in call)
    assert "conf/train.yaml" in training and training.endswith("-- --max_epoch 2")
    assert "--exp_dir exp/en/do_big" in training
    decoding = next(call for call in calls if call.startswith("decode"))
    assert "exp/en/do_big/lm/test" in decoding and decoding.endswith("--beam_size 3")


def test_normalization_symbols_and_kind_of_bpe(project):
    (project.root / "nlsyms.txt").write_text("<noise>\n")
    done = project.run(
        *("--feats_normalize", "global_mvn", "--nlsyms_txt", "nlsyms.txt", "--bpemode", "bpe"),
        *("--lang", "en", "--systems", "do", "--token_types", "surface=phone meaning=bpe"),
    )
    assert done.returncode == 0, done.stderr
    calls = project.calls()
    trainings = [call for call in calls if call.startswith("train ")]
    assert len(trainings) == 2 and all("--feats_normalize global_mvn" in c for c in trainings)
    symbols = f"--nlsyms_txt {project.root}/nlsyms.txt"
    tokens = [call for call in calls if call.startswith("tokens ")]
    assert len(tokens) == 2 and all(symbols in call for call in tokens)
    assert sum("--vocab_size 500 --bpemode bpe" in call for call in tokens) == 1
    assert all(symbols in call for call in calls if call.startswith("score "))
    refused = project.run("--nlsyms_txt", "none.txt")
    assert refused.returncode == 1 and "none.txt: no such file" in refused.stderr
    assert project.run("--feats_normalize", "cmvn").returncode == 2


def test_model_and_statistics_elsewhere(project):
    elsewhere = project.root / "models/do_mine"
    options = ("--lang", "en", "--systems", "do", "--asr_exp", str(elsewhere))
    done = project.run(*options, "--asr_stats_dir", str(project.root / "stats"))
    assert done.returncode == 0, done.stderr
    assert (elsewhere / "model.pth").exists() and (project.root / "stats/train").exists()
    link = project.recipe / "exp/en/do_mine"
    assert link.is_symlink() and (link / "decode/test/score.json").exists()
    assert (elsewhere / "decode/test/score.json").exists()
    again = project.run(*options, "--asr_stats_dir", str(project.root / "stats"))
    assert again.stderr.count("(unchanged)") == 10, again.stderr
    (project.recipe / "exp/en/do_small").mkdir()
    refused = project.run(*options, "--asr_tag", "small")
    assert refused.returncode == 1 and "is there already" in refused.stderr


def test_a_run_leaves_tracked_files_alone_unless_asked(project):
    tracked = project.recipe / "RESULTS.md"
    tracked.write_text("published\n")
    assert project.run("--langs", "en").returncode == 0
    assert tracked.read_text() == "published\n"
    update = ("--stage", "18", "--update_results", "true")
    done = project.run("--langs", "en", *update)
    assert done.returncode == 2 and "would remove ko from RESULTS.md" in done.stderr
    assert tracked.read_text() == "published\n"
    assert project.run("--langs", "ko").returncode == 0
    done = project.run("--langs", "ko", "--systems", "do", *update)
    assert done.returncode == 2 and "would remove so_surface so_meaning" in done.stderr
    done = project.run("--langs", "en", *update)
    assert done.returncode == 0 and tracked.read_text().startswith("# Results")
    done = project.run("--langs", "en", "--stage", "18", "--results", "other.md")
    assert done.returncode == 0 and (project.recipe / "other.md").exists()


def test_report_of_one_language_keeps_the_other(project):
    project.run()
    project.calls()
    assert project.run("--langs", "en", "--stage", "18").returncode == 0
    assert project.calls() == []  # the report of both languages is up to date
    project.run("--langs", "en", "--stage", "18", "--force", "true")
    assert [call for call in project.calls() if "--langs ko en" in call]


def test_slurm_options_of_jobs_with_and_without_a_gpu(project, slurm):
    done = project.run(
        *("--cmd", "slurm", "--ngpu", "1", "--langs", "en", "--systems", "do"),
        *("--slurm_options", "--account 'my project'"),
        *("--slurm_cpu_options", "-p cpu", "--slurm_gpu_options", "-p gpu"),
        **slurm.environment,
    )
    assert done.returncode == 0, done.stderr
    submitted = slurm.submitted()
    formatting = next(line for line in submitted if "en.format_train" in line)
    assert "-p cpu" in formatting and "-p gpu" not in formatting
    training = next(line for line in submitted if "en.train_do_small" in line)
    assert "-p gpu" in training and "-p cpu" not in training
    assert all("--account my project" in line for line in submitted)


def test_killed_run_cancels_its_slurm_jobs(project, slurm):
    process = subprocess.Popen(
        ["bash", str(project.root / "run.sh"), "--cmd", "slurm", "--langs", "en"],
        env=project.environment(STUB_SLEEP="format_audio", **slurm.environment),
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(slurm.submitted)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 143 and "scancel 4711" in slurm.submitted()
