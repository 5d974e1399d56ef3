"""Corpora: a published layout in, utterances out; and the synthesis of the embedded corpus.

Here belongs what knows one corpus: its folders, its annotation, its splits, its licence. Each file
(or package) has a `prepare(...)` that returns the sets as lists of `Utterance`; corpora that do not
fit into memory go through `large.Store`, which writes them. Not here: how data directories are
written or checked (`data`), what all languages share about text (`text`).
"""
