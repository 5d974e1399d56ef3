"""The `outputs` part of a configuration: what each transcript is made of, checked before building.

Weights are absolute: the loss is Σ_o ctc_weight_o·CTC_o + attention_weight_o·ATT_o, so that both
the dual-output paper's α·CTC + β·surface + γ·meaning and ESPnet's c·CTC + (1−c)·ATT can be written.
A transducer branch has transducer_weight_o·RNNT_o instead of attention, and may have CTC beside it.
"""

import dataclasses
import difflib
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from espnet_ext.errors import UserError

TEXT_PREFIX = "text_"  # a batch holds text_<output> and text_<output>_lengths
UNLABELLED = -2  # the one token id of a row that has no transcript
BRANCHES = ("ctc_attention", "ctc", "attention", "transducer")


@dataclass(frozen=True)
class OutputConfig:
    """One output. Fields left None take the configuration's defaults (`decoder`, `model_conf`…)."""

    branch: str = "ctc_attention"  # what turns encoder states into tokens
    ctc_weight: float = 0.0  # absolute weight of the CTC loss
    attention_weight: float = 0.0  # absolute weight of the decoder's cross-entropy
    transducer_weight: float = 0.0  # absolute weight of the RNN transducer loss
    token_type: str = "char"  # char, jamo, phone, word, bpe
    token_list: str | Sequence[str] | None = None  # path of tokens.txt, or the tokens
    bpemodel: str | None = None  # SentencePiece model, for token_type bpe
    decoder: str | None = None  # a name of ESPnet's decoders
    decoder_conf: Mapping[str, Any] = field(default_factory=dict)  # merged over the shared one
    prediction: str | None = None  # a transducer's: stateless (if not given), lstm, gru
    prediction_conf: Mapping[str, Any] = field(default_factory=dict)
    joint_conf: Mapping[str, Any] = field(default_factory=dict)  # of ESPnet's JointNetwork
    ctc_conf: Mapping[str, Any] = field(default_factory=dict)
    lsm_weight: float | None = None  # label smoothing
    length_normalized_loss: bool | None = None  # attention loss per token instead of per utterance

    @property
    def has_ctc(self) -> bool:
        beside = self.branch == "transducer" and self.ctc_weight != 0
        return self.branch in ("ctc_attention", "ctc") or beside

    @property
    def has_attention(self) -> bool:
        return self.branch in ("ctc_attention", "attention")

    @property
    def has_transducer(self) -> bool:
        return self.branch == "transducer"


def suggest(unknown: str, known: Sequence[str]) -> str:
    """A remedy for a misspelt name: the nearest known ones, or all."""
    near = difflib.get_close_matches(str(unknown), known, n=1)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(sorted(known))}"


def check_weight(value: Any, where: str) -> None:
    """Raise `UserError` unless a value is a finite number that is not negative."""
    real = isinstance(value, int | float) and not isinstance(value, bool)
    if not real or not 0 <= value < float("inf"):
        raise UserError(f"{where}: {value!r}", "give a number from 0 upwards")


def check_smoothing(value: Any, where: str) -> None:
    """Raise `UserError` unless a value is a share of probability that leaves some."""
    check_weight(value, where)
    if value >= 1:
        raise UserError(f"{where}: {value!r}", "give a number from 0 to below 1")


def check_mapping(value: Any, where: str) -> None:
    """Raise `UserError` unless a value is a mapping."""
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: {value!r} is not a mapping", "write key: value below it")


