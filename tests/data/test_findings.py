"""How findings are printed and written."""

import json

from espnet_ext.bin import cli, validate
from espnet_ext.data.checks.findings import ERROR, Finding, describe


def test_findings_are_grouped_by_remedy():
    remedies = {"a": "fix a", "b": "fix b", "c": "fix a"}
    findings = [Finding(ERROR, "code", name, 0, "", "is bad", remedies[name]) for name in "abc"]
    assert describe(findings) == [
        "a: error: is bad [code]",
        "c: error: is bad [code]",
        "  remedy: fix a",
        "b: error: is bad [code]",
        "  remedy: fix b",
    ]


def test_json_file_is_written_to_a_new_folder_or_named_in_the_error(tmp_path, capsys):
    target = tmp_path / "new/folder/report.json"
    assert cli.run(validate.main, [str(tmp_path / "none"), "--json", str(target)]) == 1
    (report,) = json.loads(target.read_text())
    assert report["directory"] == str(tmp_path / "none")
    below_a_file = target / "report.json"
    capsys.readouterr()
    assert cli.run(validate.main, [str(tmp_path / "none"), "--json", str(below_a_file)]) == 1
    assert f"{below_a_file}: cannot write" in capsys.readouterr().err
