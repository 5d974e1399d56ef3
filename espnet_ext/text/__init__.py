"""Strings: Unicode, Hangul, phones, grapheme-to-phoneme, tokenizers.

Here belongs whatever turns one string into another or into tokens: pure functions on text, quick to
import. Not here: files of transcripts (`data`), published layouts (`corpora`), scores of texts
(`scoring`), torch.
"""
