"""Adapters of every kind that PEFT makes, for models of tests.tiny_architectures.

Every trained number is random, so that one that is forgotten shows.
"""

import json
import shutil
from pathlib import Path
from typing import Any

NEW_TOKENS = 3  # of a resized vocabulary
ATTENTION = {"gpt2": ["c_attn"], "gpt_neox": ["query_key_value"]}
EMBEDDINGS = {"gpt2": "wte", "gpt_neox": "embed_in"}
# What PEFT's LoraConfig is given; "attention", "embedding" and "output" become module names.
KINDS: dict[str, dict[str, Any]] = {
    "LoRA": {},
    "LoRA on attention": {"target_modules": "attention"},
    "LoRA in bfloat16, as QLoRA saves it": {},
    "rsLoRA": {"use_rslora": True},
    "DoRA": {"use_dora": True},
    "rank and alpha patterns": {
        "rank_pattern": {"1.*(q_proj|c_attn|query_key_value)": 6},
        "alpha_pattern": {"0.*(o_proj|c_proj|dense)": 3},
    },
    "PiSSA, converted when it was saved": {"init_lora_weights": "pissa"},
    "PiSSA, not converted": {"init_lora_weights": "pissa"},
    "all biases": {"bias": "all"},
    "biases of the targets": {"bias": "lora_only"},
    "LoRA with biases of its own": {"lora_bias": True, "target_modules": "attention"},
    "trained output layer": {"modules_to_save": ["output"]},
    "trained embedding": {"modules_to_save": ["embedding"]},
    "trained embedding and output layer": {"modules_to_save": ["embedding", "output"]},
    "trained tokens": {"trainable_token_indices": [1, 7, 280]},
    "new tokens": {},
    "new tokens, trained": {"trainable_token_indices": [7, 286, 288]},
    "control tokens of a template": {},
    "LoRA on the embedding": {"target_modules": ["attention", "embedding"]},
    "DoRA on the embedding": {"target_modules": ["attention", "embedding"], "use_dora": True},
    "LoRA on the output layer": {"target_modules": ["attention", "output"]},
    "LoRA on experts": {"target_parameters": ["experts.gate_up_proj", "experts.down_proj"]},
}

# Kinds whose vocabulary is larger than the base's.
GROWN = ("new tokens", "new tokens, trained", "control tokens of a template")


def _names(value: Any, architecture: str) -> Any:
    """Return the module names that *value* of KINDS stands for."""
    if isinstance(value, list):
        return [name for item in value for name in _names(item, architecture)]
    known = {
        "attention": ATTENTION.get(architecture, ["q_proj", "k_proj", "v_proj"]),
        "embedding": [EMBEDDINGS.get(architecture, "embed_tokens")],
        "output": ["lm_head"],
    }
    return known.get(value, [value])


def make_kind(kind: str, architecture: str, model: Path, folder: Path) -> Path:
    """Write an adapter of *kind* for *model* to *folder*, as PEFT saves it, and return it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    options = {"target_modules": "all-linear", **KINDS[kind]}
    if "target_parameters" in options:
        options["target_modules"] = "attention"
    if options["target_modules"] != "all-linear":
        options["target_modules"] = _names(options["target_modules"], architecture)
    if "modules_to_save" in options:
        options["modules_to_save"] = _names(options["modules_to_save"], architecture)
    torch.manual_seed(1)
    base = AutoModelForCausalLM.from_pretrained(model, dtype="auto")
    if kind in GROWN:
        rows = base.get_input_embeddings().weight.shape[0] + NEW_TOKENS
        base.resize_token_embeddings(rows, mean_resizing=False)
    if kind == "control tokens of a template":  # as training here saves them: no whole embedding
        first = rows - NEW_TOKENS
        layers = [EMBEDDINGS.get(architecture, "embed_tokens")]
        layers += [] if base.config.tie_word_embeddings else ["lm_head"]
        options["trainable_token_indices"] = {name: list(range(first, rows)) for name in layers}
    peft = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", **options))
    if "PiSSA" in kind:
        peft.save_pretrained(folder / "start")
    for parameter in peft.parameters():
        if parameter.requires_grad:
            parameter.data.add_(torch.randn_like(parameter) * 0.05)
    if "bfloat16" in kind:
        for parameter in peft.parameters():
            parameter.data = parameter.data.bfloat16()
    if kind == "PiSSA, converted when it was saved":
        peft.peft_config["default"].init_lora_weights = True
        start = folder / "start"
        peft.save_pretrained(folder, path_initial_model_for_weight_conversion=str(start))
    else:
        whole = False if kind == "control tokens of a template" else "auto"
        peft.save_pretrained(folder, save_embedding_layers=whole)
    shutil.rmtree(folder / "start", ignore_errors=True)
    _add_tokenizer(model, folder, grown=kind in GROWN)
    return folder


def _add_tokenizer(model: Path, folder: Path, *, grown: bool) -> None:
    """Put the tokenizer of *model* into *folder*, with the new tokens where there are some."""
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(model / name, folder / name)
    prompts = [[7, 30, 41, 5, 99, 120], [250, 3, 8, 280, 1], list(range(40, 90))]
    if grown:
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        first = 1 + max(
            *tokenizer["model"]["vocab"].values(), *(t["id"] for t in tokenizer["added_tokens"])
        )
        template = tokenizer["added_tokens"][-1]
        for number in range(first, first + NEW_TOKENS):
            new = {**template, "id": number, "content": f"<|new{number}|>"}
            tokenizer["added_tokens"].append(new)
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
        prompts.append(list(range(first, first + NEW_TOKENS)))
    (folder / "prompts.json").write_text(json.dumps(prompts))


def merge_by_peft(model: Path, adapter: Path, out: Path, *, dtype: str, untie: bool) -> Path:
    """Write PEFT's own merge to *out* and return it.

    Args:
        model: The base.
        adapter: The adapter.
        out: Where to write.
        dtype: In which PEFT adds; "auto" is that of the base.
        untie: Whether to part tied embeddings first, as PEFT asks for where LoRA targets them.
    """
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
    stored = next(iter(load_file(model / "model.safetensors").values())).dtype
    for name, tensor in load_file(adapter / "adapter_model.safetensors").items():
        wrapped = name.replace("base_layer.", "").replace("token_adapter.", "")
        if wrapped.endswith(("embed_tokens.weight", "wte.weight", "embed_in.weight")):
            base.resize_token_embeddings(tensor.shape[0], mean_resizing=False)
    indices = json.loads((adapter / "adapter_config.json").read_text())["trainable_token_indices"]
    for tokens in indices.values() if isinstance(indices, dict) else ():
        if max(tokens) >= base.get_input_embeddings().weight.shape[0]:
            base.resize_token_embeddings(max(tokens) + 1, mean_resizing=False)
    if untie:
        head = base.get_output_embeddings()
        head.weight = torch.nn.Parameter(head.weight.detach().clone())
        base.config.tie_word_embeddings = False
    merged = PeftModel.from_pretrained(base, adapter).merge_and_unload()
    merged.to(stored).save_pretrained(out)
    return out
