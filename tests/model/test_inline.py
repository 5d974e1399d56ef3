"""Inline tags as tasks: when their vectors are added and trained, and how tags are dropped."""

import pytest
import torch
from vector_models import MODES, WHERE, build, gradients, select, unlabel

from espnet_ext.decoding.request import active_tasks, requested_tasks
from espnet_ext.errors import UserError
from espnet_ext.model.conditioning.active import active_sets
from espnet_ext.model.conditioning.fold import fold_vectors
from espnet_ext.model.conditioning.inline import InlineTags
from espnet_ext.model.encoding import EncoderRequest
from espnet_ext.text.tags import split_tags
from espnet_ext.text.tokenizers import build_tokenizer, token_list, train_sentencepiece

TASKS = ("surface", "meaning", "meaning.age", "meaning.l1")


@pytest.fixture
def tagged(config):
    """The configuration with two kinds of tags in the meaning."""
    meaning = config["outputs"]["meaning"]
    tokens = [*meaning["token_list"][:-1], "<l1:Hindi>", "<age:9>", "<l1:Thai>", "<sos/eos>"]
    outputs = {**config["outputs"], "meaning": {**meaning, "token_list": tokens}}
    return {**config, "outputs": outputs}


def batch(ends, seed=0):
    """Utterances with both outputs; `ends` are the last ids of their meanings: 7, 9 l1; 8 age."""
    generator = torch.Generator().manual_seed(seed)
    rows = len(ends)
    longest = 4 + max(map(len, ends))
    text = torch.full((rows, longest), -1)
    text[:, :4] = torch.randint(2, 7, (rows, 4), generator=generator)
    for row, tag_ids in enumerate(ends):
        text[row, 4 : 4 + len(tag_ids)] = torch.tensor(tag_ids, dtype=torch.long)
    return {
        "speech": torch.randn(rows, 8000, generator=generator, dtype=torch.float64),
        "speech_lengths": torch.full((rows,), 8000),
        "text_surface": torch.randint(2, 5, (rows, 4), generator=generator),
        "text_surface_lengths": torch.full((rows,), 4),
        "text_meaning": text,
        "text_meaning_lengths": torch.tensor([4 + len(e) for e in ends]),
    }


def test_tasks_are_outputs_and_kinds_of_tags(tagged):
    model = build(tagged, {})
    assert model.conditioning.tasks == TASKS and model.conditioning.features.shape == (4, 16)
    assert build(tagged, {"mode": "per_combination"}).conditioning.features.shape == (16, 16)
    labelled = model.labelled(unlabel(batch([[7], [], [8, 9], [9]]), "surface", torch.tensor([3])))
    assert labelled.tolist() == [[1, 1, 0, 1], [1, 1, 0, 0], [1, 1, 1, 1], [0, 1, 0, 1]]
    assert build(tagged).labelled(batch([[7], []])).shape == (2, 2)
    alone = {**tagged, "outputs": {"meaning": tagged["outputs"]["meaning"]}}
    assert build(alone, {}).conditioning.tasks == ("meaning", "meaning.age", "meaning.l1")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("where", WHERE)
def test_zero_vectors_and_all_tags_equal_the_system_without_vectors(tagged, mode, where):
    made = batch([[7, 8], [9, 8], [8, 7]])
    plain = build(tagged)
    loss, expected, _ = gradients(plain, made)
    model = build(tagged, {"mode": mode, "where": where, "init_std": 0})
    loss_with_vectors, reached, _ = gradients(model, made)
    assert loss_with_vectors == loss
    for name, gradient in expected.items():
        assert torch.equal(reached[name], gradient), name


@pytest.mark.parametrize("where", ["features", "encoder"])
def test_utterance_without_a_tag_does_not_train_its_vector(tagged, where):
    model = build(tagged, {"where": where})
    _, reached, _ = gradients(model, batch([[], [8], []]))
    surface, meaning, age, l1 = reached[f"conditioning.{where}"]
    assert surface.any() and meaning.any() and age.any() and not l1.any()
    mixed = batch([[7], [], [8], [9]])
    _, reached, _ = gradients(model, mixed)
    _, by_tagged_rows, _ = gradients(model, select(mixed, torch.tensor([0, 3])))
    row = TASKS.index("meaning.l1")  # the loss is linear in utterances: 2 of 4 have the tag
    assert torch.allclose(
        reached[f"conditioning.{where}"][row],
        0.5 * by_tagged_rows[f"conditioning.{where}"][row],
        atol=1e-12,
    )


