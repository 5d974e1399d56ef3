"""String processing: Unicode, Hangul, phones, grapheme-to-phoneme (G2P), n-grams, tokenizers.

This package holds pure functions that turn strings into strings or tokens. They are quick to import
and need no torch. Reading data directories belongs in `data`, reading published corpora in
`corpora`, and scoring transcripts in `scoring`.
"""
