from __future__ import annotations

import pytest
from tests.tiny_model import tiny_backbone, transitions

from step_hrl.errors import DataError, ModelError
from step_hrl.models.tiny import create_tokenizer
from step_hrl.models.tokenization import LineTokenizer


@pytest.fixture(scope="module")
def tokenizer() -> LineTokenizer:
    return tiny_backbone().tokenizer


def test_training_and_acting_read_the_same_prompt_tokens(tokenizer: LineTokenizer) -> None:
    for transition in transitions(12):
        prompt = tokenizer.encode_prompts([transition.state])[0]
        utterance = tokenizer.encode_utterances([transition.utterance])[0]
        assert tokenizer.hf.decode([*prompt, *utterance]) == f"{transition.state} {transition.utterance}\n"


def test_an_utterance_ends_with_a_line_end_and_holds_no_other_stop(tokenizer: LineTokenizer) -> None:
    ids = tokenizer.encode_utterances(["go to the kitchen; True"])[0]
    assert ids[-1] == tokenizer.line_end
    assert not tokenizer.stops.intersection(ids[:-1])
    assert tokenizer.decode(ids) == "go to the kitchen; True"


def test_every_token_that_holds_a_line_end_stops(tokenizer: LineTokenizer) -> None:
    vocabulary = tokenizer.hf.get_vocab()
    assert vocabulary["ĊSubtask:"] in tokenizer.stops
    assert tokenizer.hf.eos_token_id in tokenizer.stops
    for token, index in vocabulary.items():
        if "\n" in tokenizer.hf.decode([index]):
            assert index in tokenizer.stops, token


def test_any_text_survives_the_byte_level_tokens(tokenizer: LineTokenizer) -> None:
    text = "naïve 水 \U0001f600 -12.5C ||"
    assert tokenizer.decode(tokenizer.encode_utterances([text])[0]) == text


def test_an_utterance_of_two_lines_is_refused(tokenizer: LineTokenizer) -> None:
    with pytest.raises(DataError, match="more than one line"):
        tokenizer.encode_utterances(["one\ntwo"])


def test_chat_wraps_the_prompt_as_a_users_turn() -> None:
    hf = create_tokenizer(["user assistant hello"], 300, 64)
    with pytest.raises(ModelError, match="prompt_format=plain"):
        LineTokenizer(hf, "chat")
    hf.chat_template = (
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[me]{% endif %}"
    )
    chat = LineTokenizer(hf, "chat")
    prompt = chat.encode_prompts(["hello"])[0]
    assert hf.decode(prompt) == "[user]hello[me]"
    assert prompt == chat.encode_prompts(["other", "hello"])[1]
    assert chat.decode(chat.encode_utterances(["yes"])[0]) == "yes"


def test_a_tokenizers_prefix_is_kept_and_its_suffix_is_not() -> None:
    from tokenizers import processors

    hf = create_tokenizer(["hello hello"], 300, 64)
    end = hf.eos_token
    hf.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{end} $A {end}", special_tokens=[(end, hf.eos_token_id)]
    )
    plain = hf("hello", add_special_tokens=False).input_ids
    assert LineTokenizer(hf).encode_prompts(["hello"]) == [[hf.eos_token_id, *plain]]


def test_the_same_texts_give_the_same_tokens() -> None:
    texts = [t.state for t in transitions(30)]
    first, second = (create_tokenizer(iter(texts), 320, 64).get_vocab() for _ in range(2))
    assert first == second
    assert len(first) <= 320
    with pytest.raises(ModelError, match="258"):
        create_tokenizer(texts, 100, 64)
