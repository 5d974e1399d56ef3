"""Checks of data directories, one module per subject.

To add a check, write a function that takes a `context.Checked` and calls its `add`, in the module
of its subject, and list the function in `data.validate.CHECKS`. Reading tables, which reports
malformed rows as well, belongs in `data.table`; repairing what a check finds in `data.fixing`.
"""
