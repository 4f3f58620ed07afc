"""Tiny text encoders with their tokenizers, as transformers saves them."""

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

WORDS = ["a", "red", "blue", "tall", "chair", "ball", "puppy"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SMALL = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}


def bert(folder):
    """WordPiece between [CLS] and [SEP]; reads 16 tokens."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *(letter for letter in LETTERS if letter not in WORDS)]
    pieces += [f"##{letter}" for letter in LETTERS]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    config = transformers.BertConfig(vocab_size=len(pieces), max_position_embeddings=16, **SMALL)
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return _saved(folder, transformers.BertModel(config), tokenizer, names)


def clip(folder):
    """Byte-level BPE between its two ends; reads 16 tokens. The checkpoint also holds the encoder of images."""
    pieces = ["<start>", "<end>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    ends = [("<start>", 0), ("<end>", 1)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<start> $A <end>", special_tokens=ends)
    text = {**SMALL, "vocab_size": len(pieces), "max_position_embeddings": 16, "eos_token_id": 1, "bos_token_id": 0}
    config = transformers.CLIPConfig(
        text_config=text, vision_config={**SMALL, "image_size": 8, "patch_size": 4}, projection_dim=8
    )
    names = {"bos_token": "<start>", "eos_token": "<end>", "pad_token": "<end>"}
    return _saved(folder, transformers.CLIPModel(config), tokenizer, names)


def t5(folder):
    """Unigrams before an end; positions are relative, so it reads any number of tokens. The decoder is saved too."""
    pieces = ["<pad>", "</s>", "<unk>", *(f"▁{word}" for word in WORDS), "▁", *LETTERS]
    tokenizer = Tokenizer(models.Unigram([(piece, -float(i)) for i, piece in enumerate(pieces)], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0}
    config = transformers.T5Config(vocab_size=len(pieces), **sizes)
    names = {"unk_token": "<unk>", "pad_token": "<pad>", "eos_token": "</s>"}
    return _saved(folder, transformers.T5ForConditionalGeneration(config), tokenizer, names)


def _saved(folder, network, tokenizer, names):
    torch.manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    network.save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    return folder


ENCODERS = {"bert": bert, "clip": clip, "t5": t5}