def test_vectors_of_present_combinations_are_trained(tagged):
    model = build(tagged, {"mode": "per_combination"})
    made = unlabel(batch([[7], [], [8, 9], [9]]), "surface", torch.tensor([3]))
    _, reached, _ = gradients(model, made)
    rows = zip(model.conditioning.labels, reached["conditioning.features"], strict=True)
    assert {label for label, row in rows if row.any()} == {
        "surface+meaning",
        "surface+meaning+meaning.l1",
        "meaning+meaning.l1",
        "surface+meaning+meaning.age+meaning.l1",
    }


def test_row_is_encoded_with_the_vectors_of_its_tags(tagged):
    model = build(tagged, {"where": "encoder", "init_std": 1.0})
    made = batch([[7], []])
    arguments = made["speech"], made["speech_lengths"]
    with torch.no_grad():
        states, _ = model.encode(*arguments, EncoderRequest(active=model.labelled(made))).shared()
        without, _ = model.encode(
            *arguments, EncoderRequest(active=torch.tensor([True, True, False, False]))
        ).shared()
        assert torch.allclose(states[1], without[1], atol=1e-12)
        vector = model.conditioning.encoder[TASKS.index("meaning.l1")]
        assert torch.allclose(states[0], without[0] + vector, atol=1e-12)
        every, _ = model.encode(*arguments).shared()
        added = model.conditioning.encoder.sum(0) - model.conditioning.encoder[:2].sum(0)
        assert torch.allclose(every, without + added, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_folded_vector_of_a_tag_gives_the_same_logits(tagged, mode):
    model = build(tagged, {"mode": mode, "where": "both", "init_std": 1.0})
    made = batch([[7], [9]])
    active = ("meaning", "meaning.l1")

    def logits(**further):
        states, frames = model.encode(
            made["speech"], made["speech_lengths"], EncoderRequest(**further)
        ).shared()
        return model.heads["meaning"].teacher_forced(
            states, frames, made["text_meaning"], made["text_meaning_lengths"]
        )[0]

    with torch.no_grad():
        before = logits(active=model.conditioning.active_set(active))
        fold_vectors(model, "meaning", active)
        assert torch.allclose(before, logits(), atol=1e-9)


TEXTS = [
    "ab c <l1:x>",
    "<l1:x> ab c",
    "c <age:9> <l1:y>",
    "a <l1:y> b c",
    "b a c",
    "<l1:x>",
    "가 나다 <l1:x> <age:9>",
    "<l1:x> <age:9> ab c",
    "<age:9> <l1:y> b <l1:x>",
    "<age:9> <l1:y>",
]


@pytest.mark.parametrize("dropped", [{"l1"}, {"age", "l1"}], ids=["l1", "age_l1"])
@pytest.mark.parametrize("kind", ["char", "jamo", "word", "phone", "bpe"])
def test_transcript_without_dropped_tags_equals_its_tokenization(kind, dropped, tmp_path):
    """Compare with the tokens of the transcript that is written without the tags."""
    bpe = None
    if kind == "bpe":
        tokens = train_sentencepiece(TEXTS * 20, tmp_path / "m", 30)
        bpe = tmp_path / "m.model"
    tokenizer = build_tokenizer(kind, bpe)
    if kind != "bpe":
        tokens = token_list(tokenizer, TEXTS)
    tags = InlineTags({"o": tokens})
    assert list(tags.ids) == ["o.age", "o.l1"]
    ids = [torch.tensor([tokens.index(t) for t in tokenizer.encode(text)]) for text in TEXTS]
    made = {
        "text_o": torch.nn.utils.rnn.pad_sequence(ids, True, -1),
        "text_o_lengths": torch.tensor([len(one) for one in ids]),
    }
    present = tags.present(made)
    assert present.tolist() == [["age" in v, "l1" in v] for v in (split_tags(t)[1] for t in TEXTS)]
    active = torch.cat([torch.ones(len(TEXTS), 1, dtype=torch.bool), present], 1)
    off = torch.tensor([True, "age" not in dropped, False])
    changed, left = tags.restrict(made, active, active & off)
    for row, text in enumerate(TEXTS):
        starts = tuple(f"<{kind}:" for kind in dropped)
        remaining = " ".join(word for word in text.split() if not word.startswith(starts))
        length = int(changed["text_o_lengths"][row])
        tokens_left = [tokens[i] for i in changed["text_o"][row, :length]]
        assert (changed["text_o"][row, length:] == -1).all()
        if not remaining:  # only dropped tags: they stay active
            assert tokens_left == tokenizer.encode(text) and torch.equal(left[row], active[row])
        else:
            assert torch.equal(left[row], active[row] & off)
            assert split_tags(tokenizer.decode(tokens_left)) == split_tags(remaining), text
            if kind != "bpe":
                assert tokens_left == tokenizer.encode(remaining), text


def test_dropped_tags_are_removed_from_transcripts_in_training(tagged):
    model = build(tagged, {"drop_tasks": 0.5}).train()
    made = batch([[6, 7]] * 40)  # 6 is a letter, no space
    seen = []
    plain = model.losses
    model.losses = lambda encoded, labels: seen.append(labels) or plain(encoded, labels)
    torch.manual_seed(0)
    model(**made)
    text, lengths = seen[0]["text_meaning"], seen[0]["text_meaning_lengths"]
    has_tag = (text == 7).any(1)
    labelled = text[:, 0] != -2
    assert has_tag[labelled].any() and (~has_tag[labelled]).any()
    assert torch.equal(lengths[labelled], 5 + has_tag[labelled].long())
    torch.manual_seed(0)
    active = model.labelled(made)
    kept = model.conditioning.sample(active)
    assert kept[:, :2].any(1).all() and not (kept[:, 3] & ~kept[:, 1]).any()
    assert torch.equal(kept[:, 1], labelled)
    assert torch.equal(kept[:, 3] & labelled, has_tag & labelled)


def test_requested_and_active_tasks(tagged):
    model = build(tagged, {})
    tag = "meaning.l1"
    assert requested_tasks(model, None) == list(TASKS)
    assert requested_tasks(model, [tag, "meaning"]) == ["meaning", tag]
    everything, untagged = ("surface", "meaning", tag), ("surface", "meaning")
    model.conditioning.trained = [everything, untagged]
    assert active_tasks(model, everything, "auto") == dict.fromkeys(untagged, everything)
    assert active_tasks(model, untagged, "auto") == dict.fromkeys(untagged, untagged)
    assert active_tasks(model, ["meaning", tag], "alone") == {"meaning": ("meaning", tag)}
    assert active_tasks(model, ["meaning"], f"{tag} surface") == {"meaning": ("surface", tag)}
    active = active_tasks(model, ["meaning"], {"meaning": [tag, "meaning"]})
    assert active == {"meaning": ("meaning", tag)}
    unknown = ["meaning", "meaning.l2"], "tag 'meaning.l2' was never trained"
    for names, named in (([tag], f"tag '{tag}' without its output"), unknown):
        with pytest.raises(UserError, match=named):
            requested_tasks(model, names)
    for wrong in ("alon", "meaning meaning.l2", ""):
        with pytest.raises(UserError, match="active outputs: '"):
            active_tasks(model, ["meaning"], wrong)
    with pytest.raises(UserError, match="as task vectors"):
        requested_tasks(build(tagged), ["meaning", tag])


def test_active_sets_with_tags():
    s, m, t = "s", "m", "m.t"
    assert active_sets([s, m, t], [(s, m), (m, t)]) == {s: (s, m), m: (m, t)}
    assert active_sets([m], [(s, m), (m, t)]) == {m: (s, m)}  # no tag is requested
    assert active_sets([m], [(m, t)]) == {m: (m, t)}  # never trained without
    assert active_sets([m, t], [(m,), (s, m), (s, m, t)]) == {
        m: (s, m, t)
    }  # never trained without s
    assert active_sets([m], [(m,), (m, t), (s, m, t)]) == {m: (m,)}
    assert active_sets([s, m, t], [(s, m)], "together") == dict.fromkeys((s, m), (s, m, t))
