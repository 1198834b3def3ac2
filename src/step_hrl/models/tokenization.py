"""How text becomes tokens: one encoding for training and acting, where every utterance ends with its line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from step_hrl.errors import DataError, ModelError

PromptFormat = Literal["plain", "chat"]


class EncodedDecision(NamedTuple):
    """Token ids of a prompt and of the utterance that answers it, line end included."""

    prompt: list[int]
    utterance: list[int]


class LineTokenizer:
    """Encodes prompts and one-line utterances with a Hugging Face tokenizer.

    A decision is ``tokens(prompt) + tokens(" " + utterance) + line end``. Prompt and utterance are tokenized apart, so
    no token ever spans the boundary and a policy is trained on exactly the prompt tokens it reads when it acts.

    Attributes:
        hf: the Hugging Face tokenizer.
        prompt_format: ``chat`` wraps prompts by the tokenizer's chat template, as a user's turn.
        line_end: id of the token that ends an utterance.
        stops: ids whose generation ends an utterance: every token that holds a line end, and the end-of-text tokens.
        pad: id that fills rows. Masks are explicit everywhere, so it may be a token that also means something.
    """

    def __init__(self, hf: Any, prompt_format: PromptFormat = "plain") -> None:
        """Wrap a fast tokenizer. Raises :class:`~step_hrl.errors.ModelError` where it cannot serve."""
        if prompt_format == "chat" and not getattr(hf, "chat_template", None):
            raise ModelError(_name(hf), "tokenizer has no chat template", "set backbone.prompt_format=plain")
        self.hf = hf
        self.prompt_format: PromptFormat = prompt_format
        self.line_end = _line_end(hf)
        self.stops = _stops(hf, self.line_end)
        self.pad: int = next((i for i in (hf.pad_token_id, hf.eos_token_id) if i is not None), self.line_end)
        self._prefix = _special_prefix(hf)

    def encode_prompts(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt, as read at acting and at training alike."""
        if not prompts:
            return []
        if self.prompt_format == "chat":
            turns = [[{"role": "user", "content": prompt}] for prompt in prompts]
            texts = self.hf.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            return self.hf(texts, add_special_tokens=False).input_ids
        return [[*self._prefix, *ids] for ids in self.hf(list(prompts), add_special_tokens=False).input_ids]

    def encode_utterances(self, utterances: Sequence[str]) -> list[list[int]]:
        """Token ids of each utterance, line end included. Raises DataError for one that is not a line."""
        for utterance in utterances:
            if "\n" in utterance:
                raise DataError("utterance", f"{utterance!r} has more than one line", "fold it into one line")
        if not utterances:
            return []
        texts = [f" {utterance}" for utterance in utterances]
        return [[*ids, self.line_end] for ids in self.hf(texts, add_special_tokens=False).input_ids]

    def encode(self, prompt: str, utterance: str) -> EncodedDecision:
        """Token ids of one decision."""
        return EncodedDecision(self.encode_prompts([prompt])[0], self.encode_utterances([utterance])[0])

    def decode(self, ids: Sequence[int]) -> str:
        """The line of text that generated ids say, without its end."""
        text: str = self.hf.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text.split("\n", 1)[0].strip()


def _name(hf: Any) -> str:
    return str(getattr(hf, "name_or_path", "") or "tokenizer")


def _line_end(hf: Any) -> int:
    # SentencePiece tokenizers put a space mark before it, so only the last id is the line end itself.
    ids: list[int] = hf("\n", add_special_tokens=False).input_ids
    if not ids or hf.decode([ids[-1]]) != "\n":
        raise ModelError(_name(hf), "tokenizer has no token for a line end", "choose another backbone")
    return ids[-1]


def _stops(hf: Any, line_end: int) -> frozenset[int]:
    newline_marks = ("\n", "Ċ", "<0x0A>")
    vocabulary: dict[str, int] = hf.get_vocab()
    ends = {index for token, index in vocabulary.items() if any(mark in token for mark in newline_marks)}
    ends.update(hf.all_special_ids)
    return frozenset({*ends, line_end})


def _special_prefix(hf: Any) -> list[int]:
    """What the tokenizer itself puts before a text, such as a beginning-of-text token some models cannot do without."""
    plain: list[int] = hf("a", add_special_tokens=False).input_ids
    special: list[int] = hf("a", add_special_tokens=True).input_ids
    for start in range(len(special) - len(plain) + 1):
        if special[start : start + len(plain)] == plain:
            return special[:start]
    return []
