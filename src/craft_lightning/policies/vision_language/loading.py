"""Image-text-to-text models from a directory of ``save_pretrained``, from the texts of a checkpoint, or from a size."""

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from craft_lightning.errors import CraftError
from craft_lightning.policies.vision_language.actions import find_actions
from craft_lightning.policies.vision_language.architecture import check_decoder
from craft_lightning.policies.vision_language.tiny import TinySize, tiny_config, tiny_processor

_AGAIN = "give a directory that save_pretrained wrote whole, or fetch it again"
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
_TEXTS = (".json", ".jinja", ".txt")
_FIELD = "pretrained"
ACTIONS_FILE = "action_tokens.json"
"""Beside the model in a directory: action token -> the id whose rows are its own."""


def build_tiny(size: TinySize, actions: Sequence[str]) -> tuple[Any, Any]:
    """Return a small model with random weights, and its processor."""
    processor = tiny_processor(size, list(actions))
    return _from_config(tiny_config(size, processor.tokenizer)), processor


def build_from_texts(texts: Mapping[str, str]) -> tuple[Any, Any]:
    """Return a model with random weights, and its processor, from the texts that ``texts_of`` answered.

    Raises:
        CraftError: the texts are not those of a model.

    """
    with tempfile.TemporaryDirectory() as folder:
        for name, text in texts.items():
            if Path(name).name != name or Path(name).suffix not in _TEXTS:
                raise CraftError(f"model_files: {name!r} is no name of a model's text file; save the policy again")
            (Path(folder) / name).write_text(text)
        _refuse_code(Path(folder), "model_files")
        with _understood("model_files of the checkpoint are not those of a model; save the policy again"):
            from transformers import AutoConfig, AutoProcessor

            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            processor = AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            return _from_config(config), processor


def build_from_directory(path: str, actions: Sequence[str], add: bool = False) -> tuple[Any, Any]:
    """Return the model and processor that ``save_pretrained`` wrote into a directory; nothing in it is executed.

    Args:
        path: the directory.
        actions: action tokens that its tokenizer must have.
        add: give a tokenizer without any action token all of them, untrained.

    Raises:
        CraftError: no such directory, no model in it, a pickle, code of its own, weights that are truncated or
            missing, or a tokenizer that is not the model's, has not the action tokens or has them under other ids.

    """
    folder = Path(path).expanduser()
    if not (folder / "config.json").is_file():
        fault = "does not exist" if not folder.is_dir() else "holds no config.json"
        raise CraftError(f"{_FIELD}: the directory {folder} {fault}; give one that save_pretrained wrote")
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)
    if pickles:
        raise CraftError(
            f"{_FIELD}: {folder} holds {pickles[0]}, a pickle, which could run code; nothing was opened, save the "
            "model again with safetensors and remove it"
        )
    _refuse_code(folder, _FIELD)
    readable = "cannot be read as an image-text-to-text model"
    with _understood(f"{_FIELD}: tokenizer and processor of {folder} {readable}; {_AGAIN}"):
        from transformers import AutoModelForImageTextToText, AutoProcessor

        processor = AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    tokens = find_actions(_tokenizer(processor, folder), actions, str(folder), add)
    with without_bars(), _understood(f"{_FIELD}: config.json and weights of {folder} {readable}; {_AGAIN}"):
        # Any: with output_loading_info it answers a pair.
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    model, report = loaded
    lacking = sorted(report["missing_keys"])
    if lacking:
        raise CraftError(f"{_FIELD}: the weights in {folder} lack {lacking[0]} ({len(lacking)} in all); fetch it again")
    _check_words(model, processor, folder, 0 if not add else len(actions))
    _require_ids(folder, dict(zip(actions, tokens, strict=True)))
    check_decoder(model)
    return model, processor


def texts_of(model: Any, processor: Any) -> dict[str, str]:
    """Return the text files (configuration, tokenizer, processor) that rebuild both, without weights, by name."""
    with tempfile.TemporaryDirectory() as folder:
        model.config.save_pretrained(folder)
        processor.save_pretrained(folder)
        files = sorted(file for file in Path(folder).iterdir() if file.suffix in _TEXTS)
        return {file.name: file.read_text() for file in files}


def identity_of(processor: Any) -> torch.Tensor:
    """Return what prompts mean, as [32] uint8: a hash of the tokenizer's words and of the prompt's template."""
    words = json.dumps([sorted(processor.tokenizer.get_vocab().items()), processor.chat_template])
    return torch.frombuffer(bytearray(hashlib.sha256(words.encode()).digest()), dtype=torch.uint8).clone()


def write_action_ids(folder: Path, tokens: Mapping[str, int]) -> None:
    """Write the ids of the action tokens into a directory of ``save_pretrained``."""
    (folder / ACTIONS_FILE).write_text(json.dumps(dict(tokens), indent=1) + "\n")


def _require_ids(folder: Path, tokens: Mapping[str, int]) -> None:
    """Refuse a tokenizer that has the action tokens under other ids than those whose rows were trained."""
    file = folder / ACTIONS_FILE
    if not file.is_file():
        return
    kept = json.loads(file.read_text())
    if not isinstance(kept, dict):
        raise CraftError(f"{_FIELD}: {file} is no mapping of action tokens to ids; {_AGAIN}")
    for name, token in tokens.items():
        if kept.get(name, token) != token:
            raise CraftError(
                f"{_FIELD}: the tokenizer of {folder} writes {name} as token {token} and {ACTIONS_FILE} has "
                f"{kept[name]}, so its words mean other actions than the weights; put the tokenizer's files back as "
                "they were saved"
            )


def _from_config(config: Any) -> Any:
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_config(config).float()
    check_decoder(model)
    return model


def _tokenizer(processor: Any, folder: Path) -> Any:
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None or getattr(processor, "image_processor", None) is None:
        raise CraftError(f"{_FIELD}: {folder} has no processor of text and pictures; give a vision-language model")
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _check_words(model: Any, processor: Any, folder: Path, added: int) -> None:
    rows, words = model.get_input_embeddings().num_embeddings, len(processor.tokenizer) - added
    if words > rows:
        raise CraftError(
            f"{_FIELD}: the tokenizer of {folder} has {words} words and the model {rows}; it is another model's"
        )
    picture = getattr(processor, "image_token_id", None)
    if picture is None:
        picture = processor.tokenizer.convert_tokens_to_ids(processor.image_token)
    own = model.config.image_token_id
    if picture != own:
        raise CraftError(
            f"{_FIELD}: the tokenizer of {folder} writes a picture as token {picture} and the model reads {own}; it is "
            "another model's"
        )


def _refuse_code(folder: Path, field: str) -> None:
    for file in sorted(folder.glob("*.json")):
        try:
            content = json.loads(file.read_text())
        except ValueError as error:
            raise CraftError(f"{field}: {file.name} of {folder} is no JSON ({error}); fetch it again") from error
        if isinstance(content, dict) and "auto_map" in content:
            raise CraftError(
                f"{field}: {file.name} of {folder} asks for code of its own (auto_map), which is never run; use an "
                "architecture that transformers has"
            )


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """Keep transformers from drawing a progress bar for what takes a moment."""
    from transformers.utils import logging

    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()


@contextlib.contextmanager
def _understood(what: str) -> Iterator[None]:
    """Put our own sentence, ``what``, in front of whatever transformers says of files it cannot read."""
    from safetensors import SafetensorError

    try:
        yield
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RuntimeError,
        ImportError,
        SafetensorError,
    ) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CraftError(f"{what} (transformers says: {first})") from error
