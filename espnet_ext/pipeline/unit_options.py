"""The options of `run.sh` for systems that read discrete units (docs/units.md).

Names that ESPnet's `asr2.sh` has are those of `asr2.sh`. Needs only the standard library of
Python 3.9.
"""

from espnet_ext.pipeline.option import Option

UNIT_OPTIONS = (
    Option(
        "kmeans_feature",
        "",
        "systems read discrete units, learned on these features: log_mel, mfcc, or MODEL/LAYER "
        "with a folder or hub name of a checkpoint (microsoft/wavlm-large/21), or with the folder "
        "of a trained system (../dual1/exp/en/do_small/2). Without it, systems read audio",
    ),
    Option("nclusters", "2000", "clusters of k-means", "count"),
    Option(
        "residual_nclusters",
        "0",
        "clusters of a second k-means on what the first one leaves; 0 learns none",
        "whole",
    ),
    Option("portion", "1.0", "share of the training utterances that k-means reads", "real"),
    Option("kmeans_opts", "", "further options for espnet-ext learn_kmeans", "arguments"),
    Option(
        "src_case",
        "rm",
        "units without repeats (rm) or with them (ts)",
        choices=("rm", "ts"),
    ),
    Option(
        "src_token_type",
        "bpe",
        "tokens of units: SentencePiece, or each unit alone",
        choices=("bpe", "unit"),
    ),
    Option("src_nbpe", "4000", "vocabulary size of units, for src_token_type bpe", "count"),
    Option(
        "text_input",
        "",
        "output whose training transcripts are inputs too, and are mapped to the other outputs: "
        "surface. Without it, speech is the only input",
    ),
    Option(
        "text_data",
        "",
        "further data directories without audio whose transcripts are such inputs; {lang} stands "
        "for the language",
        "words",
    ),
    Option(
        "text_token_type",
        "",
        "tokens of the text input. Without it, those of the output in --token_types",
        choices=("", "char", "jamo", "phone", "word", "bpe"),
    ),
    Option("text_nbpe", "4000", "vocabulary size of the text input, for token type bpe", "count"),
    Option(
        "km_tag",
        "",
        "suffix of the folders of k-means and units, to keep several: exp/<lang>/units_<km_tag>",
    ),
    Option(
        "input_tag",
        "",
        "suffix of the joint vocabulary, of the sets of input ids and of the experiments. Without "
        "it, --km_tag",
    ),
    Option(
        "input_guides",
        "false",
        "the joint vocabulary has a guiding token per output, for systems with conditioning: "
        "input_tokens",
        "boolean",
    ),
    Option(
        "unit_embeddings",
        "",
        "checkpoint of a text model (folder or hub name: google/byt5-small) that the first "
        "embeddings of the joint vocabulary are made from, for an --asr_config whose encoder is "
        "that model. Without it, they are random",
    ),
    Option(
        "max_input_length",
        "2000",
        "most ids of an input of units or text; longer utterances are left out of the sets of "
        "input ids, and listed in removed.tsv",
        "count",
    ),
    Option("upsample", "4", "how often each token of the text input is repeated", "count"),
)
