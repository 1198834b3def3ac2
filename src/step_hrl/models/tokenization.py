"""Text to tokens: one encoding for training and acting, in which an utterance is one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from jinja2 import TemplateError

from step_hrl.errors import DataError, ModelError

PromptFormat = Literal["plain", "chat"]

# Replaces the function with which templates (Llama 3, SmolLM3) read the clock: a policy must not read another prompt on
# another day. The date is the one that Llama's template falls back to. The "+" keeps a line end that follows.
_FIXED_DATE = "{% macro strftime_now(format) %}26 Jul 2024{% endmacro +%}"


class LineTokenizer:
    """Encodes prompts and one-line utterances with a Hugging Face tokenizer.

    A decision is ``tokens(prompt) + tokens(" " + utterance) + line end``. Prompt and utterance are tokenized
    separately: no token spans the boundary, and a policy is trained on exactly the prompt tokens that it acts on.
    SentencePiece tokenizers that put a space before every text are given the utterance without one.

    A chat prompt is a function of the prompt alone: templates that can ask a model to think first are told not to, and
    those that show the date get a fixed one.

    Attributes:
        hf: The Hugging Face tokenizer.
        prompt_format: ``chat`` wraps each prompt as a user turn of the tokenizer's chat template, the only turn.
        line_end: Id of the token that ends an utterance.
        stops: Ids that end generation: every token that contains a line end, and the special tokens (those that end a
            turn are among them).
        pad: Id of padding. Masks are explicit everywhere, so it may be an ordinary token.
    """

    def __init__(self, hf: Any, prompt_format: PromptFormat = "plain") -> None:
        """Wrap a fast tokenizer.

        Raises :class:`~step_hrl.errors.ModelError` where it has no token for a line end or no usable chat template.
        """
        if prompt_format == "chat":
            _check_chat_template(hf)
        self.hf = hf
        self.prompt_format: PromptFormat = prompt_format
        self.line_end = _line_end(hf)
        self.stops = _stops(hf, self.line_end)
        self.pad: int = next((i for i in (hf.pad_token_id, hf.eos_token_id) if i is not None), self.line_end)
        self._prefix = _special_prefix(hf)
        self._space = "" if _adds_space(hf) else " "

    def encode_prompts(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt, for training and acting alike."""
        if not prompts:
            return []
        if self.prompt_format == "chat":
            return self.hf(_user_turns(self.hf, prompts), add_special_tokens=False).input_ids
        return [[*self._prefix, *ids] for ids in self.hf(list(prompts), add_special_tokens=False).input_ids]

    def encode_utterances(self, utterances: Sequence[str]) -> list[list[int]]:
        """Token ids of each utterance, line end included. Raises DataError for one of several lines."""
        for utterance in utterances:
            if "\n" in utterance:
                raise DataError("utterance", f"{utterance!r} has more than one line", "fold it into one line")
        if not utterances:
            return []
        texts = [f"{self._space}{utterance}" for utterance in utterances]
        return [[*ids, self.line_end] for ids in self.hf(texts, add_special_tokens=False).input_ids]

    def decode(self, ids: Sequence[int]) -> str:
        """The first line of text of generated ids, without its line end."""
        text: str = self.hf.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text.split("\n", 1)[0].strip()


def _name(hf: Any) -> str:
    return str(getattr(hf, "name_or_path", "") or "tokenizer")


def _user_turns(hf: Any, prompts: Sequence[str]) -> list[str]:
    template: str = hf.get_chat_template()
    if "strftime_now" in template:
        template = _FIXED_DATE + template
    turns = [[{"role": "user", "content": prompt}] for prompt in prompts]
    # A template that does not know a setting ignores it.
    return hf.apply_chat_template(
        turns, chat_template=template, tokenize=False, add_generation_prompt=True, enable_thinking=False
    )


def _check_chat_template(hf: Any) -> None:
    remedy = "set backbone.prompt_format=plain"
    if not getattr(hf, "chat_template", None):
        raise ModelError(_name(hf), "tokenizer has no chat template", remedy)
    try:
        _user_turns(hf, ["a"])
    except (TemplateError, ValueError, TypeError, LookupError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(_name(hf), f"chat template cannot be rendered ({reason})", remedy) from error


def _line_end(hf: Any) -> int:
    # SentencePiece tokenizers put a space before it, so only the last id is the line end.
    ids: list[int] = hf("\n", add_special_tokens=False).input_ids
    if not ids or hf.decode([ids[-1]]) != "\n":
        raise ModelError(_name(hf), "tokenizer has no token for a line end", "choose another backbone")
    return ids[-1]


def _stops(hf: Any, line_end: int) -> frozenset[int]:
    # Byte-level vocabularies write a line end as "Ċ", which is an ordinary letter in others.
    is_byte_level = "Ċ" in hf.convert_ids_to_tokens(line_end)
    newline_marks = ("\n", "Ċ") if is_byte_level else ("\n", "<0x0A>")
    vocabulary: dict[str, int] = hf.get_vocab()
    ends = {index for token, index in vocabulary.items() if any(mark in token for mark in newline_marks)}
    # The token that ends a turn is not always among ``all_special_ids``, which are those with a name.
    ends.update(index for index, token in hf.added_tokens_decoder.items() if token.special)
    return frozenset({*ends, *hf.all_special_ids, line_end})


def _adds_space(hf: Any) -> bool:
    """Whether the tokenizer puts a space before a text that has none."""
    ids: list[int] = hf("a", add_special_tokens=False).input_ids
    return str(hf.convert_ids_to_tokens(ids[0])).startswith(("▁", "Ġ"))


def _special_prefix(hf: Any) -> list[int]:
    """Special tokens that the tokenizer puts before a text, such as a beginning-of-text token."""
    plain: list[int] = hf("a", add_special_tokens=False).input_ids
    special: list[int] = hf("a", add_special_tokens=True).input_ids
    for start in range(len(special) - len(plain) + 1):
        if special[start : start + len(plain)] == plain:
            return special[:start]
    return []
