"""How findings are told."""

from espnet_ext.data.findings import ERROR, Finding, describe


def test_every_finding_is_followed_by_its_own_remedy():
    given = [("a", "mend a"), ("b", "mend b"), ("c", "mend a")]
    found = [Finding(ERROR, "code", name, 0, "", "is bad", remedy) for name, remedy in given]
    assert describe(found) == [
        "a: error: is bad [code]", "c: error: is bad [code]", "  remedy: mend a",
        "b: error: is bad [code]", "  remedy: mend b",
    ]  # fmt: skip
