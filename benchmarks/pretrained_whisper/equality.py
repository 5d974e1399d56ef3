"""Token ids of an unchanged Whisper in our search and in transformers' `generate`."""

import argparse

from benchmarks.pretrained_whisper.common import (
    OURS,
    SAMPLE_RATE,
    TRANSFORMERS,
    Seconds,
    load_transformers,
    prompt_ids,
    read_utterances,
)

END = "<|endoftext|>"


def measure_equality(options: argparse.Namespace) -> dict:
    """Compare token ids and times of our search and of transformers; print and return them.

    Both read 30 s with the same unchanged Whisper, and score the same tokens.
    """
    import tokenizers
    import torch
    import transformers

    from espnet_ext.decoding.options import SearchOptions
    from espnet_ext.decoding.search import build_searcher
    from espnet_ext.model.build import build_model
    from espnet_ext.text.tokenizers import BLANK, SOS_EOS, UNK

    tokenizer = tokenizers.Tokenizer.from_file(str(options.pretrained / "tokenizer.json"))
    end = tokenizer.token_to_id(END)
    tokens = [tokenizer.id_to_token(i) for i in range(end)]
    model_conf = {"model": str(options.pretrained)}
    output = {
        "branch": "attention",
        "attention_weight": 1.0,
        "token_type": "hugging_face",
        "token_list": [BLANK, UNK, *tokens, SOS_EOS],
    }
    model = build_model(
        {
            "frontend": "pretrained",
            "frontend_conf": {**model_conf, "window": "30s"},
            "encoder": "pretrained",
            "encoder_conf": model_conf,
            "decoder": "pretrained",
            "decoder_conf": {**model_conf, "language": options.language},
            "outputs": {"text": output},
        }
    ).eval()
    search = build_searcher(
        model.heads["text"],
        SearchOptions(
            beam_size=options.beam_size,
            normalize_length=True,
            maxlenratio=-options.max_tokens,
            end_detect=False,
        ),
    )
    network, reader = load_transformers(options.pretrained)
    prompt = prompt_ids(tokenizer, options.language)

    class SameVocabulary(transformers.LogitsProcessor):
        """Restrict scores to our tokens; blank and unk have the mean of all embeddings."""

        def __call__(self, input_ids, scores):  # (N, V')
            extra = scores[:, :end].mean(-1, keepdim=True)
            kept = scores[:, : end + 1]  # text and <|endoftext|>
            total = torch.cat([kept, extra, extra], -1).logsumexp(-1, keepdim=True)
            return torch.full_like(scores, -torch.inf).index_copy_(
                1, torch.arange(end + 1), kept - total
            )

    def by_us(waves):
        speech = [torch.from_numpy(wave) for wave in waves]
        lengths = torch.tensor([len(wave) for wave in waves])
        padded = torch.nn.utils.rnn.pad_sequence(speech, batch_first=True)
        states, frames = model.encode(padded, lengths).shared()
        return [[i - 2 for i in nbest[0].token_ids] for nbest in search(states, frames)]

    def by_transformers(waves):
        feats = reader(list(waves), sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        generated = network.generate(
            feats,
            decoder_input_ids=torch.tensor([prompt] * len(waves)),
            num_beams=options.beam_size,
            do_sample=False,
            early_stopping="never",
            length_penalty=1.0,
            max_new_tokens=options.max_tokens,
            logits_processor=[SameVocabulary()],
        )
        rows = [row[row[: len(prompt)] == prompt and len(prompt) :] for row in generated.tolist()]
        return [row[: row.index(end)] if end in row else row for row in rows]

    waves, _ = read_utterances(options)
    seconds = {OURS: Seconds(0.0, 0.0), TRANSFORMERS: Seconds(0.0, 0.0)}
    different = []
    with torch.no_grad():
        for first in range(0, len(waves), options.batch_size):
            batch = waves[first : first + options.batch_size]
            hypotheses = []
            for name, decode in ((OURS, by_us), (TRANSFORMERS, by_transformers)):
                start = Seconds.now()
                hypotheses.append(decode(batch))
                seconds[name] += Seconds.now() - start
            different += [pair for pair in zip(*hypotheses, strict=True) if pair[0] != pair[1]]
    print(f"{len(different)} of {len(waves)} hypotheses differ in their token ids")
    for pair in different:
        print("  " + " | ".join(repr(tokenizer.decode(ids)) for ids in pair))
    for name, value in seconds.items():
        print(f"{name}: {value.cpu:.2f} CPU s ({value.cpu / seconds[OURS].cpu:.2f} times ours)")
    return {
        "utterances": len(waves),
        "different": len(different),
        "seconds": {name: vars(value) for name, value in seconds.items()},
    }
