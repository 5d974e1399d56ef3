"""A tiny joint vocabulary, sets of input ids, and systems that read them."""

from collections.abc import Sequence
from pathlib import Path

import torch
import yaml

from espnet_ext.data.table import read_table, write_table
from espnet_ext.model.build import build_model
from espnet_ext.text.tokenizers import build_tokenizer, token_list
from espnet_ext.training import run
from espnet_ext.units import vocabulary
from espnet_ext.units.dump import dump_units, units_path
from espnet_ext.units.extractor import UnitExtractor
from espnet_ext.units.features import FeatureOptions, build_features
from espnet_ext.units.files import write_model
from espnet_ext.units.input_set import InputOptions, write_input_set
from espnet_ext.units.learning import LearningOptions, learn
from espnet_ext.units.vocabulary import JointVocabulary, UnitSource

CONFIG = {
    "frontend": "units",
    "frontend_conf": {"embed_dim": 16},
    "normalize": None,
    "encoder": "conformer",
    "encoder_conf": {
        "output_size": 16,
        "attention_heads": 2,
        "linear_units": 32,
        "num_blocks": 1,
        "dropout_rate": 0.0,
        "positional_dropout_rate": 0.0,
        "attention_dropout_rate": 0.0,
        "input_layer": "linear",
        "rel_pos_type": "latest",
        "pos_enc_layer_type": "rel_pos",
        "selfattention_layer_type": "rel_selfattn",
        "cnn_module_kernel": 3,
    },
    "decoder": "transformer",
    "decoder_conf": {"attention_heads": 2, "linear_units": 32, "num_blocks": 1},
    "optim": "adam",
    "optim_conf": {"lr": 0.005},
    "batch_type": "length",
    "batch_bins": 400,
    "max_epoch": 2,
    "keep_nbest_models": 1,
    "best_model_criterion": [["valid", "loss", "min"]],
    "num_att_plot": 0,
    "use_matplotlib": False,
    "use_tensorboard": False,
    "num_workers": 0,
}
TEXTS = [("ab ba", "cab"), ("b a", "bad"), ("aab", "add"), ("bb", "dab")]
OUTPUTS = ("surface", "meaning")


def write_units(corpus: Path, folder: Path, clusters: int = 12) -> Path:
    """Learn k-means on a corpus, and dump its units beside its audio; return its folder."""
    options = LearningOptions(clusters, 0, 0)
    write_model(folder, learn(build_features(FeatureOptions()), [corpus], options, 5.0))
    extractor = UnitExtractor.from_pretrained(folder)
    dump_units(extractor, corpus, units_path(corpus, "units", "remove"), "remove")
    return folder


def write_texts(corpus: Path, outputs: Sequence[str] = OUTPUTS) -> None:
    """Replace the transcripts of a corpus by different ones."""
    utterances = list(read_table(corpus / "wav.scp"))
    for i, name in enumerate(outputs):
        rows = {utt: TEXTS[k % len(TEXTS)][i] for k, utt in enumerate(utterances)}
        write_table(corpus / f"text.{name}", rows)


def write_vocabulary(folder: Path, units: Path, symbols=()) -> JointVocabulary:
    extractor = UnitExtractor.from_pretrained(units)
    source = UnitSource(extractor.digest, tuple(extractor.model.sizes), "remove")
    texts = [surface for surface, _ in TEXTS]
    return vocabulary.build(
        folder, source, [], texts, unit_type="unit", text_type="char", symbols=symbols
    )


def token_lists(folder: Path, outputs: Sequence[str] = OUTPUTS) -> None:
    for i, name in enumerate(outputs):
        tokens = token_list(build_tokenizer("char"), [texts[i] for texts in TEXTS])
        (folder / f"{name}_char").mkdir(parents=True)
        (folder / f"{name}_char/tokens.txt").write_text("\n".join(tokens) + "\n")


def recipe(
    root: Path,
    corpus: Path,
    units: Path,
    joint: JointVocabulary,
    outputs: Sequence[str] = OUTPUTS,
) -> run.Data:
    """Write training and validation set, token lists and lengths below `root`.

    Transcripts of the first output are inputs, too.
    """
    for name, text_output in (("train", outputs[0]), ("valid", "")):
        options = InputOptions(outputs, text_output, upsample=3)
        (root / "dump" / name).mkdir(parents=True)
        write_input_set(joint, corpus, root / "dump" / name, options)
    token_lists(root / "tokens", outputs)
    types = dict.fromkeys(outputs, "char")
    folders = (root / "dump", "train", "valid", root / "tokens", types, root / "stats")
    data = run.Data(*folders, joint_tokens=root / "joint", units=units)
    base = root / "base.yaml"
    base.write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    run.collect_stats(base, data, [])
    return data


def build(layout, outputs, seed=0, **changes) -> torch.nn.Module:
    """Return a random model that reads units."""
    torch.manual_seed(seed)
    conf = {**CONFIG["frontend_conf"], "layout": layout}
    return build_model({**CONFIG, "frontend_conf": conf, "outputs": outputs, **changes}).eval()
