"""A tokenizer of words and a text encoder, tiny and random."""

import json
from pathlib import Path
from typing import Any


def word_tokenizer(vocab_size: int) -> Any:
    """Words to numbers by their place in a fixed list, unknown ones to <unk>."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<eos>", "<bos>", "<unk>", "a", "man", "woman", "in", "red", "blue", "shirt", "dress", "hat", "with", "and", "the"]
    vocab = {word: i for i, word in enumerate([*words, *(f"w{i}" for i in range(vocab_size - len(words)))])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", unk_token="<unk>", model_max_length=512
    )


def save_text_encoder(folder: Path, *, width: int, layers: int, max_tokens: int = 24) -> dict[str, object]:
    """A CLIP text encoder and a tokenizer of single letters, as arguments of a pipeline."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    letters = [chr(c) for c in range(33, 127)]
    vocab = {token: i for i, token in enumerate([*letters, *(c + "</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"])}
    files = folder / "letters"
    files.mkdir(parents=True, exist_ok=True)
    (files / "vocab.json").write_text(json.dumps(vocab))
    (files / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(files / "vocab.json"), str(files / "merges.txt"), model_max_length=max_tokens)
    config = CLIPTextConfig(
        vocab_size=len(vocab),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=max(width // 64, 2),
        max_position_embeddings=max_tokens,
        bos_token_id=vocab["<|startoftext|>"],
        eos_token_id=vocab["<|endoftext|>"],
        pad_token_id=vocab["<|endoftext|>"],
    )
    return {"tokenizer": tokenizer, "text_encoder": CLIPTextModel(config)}
