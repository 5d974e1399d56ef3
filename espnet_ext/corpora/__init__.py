"""Corpora: convert published corpora to data directories; synthesise the embedded corpus.

This package holds what is specific to a corpus: its folders, annotation, splits and licence.
`registry.py` declares every corpus with its options. Its module defines

- `Options`, a frozen dataclass derived from `preparation.CorpusOptions`, with one field per option;
- `prepare(options, report)`, which returns the sets as lists of `Utterance`. A corpus that does not
  fit into memory writes its sets with `database.CorpusDatabase` and returns None.

How data directories are written and checked is in `data`; what is specific to a language is in
`text`.
"""
