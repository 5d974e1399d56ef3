"""The files that stage 12 writes: transcripts, tokens, scores, n-best lists, times, segments."""

from collections.abc import Mapping
from pathlib import Path

from espnet_ext.data.table import write_table
from espnet_ext.decoding.search import Hypothesis, Result
from espnet_ext.files import write_json, write_text
from espnet_ext.progress import say


def remove_old_files(folder: Path) -> None:
    """Remove the files of an earlier run, which may have had other outputs."""
    for pattern in ("text.*", "token.*", "score.*", "nbest.*", "ctm.*", "segments"):
        for path in folder.glob(pattern):
            if path.name != "score.json":  # written by scoring
                path.unlink()


def write_segments(path: Path, results: Mapping[str, Result]) -> None:
    """Write the segments of long audio as a Kaldi `segments` file, if there are any."""
    lines = [
        f"{utt_id}-{number:05d} {utt_id} {part.start:.2f} {part.end:.2f}\n"
        for utt_id, result in sorted(results.items())
        for number, part in enumerate(result.parts)
    ]
    if lines:
        write_text(path, "".join(lines))


def write_output(folder: Path, name: str, results: Mapping[str, Result], with_times: bool) -> None:
    """Write the files of one output."""
    best = {utt_id: result.best[name] for utt_id, result in results.items()}
    write_table(folder / f"text.{name}", {i: h.text for i, h in best.items()})
    write_table(folder / f"token.{name}", {i: " ".join(h.tokens) for i, h in best.items()})
    write_table(folder / f"score.{name}", {i: f"{h.score:.6f}" for i, h in best.items()})
    if with_times:
        _write_ctm(folder / f"ctm.{name}", best)
    if any(len(result.nbest[name]) > 1 for result in results.values()):
        nbest = {
            utt_id: [{"text": h.text, "score": round(h.score, 6)} for h in result.nbest[name]]
            for utt_id, result in sorted(results.items())
        }
        write_json(folder / f"nbest.{name}.json", nbest)


def _write_ctm(path: Path, best: Mapping[str, Hypothesis]) -> None:
    """Write `<utterance> 1 <start> <duration> <token> <confidence>` per token (NIST's CTM)."""
    lines = []
    for utt_id, hypothesis in sorted(best.items()):
        if hypothesis.times is None and hypothesis.tokens:
            say(f"warning: {utt_id}: too few frames for its tokens: not in {path.name}")
        rows = zip(hypothesis.tokens, hypothesis.times or (), hypothesis.confidences, strict=False)
        for token, (start, end), confidence in rows:
            lines.append(f"{utt_id} 1 {start:.2f} {end - start:.2f} {token} {confidence:.3f}\n")
    write_text(path, "".join(lines))
