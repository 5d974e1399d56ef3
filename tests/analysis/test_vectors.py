"""Tables and findings of the task vectors."""

import copy
from types import SimpleNamespace

import pytest
from result_tree import VECTORS

from espnet_ext.analysis import vectors
from espnet_ext.data.record import Utterance


def section(numbers=VECTORS):
    return vectors.section(numbers)


def rows():
    return {table.title: table.rows for table in section().tables}


def test_every_table_has_its_numbers():
    tables = rows()
    assert tables["Task vectors"][0][:6] == [
        *("do", "features", "surface", "3.00", "50.50", "meaning −0.25")
    ]
    assert tables["Task vectors"][0][6] == "+2.50, +0.00"
    assert ["do, features, meaning", "2.00", "4.00", "4.00"] in tables[
        "Length of the task vectors during training"
    ]
    assert tables["Outputs with their task vectors off"] == [
        ["do", "surface", "meaning", "5.00", "25.00", "+15.00 to +26.00", "no", "24"]
    ]
    assert tables["Tags with their task vectors off"] == [
        ["do", "meaning.l1", "surface+meaning", "12.50", "75.00", "yes", "24"]
    ]


def test_untrained_vectors_are_left_out_with_a_note():
    text = str(section())
    assert "do, features: 1 of 3 vectors belong to combinations that training never used" in text
    assert "777" not in text and "never'" not in text


def test_growth_of_a_vector():
    assert any(
        "length 1.00 after the first epoch, 3.00 after the last (+50.00 % in the last epoch)"
        in text
        for text in section().findings
    )


def test_figures_show_components_and_lengths():
    kinds = [figure.kind for figure in section().figures]
    assert kinds == ["points", "lines"]
    assert list(section().figures[0].series) == ["surface", "meaning"]


def test_systems_without_vectors_have_no_tables():
    numbers = copy.deepcopy(VECTORS)
    numbers["systems"] = []
    assert section(numbers).items == []


def test_utterances_of_an_error_are_those_with_a_reference():
    pytest.importorskip("espnet2")
    from espnet_ext.analysis.computation.task_vectors import _Inspection

    texts = [{"surface": "S IY"}, {"surface": "<na>"}, {}]
    utterances = [Utterance(f"s-{i}", "s", "a.wav", one) for i, one in enumerate(texts)]
    head = SimpleNamespace(options=SimpleNamespace(token_type="phone"))
    system = SimpleNamespace(
        model=SimpleNamespace(heads={"surface": head}), active={"surface": ("surface",)}
    )
    inspection = object.__new__(_Inspection)
    inspection.utterances, inspection.system = utterances, system
    inspection.vectors = SimpleNamespace(tasks=["surface"], trained=[])
    inspection.symbols = ["<noise>"]
    inspection._recognise = lambda output, active: {"s-0": "S IH <noise>", "s-1": "S", "s-2": "S"}
    row = inspection._vector_off("surface")
    assert (row["utterances"], row["rate_on"], row["rate_off"]) == (1, 50.0, 50.0)
