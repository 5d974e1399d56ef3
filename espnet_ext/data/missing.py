"""Words that programs write into cells without a value, such as `nan`."""

from collections.abc import Collection

from espnet_ext.data.record import NA

# As pandas, R, spreadsheets and databases write them. Case matters: `none` is a word.
MISSING = ("nan", "NaN", "NA", "N/A", "n/a", "#N/A", "<NA>", "None", "NULL", "NaT")
# What may mean the same, and may be a transcript: noted in the report.
AMBIGUOUS = ("none", "null", "na", "nil", "Null", "Nan", "-")


def is_missing(cell: str, missing: Collection[str] = MISSING) -> bool:
    """Return whether a cell says that it has no value.

    >>> is_missing("nan"), is_missing("None of them"), is_missing("none")
    (True, False, False)
    """
    return cell in missing or cell == NA
