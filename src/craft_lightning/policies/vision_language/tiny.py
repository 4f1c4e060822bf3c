"""Small image-text-to-text models with processor and tokenizer, made from a configuration: no files, no download."""

import dataclasses
from typing import Any

from craft_lightning.errors import CraftError
from craft_lightning.policies.vision_language.prompts import corpus

ARCHITECTURES = ("smolvlm", "idefics3", "internvl", "qwen2_5_vl", "qwen3_vl")
"""Architectures that a small model can be made of; any other comes from a directory."""

_COMMON = ("<pad>", "<bos>", "<eos>")
_SPECIAL = {
    "smolvlm": ("<image>", "<video>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"),
    "idefics3": ("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"),
    "internvl": ("<IMG_CONTEXT>", "<img>", "</img>", "<video>"),
    "qwen2_5_vl": ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"),
    "qwen3_vl": ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"),
}
_PICTURE = {
    "smolvlm": "<image>",
    "idefics3": "<image>",
    "internvl": "<IMG_CONTEXT>",
    "qwen2_5_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "qwen3_vl": "<|vision_start|><|image_pad|><|vision_end|>",
}


@dataclasses.dataclass(frozen=True)
class TinySize:
    """How large a small model is.

    Args:
        architecture: one of ``ARCHITECTURES``.
        width: features of the language model, a multiple of 32.
        layers: layers of the language model.
        vision_width: features of the vision tower, a multiple of 32.
        vision_layers: layers of the vision tower.
        patch: pixels a side of a patch of the picture.
        shuffle: patches a side that become one token of the language model.
        picture: pixels a side of the picture.
        words: entries of the tokenizer before the action tokens.
        dropout: attention dropout in pre-training.

    """

    architecture: str = "smolvlm"
    width: int = 128
    layers: int = 3
    vision_width: int = 96
    vision_layers: int = 3
    patch: int = 12
    shuffle: int = 2
    picture: int = 96
    words: int = 480
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise CraftError(
                f"architecture is {self.architecture!r}; a small model can be {', '.join(ARCHITECTURES)}, and any "
                "other architecture comes from a directory (field pretrained)"
            )
        if self.picture % (self.patch * self.shuffle):
            raise CraftError(
                f"patch={self.patch} and shuffle={self.shuffle} do not tile a picture of {self.picture} pixels; "
                "their product must divide it"
            )
        if self.architecture == "internvl" and self.shuffle & (self.shuffle - 1):
            # Its configuration holds the inverse, and only that of a power of two is exact.
            raise CraftError(f"shuffle is {self.shuffle}; internvl takes 1, 2 or 4")
        for name in ("width", "vision_width"):
            if getattr(self, name) % 32:
                raise CraftError(f"{name} is {getattr(self, name)}; give a multiple of 32, the size of a head")

    @property
    def picture_tokens(self) -> int:
        """Tokens of the language model that the picture becomes."""
        return (self.picture // (self.patch * self.shuffle)) ** 2


def tiny_tokenizer(size: TinySize, action_tokens: list[str]) -> Any:
    """Return a byte-level BPE tokenizer trained on the driving prompts, action tokens included as whole tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = [*_COMMON, *_SPECIAL[size.architecture]]
    trainer = trainers.BpeTrainer(
        vocab_size=size.words,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(corpus(), trainer)
    core.add_special_tokens(action_tokens)
    named = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>"}
    extra: dict[str, Any] = {}
    if size.architecture == "internvl":
        # The processor reads these names, and a reload fails without them.
        extra["extra_special_tokens"] = {
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        }
    return PreTrainedTokenizerFast(tokenizer_object=core, padding_side="left", **named, **extra)


def tiny_processor(size: TinySize, action_tokens: list[str]) -> Any:
    """Return the processor (pictures, text, prompt template) of a small model."""
    import transformers

    hf: Any = transformers  # its constructors take more than their annotations say
    tokenizer = tiny_tokenizer(size, action_tokens)
    template = (
        "{{ bos_token }}{% for message in messages %}{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}" + _PICTURE[size.architecture] + "{% else %}{{ part['text'] }}{% endif %}"
        "{% endfor %}{% endfor %}{% if add_generation_prompt %} plan{% endif %}"
    )
    plain: dict[str, Any] = {"do_rescale": True, "do_normalize": True, "image_mean": [0.2] * 3, "image_std": [0.3] * 3}
    square = {"height": size.picture, "width": size.picture}
    if size.architecture in ("smolvlm", "idefics3"):
        pictures: dict[str, Any] = {"do_resize": False, "do_image_splitting": False, "do_pad": False, **plain}
        pictures |= {"max_image_size": {"longest_edge": size.picture}, "size": {"longest_edge": size.picture}}
        if size.architecture == "idefics3":
            return hf.Idefics3Processor(
                hf.Idefics3ImageProcessor(**pictures), tokenizer, size.picture_tokens, chat_template=template
            )
        video = hf.SmolVLMVideoProcessor(size={"longest_edge": size.picture})
        return hf.SmolVLMProcessor(
            hf.SmolVLMImageProcessor(**pictures), tokenizer, video, size.picture_tokens, chat_template=template
        )
    if size.architecture == "internvl":
        pictures = {"do_resize": False, "crop_to_patches": False, "size": square, **plain}
        return hf.InternVLProcessor(
            hf.GotOcr2ImageProcessor(**pictures),
            tokenizer,
            hf.InternVLVideoProcessor(size=square),
            size.picture_tokens,
            chat_template=template,
        )
    pixels = size.picture**2
    pictures = {"patch_size": size.patch, "merge_size": size.shuffle, "temporal_patch_size": 2, **plain}
    pictures |= {"do_resize": False, "size": {"shortest_edge": pixels, "longest_edge": pixels}}
    video_class, processor = (
        (hf.Qwen2VLVideoProcessor, hf.Qwen2_5_VLProcessor)
        if size.architecture == "qwen2_5_vl"
        else (hf.Qwen3VLVideoProcessor, hf.Qwen3VLProcessor)
    )
    video = video_class(patch_size=size.patch, merge_size=size.shuffle)
    return processor(hf.Qwen2VLImageProcessor(**pictures), tokenizer, video, chat_template=template)


def tiny_config(size: TinySize, tokenizer: Any) -> Any:
    """Return the model's configuration for a tokenizer."""
    import transformers

    hf: Any = transformers  # its constructors take more than their annotations say

    def word(token: str) -> int:
        return int(tokenizer.convert_tokens_to_ids(token))

    heads = size.width // 32
    text: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": size.width,
        "intermediate_size": 2 * size.width,
        "num_hidden_layers": size.layers,
        "num_attention_heads": heads,
        "num_key_value_heads": max(1, heads // 2),
        "head_dim": 32,
        "max_position_embeddings": 1024,
        "attention_dropout": size.dropout,
        "pad_token_id": word("<pad>"),
        "bos_token_id": word("<bos>"),
        "eos_token_id": word("<eos>"),
    }
    vision: dict[str, Any] = {
        "hidden_size": size.vision_width,
        "intermediate_size": 2 * size.vision_width,
        "num_hidden_layers": size.vision_layers,
        "num_attention_heads": size.vision_width // 32,
        "image_size": size.picture,
        "patch_size": size.patch,
        "attention_dropout": size.dropout,
    }
    if size.architecture in ("smolvlm", "idefics3"):
        config = hf.SmolVLMConfig if size.architecture == "smolvlm" else hf.Idefics3Config
        return config(
            text_config={"model_type": "llama", **text},
            vision_config=vision,
            scale_factor=size.shuffle,
            image_token_id=word("<image>"),
            pad_token_id=word("<pad>"),
            tie_word_embeddings=True,
        )
    if size.architecture == "internvl":
        side = [size.picture, size.picture]
        return hf.InternVLConfig(
            text_config={"model_type": "qwen2", **text},
            vision_config={**vision, "image_size": side, "patch_size": [size.patch] * 2},
            downsample_ratio=1.0 / size.shuffle,
            image_seq_length=size.picture_tokens,
            image_token_id=word("<IMG_CONTEXT>"),
            tie_word_embeddings=True,
        )
    images = {
        "image_token_id": word("<|image_pad|>"),
        "video_token_id": word("<|video_pad|>"),
        "vision_start_token_id": word("<|vision_start|>"),
        "vision_end_token_id": word("<|vision_end|>"),
    }
    depth = {
        "depth": size.vision_layers,
        "hidden_size": size.vision_width,
        "intermediate_size": 2 * size.vision_width,
        "num_heads": size.vision_width // 32,
        "out_hidden_size": size.width,
        "patch_size": size.patch,
        "spatial_merge_size": size.shuffle,
        "temporal_patch_size": 2,
    }
    if size.architecture == "qwen2_5_vl":
        rope = {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 1e6}
        return hf.Qwen2_5_VLConfig(
            text_config={**text, "rope_parameters": rope},
            vision_config={**depth, "fullatt_block_indexes": [size.vision_layers - 1], "window_size": size.picture},
            tie_word_embeddings=False,
            **images,
        )
    rope = {"rope_type": "default", "mrope_section": [6, 5, 5], "mrope_interleaved": True, "rope_theta": 1e6}
    grid = (size.picture // size.patch) ** 2
    return hf.Qwen3VLConfig(
        text_config={**text, "rope_parameters": rope},
        vision_config={**depth, "deepstack_visual_indexes": [0], "num_position_embeddings": grid},
        tie_word_embeddings=False,
        **images,
    )
