"""Other toolkits' data: Kaldi, lhotse, Hugging Face data sets in; lhotse out."""
