"""Checks of the environment: each names what is wrong, and what to do."""

import ast
import json
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement

from espnet_ext.bin import cli
from espnet_ext.bin import doctor as command
from espnet_ext.pipeline import doctor
from espnet_ext.pipeline.doctor import NOTE, OK, PROBLEM, Finding


def test_damaged_library_is_a_problem_with_a_remedy(monkeypatch):
    monkeypatch.setattr(doctor, "_run", lambda *_: (False, "ImportError: libtorch.so"))
    for check in (doctor.check_torch, doctor.check_audio):
        finding = check()
        assert finding.state == PROBLEM and "libtorch.so" in finding.detail and finding.remedy
    assert doctor.check_gpu().state == NOTE  # nothing needs a GPU


def test_code_runs_in_a_process_that_may_crash():
    assert doctor._run("print('fine')") == (True, "fine")
    works, text = doctor._run("import os; os.kill(os.getpid(), 9)")
    assert not works and "signal 9" in text
    assert doctor._run("import nothing_of_this_name")[1].startswith("ModuleNotFoundError")
    works, text = doctor._run("import time; time.sleep(9)", seconds=0.2)
    assert not works and "no answer" in text


def test_other_versions_are_named(monkeypatch):
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda _: "202401")
    finding = doctor.check_espnet()
    assert finding.state == PROBLEM and "202401, but this package is for 202611" in finding.detail
    monkeypatch.setattr(sys, "version_info", (3, 10, 0))
    assert doctor.check_python().state == PROBLEM


def test_packages_without_a_suitable_version(monkeypatch):
    metadata = doctor.importlib.metadata
    required = ["numpy>=2.0", "torch<2.15", "openpyxl; extra == 'tables'"]
    monkeypatch.setattr(metadata, "requires", lambda _: required)
    monkeypatch.setattr(metadata, "version", lambda name: {"numpy": "1.26", "torch": "2.11"}[name])
    finding = doctor.check_packages()
    assert finding.state == PROBLEM and finding.detail == "numpy 1.26, not >=2.0"


def test_extras_list_what_setup_installs():
    tree = ast.parse((Path(__file__).parents[2] / "setup.py").read_text(encoding="utf-8"))
    (extras,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "EXTRAS"
    )
    for name, (packages, _) in doctor.EXTRAS.items():
        assert [Requirement(item).name for item in extras[name]] == list(packages)
    others = set(extras) - set(doctor.EXTRAS)
    assert others == {
        "report",
        "xlsr",
        "dev",
        "browser",
        "docs",
    }  # empty, a former name, and for tests


def test_all_packages_of_an_extra_are_imported_in_a_suitable_version(monkeypatch):
    metadata = doctor.importlib.metadata
    installed = {"transformers": "4.40", "peft": "0.19"}

    def version(name):
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    required = ["numpy>=2.0", *(f"{n}; extra == 'pretrained'" for n in ("transformers>=5", "peft"))]
    monkeypatch.setattr(metadata, "requires", lambda _: required)
    monkeypatch.setattr(metadata, "version", version)
    broken: list[str] = []
    monkeypatch.setattr(doctor, "_run", lambda code: (code.split()[1] not in broken, "no libfoo"))
    finding = doctor.check_extra("pretrained")
    assert finding.state == NOTE and "transformers 4.40, not >=5; it is for" in finding.detail
    installed["transformers"] = "5.1"
    assert doctor.check_extra("pretrained").state == OK
    broken.append("peft")
    assert "peft cannot be imported: no libfoo" in doctor.check_extra("pretrained").detail
    del installed["peft"]
    finding = doctor.check_extra("pretrained")
    assert finding.state == NOTE and finding.detail.startswith("peft is not installed; it is for W")
    assert "-e '.[pretrained]'" in finding.remedy
    assert doctor.check_packages().detail == "numpy is not installed"

    def not_installed(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", not_installed)  # the package runs from its source
    installed["peft"] = "0.19"
    broken.clear()
    assert doctor.check_extra("pretrained").state == OK


def test_json_does_not_replace_other_files(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(doctor, "checks", lambda _: [lambda: Finding("a", OK, "fine")])
    report = tmp_path / "report.json"
    for _ in range(2):  # its own file is replaced
        assert cli.run(command.main, ["--json", str(report)]) == 0
    for content in ("{}", "[]", '[{"name": "x"}]', "notes", '["name"]', "3"):
        report.write_text(content)
        assert cli.run(command.main, ["--json", str(report)]) == 1
        assert report.read_text() == content
        error = capsys.readouterr().err
        assert f"{report}: exists, and is not a result of this command" in error


def test_threads_disk_and_locale(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "100000")
    assert "more threads than cores" in doctor.check_threads().remedy
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert doctor.check_threads().state == OK
    for free, state in ((1e9, PROBLEM), (5e9, NOTE), (50e9, OK)):
        monkeypatch.setattr(
            doctor.shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free)
        )
        assert doctor.check_disk().state == state
    monkeypatch.setattr(doctor.locale, "getpreferredencoding", lambda _: "EUC-KR")
    assert doctor.check_locale().state == NOTE


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (doctor.urllib.error.URLError("timed out"), NOTE),
        (doctor.urllib.error.HTTPError("", 429, "", None, None), OK),
    ],
)
def test_hub(monkeypatch, error, state):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)

    def fail(*_, **options):
        assert options["timeout"] == 0.1
        raise error

    monkeypatch.setattr(doctor.urllib.request, "urlopen", fail)
    assert doctor.check_hub(0.1).state == state
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE" in doctor.check_hub(0.1).detail


def test_exit_code_and_json(monkeypatch, tmp_path, capsys):
    findings = [Finding("a", OK, "fine"), Finding("b", NOTE, "absent", "install it")]
    monkeypatch.setattr(doctor, "checks", lambda _: [lambda f=f: f for f in findings])
    assert cli.run(command.main, ["--json", str(tmp_path / "found.json")]) == 0
    assert "everything that is needed works" in capsys.readouterr().out
    assert [row["state"] for row in json.loads((tmp_path / "found.json").read_text())] == [OK, NOTE]
    findings.append(Finding("c", PROBLEM, "broken", "repair it"))
    assert cli.run(command.main, []) == 1
    output = capsys.readouterr().out
    assert "PROBLEM  c: broken\n           remedy: repair it" in output and "1 problem: c" in output


def test_checks_run_in_parallel_and_are_announced(monkeypatch, capsys):
    barrier = threading.Barrier(2, timeout=30)  # breaks unless two checks wait at once

    def check(name):
        barrier.wait()
        return Finding(name, OK, "fine")

    monkeypatch.setattr(doctor, "checks", lambda _: [lambda n=n: check(n) for n in "abcd"])
    assert cli.run(command.main, []) == 0
    output = capsys.readouterr()
    assert [line.split()[1] for line in output.out.splitlines()[:4]] == ["a:", "b:", "c:", "d:"]
    assert output.err.startswith("importing PyTorch")