def check_keys(given: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    """Raise `UserError` naming the first key of `given` that is not known."""
    for key in given:
        if key not in known:
            raise UserError(f"{where}: unknown key '{key}'", suggest(str(key), known))


def check_conf(conf: Mapping[str, Any], build: type, where: str, given: Sequence[str] = ()) -> None:
    """Check a `*_conf` mapping against the constructor it will be given to."""
    parameters = inspect.signature(build).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    check_keys(conf, [name for name in parameters if name not in given], where)


def construct(build: type, conf: Mapping[str, Any], where: str, given: Mapping[str, Any]) -> Any:
    """`build(**given, **conf)`, with the class's refusals as `UserError`s that name `where`."""
    from typeguard import TypeCheckError

    check_conf(conf, build, where, tuple(given))
    try:
        return build(**given, **conf)
    except (
        AssertionError,
        TypeError,
        ValueError,
        KeyError,
        RuntimeError,
        NotImplementedError,
        TypeCheckError,  # ESPnet's constructors check the types of their arguments with typeguard
    ) as error:
        reason = str(error).strip().partition("\n")[0] or "a value in it does not fit the others"
        raise UserError(
            f"{where}: {build.__name__} refuses it: {reason}", "correct its values"
        ) from error


def parse_outputs(config: Mapping[str, Any]) -> dict[str, OutputConfig]:
    """Check `config["outputs"]` and return it typed, in its order.

    >>> config = {"outputs": {"meaning": {"branch": "ctc", "ctc_weight": 1.0}}}
    >>> parse_outputs(config)["meaning"].branch
    'ctc'
    """
    outputs = config.get("outputs")
    if not isinstance(outputs, Mapping) or not outputs:
        raise UserError(
            "the configuration names no outputs",
            "add a system overlay, for example conf/systems/do.yaml",
        )
    known = [f.name for f in dataclasses.fields(OutputConfig)]
    parsed = {}
    for name, entry in outputs.items():
        where = f"outputs.{name}"
        if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", str(name)):
            raise UserError(f"{where}: not a name", "use lower-case letters, digits and _")
        if not isinstance(entry, Mapping):
            raise UserError(f"{where}: must be a mapping", f"known keys: {', '.join(known)}")
        check_keys(entry, known, where)
        parsed[name] = _check(where, OutputConfig(**entry))
    _check_prefixes([m for name, o in parsed.items() for m in module_names(name, o)])
    return parsed


def module_names(name: str, output: OutputConfig) -> list[str]:
    names = [f"{name}_decoder"] if output.has_attention else []
    names += [f"{name}_prediction", f"{name}_joint"] if output.has_transducer else []
    return names + ([f"{name}_ctc"] if output.has_ctc else [])


def _check(where: str, output: OutputConfig) -> OutputConfig:
    if output.branch not in BRANCHES:
        raise UserError(f"{where}.branch: '{output.branch}'", suggest(output.branch, BRANCHES))
    for key in ("decoder_conf", "prediction_conf", "joint_conf", "ctc_conf"):
        check_mapping(getattr(output, key), f"{where}.{key}")
    if output.lsm_weight is not None:
        check_smoothing(output.lsm_weight, f"{where}.lsm_weight")
    kinds = {key: getattr(output, f"has_{key}") for key in ("ctc", "attention", "transducer")}
    for key, present in kinds.items():
        weight = getattr(output, f"{key}_weight")
        check_weight(weight, f"{where}.{key}_weight")
        if present and weight == 0:
            raise UserError(
                f"{where}: branch '{output.branch}' has {key}_weight 0: it would never be trained",
                f"give {key}_weight, or choose a branch without it",
            )
        if not present and weight:
            raise UserError(
                f"{where}: branch '{output.branch}' has no {key}, but {key}_weight is {weight}",
                f"remove {key}_weight or choose branch "
                f"'{'transducer' if key == 'transducer' else 'ctc_attention'}'",
            )
    alien = ("prediction", "prediction_conf", "joint_conf")
    if output.has_transducer:
        alien = ("decoder", "decoder_conf", "lsm_weight", "length_normalized_loss")
    for key in alien:
        if getattr(output, key) not in (None, {}):
            raise UserError(
                f"{where}: branch '{output.branch}' has no use for {key}",
                f"remove {key}"
                + " (a transducer's are prediction_conf and joint_conf)" * output.has_transducer,
            )
    return output


def _check_prefixes(names: Sequence[str]) -> None:
    # ESPnet's --init_param and --freeze_param match by bare prefix.
    names = [
        *names,
        "frontend",
        "specaug",
        "normalize",
        "preencoder",
        "encoder",
        "postencoder",
        "conditioning",
    ]
    for one in names:
        for other in names:
            if one != other and other.startswith(one):
                raise UserError(
                    f"outputs: module '{one}' is a prefix of '{other}'", "rename the output"
                )
