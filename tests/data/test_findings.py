"""How findings are told."""

import json

from espnet_ext.data.checks.findings import ERROR, Finding, describe


def test_every_finding_is_followed_by_its_own_remedy():
    given = [("a", "mend a"), ("b", "mend b"), ("c", "mend a")]
    found = [Finding(ERROR, "code", name, 0, "", "is bad", remedy) for name, remedy in given]
    assert describe(found) == [
        "a: error: is bad [code]",
        "c: error: is bad [code]",
        "  remedy: mend a",
        "b: error: is bad [code]",
        "  remedy: mend b",
    ]


def test_the_folder_of_the_json_file_is_made_or_the_error_names_it(tmp_path, capsys):
    from espnet_ext.bin import cli, validate

    target = tmp_path / "new/folder/found.json"
    assert cli.run(validate.main, [str(tmp_path / "none"), "--json", str(target)]) == 1
    (found,) = json.loads(target.read_text())
    assert found["directory"] == str(tmp_path / "none")
    below_a_file = target / "found.json"
    capsys.readouterr()
    assert cli.run(validate.main, [str(tmp_path / "none"), "--json", str(below_a_file)]) == 1
    assert f"{below_a_file}: cannot write" in capsys.readouterr().err
