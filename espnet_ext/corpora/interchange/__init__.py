"""Import data from Kaldi, lhotse and Hugging Face; export data to lhotse.

The `from_*` modules read a source, map its columns (`column_mapping`), and pass utterances with
their audio to `directory_builder`, which writes a data directory. `error_collector` collects all
errors of a source, so that they are reported together.
"""
