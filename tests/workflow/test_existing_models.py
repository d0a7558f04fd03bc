"""Models that exist already, from a config of ten lines to the report, by real programs."""

import json
from pathlib import Path

import pytest

from tests.programs import make_all
from tests.tiny_model import CHATML, make_tiny_model
from tests.workspace import write_rows

CHECKPOINT = """\
models:
  base: {path: base}
candidates:
  mine: {model: sft, base: base}
benchmarks:
  say:
    kind: exact_match
    path: questions.jsonl
    max_new_tokens: 4
"""

ADAPTER = CHECKPOINT.replace("mine: {model: sft,", "theirs: {adapter: adapter,")


def made(folder: Path, config: str) -> dict:
    """Return the comparison that a config leads to."""
    (folder / "config").mkdir(parents=True, exist_ok=True)
    (folder / "config/config.yaml").write_text(config)
    questions = [{"prompt": f"Say {word}.", "answer": word} for word in ("red", "blue", "pink")]
    write_rows(folder / "questions.jsonl", questions)
    make_all(folder)
    (comparison,) = folder.glob("results/comparisons/*/comparison.json")
    return json.loads(comparison.read_text())


def page(folder: Path) -> str:
    (report,) = folder.glob("results/reports/*/index.html")
    return report.read_text()


def fine_tuned(folder: Path, base: Path, *, template: str | None = None) -> Path:
    """Write what a full fine-tune elsewhere may leave: other weights, its own template."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base)
    for name, weight in model.named_parameters():
        if "self_attn" in name:
            weight.data += 0.25
    tokenizer = AutoTokenizer.from_pretrained(base)
    if template:
        tokenizer.chat_template = template
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_finished_checkpoint_is_compared_with_its_base_from_ten_lines(tmp_path):
    assert len(CHECKPOINT.splitlines()) <= 10
    fine_tuned(tmp_path / "sft", make_tiny_model(tmp_path / "base"))
    found = made(tmp_path, CHECKPOINT)
    kinds = [(c["name"], c["kind"], c["base"], c["unmerged"]) for c in found["candidates"]]
    assert kinds == [("base", "base", None, False), ("mine", "checkpoint", "base", False)]
    assert found["benchmarks"]["say"]["differences"]["mine"]["Average"]["n"] == 3
    assert "checkpoint against base" in page(tmp_path)
    assert "the same architecture (llama), the same vocabulary" in page(tmp_path)


def lora_adapter(folder: Path, base: Path, *, pickled: bool = False, **config) -> Path:
    """Write what PEFT itself saves of a trained adapter, without a tokenizer."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    shape = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    model = AutoModelForCausalLM.from_pretrained(base)
    tuned = get_peft_model(model, LoraConfig(**shape | config))
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    tuned.save_pretrained(folder, safe_serialization=not pickled)
    return folder


@pytest.mark.parametrize("pickled", [False, True])
def test_an_adapter_that_peft_saved_is_merged_proved_and_compared_from_ten_lines(tmp_path, pickled):
    assert len(ADAPTER.splitlines()) <= 10
    lora_adapter(tmp_path / "adapter", make_tiny_model(tmp_path / "base"), pickled=pickled)
    found = made(tmp_path, ADAPTER)
    kinds = [(c["name"], c["kind"], c["base"], c["unmerged"]) for c in found["candidates"]]
    assert kinds == [("base", "base", None, False), ("theirs", "adapter", "base", False)]
    (proof,) = tmp_path.glob("results/proofs/*/proof.json")
    proof = json.loads(proof.read_text())
    assert proof["passed"]
    assert proof["numbers"]["positions"] > 50
    assert proof["numbers"]["base_max_logit_diff"] > 0
    assert "adapter on base" in page(tmp_path)
    assert "a LoRA adapter of rank 4, alpha 8; tokenizer: its base, chat template" in page(tmp_path)
    (card,) = tmp_path.glob("results/merged/*/README.md")
    assert "It was trained elsewhere" in card.read_text()


SIDE_BY_SIDE = """\
models:
  base: {path: base}
datasets:
  say: {path: rows.jsonl, valid_fraction: 0.3}
candidates:
  mine: {model: sft, base: base}
  theirs: {adapter: adapter, base: base, merge: false}
  others: {adapter: pickled, base: base, merge: false}
  both: {combine: {theirs: 0.5, others: 0.5}}
runs:
  further:
    model: base
    dataset: say
    continue_from: theirs
    training:
      {learning_rate: 1.0e-2, batch_size: 4, packing: false, warmup_ratio: 0, dtype: float32}
benchmarks:
  say: {kind: exact_match, path: questions.jsonl, max_new_tokens: 4}
  domain: {kind: held_out, dataset: say, split: valid, max_new_tokens: 4}
"""


def test_all_kinds_stand_side_by_side_and_a_run_goes_on_from_an_adapter(tmp_path):
    base = make_tiny_model(tmp_path / "base")
    fine_tuned(tmp_path / "sft", base, template=CHATML.replace("<|im_end|>", "<|im_end|> "))
    lora_adapter(tmp_path / "adapter", base)
    lora_adapter(tmp_path / "pickled", base, pickled=True, r=2)
    rows = [{"prompt": f"Say {n}.", "completion": "A B C"[: n % 5 + 1]} for n in range(40)]
    write_rows(tmp_path / "rows.jsonl", rows)
    found = made(tmp_path, SIDE_BY_SIDE)
    kinds = {c["name"]: (c["kind"], c["unmerged"]) for c in found["candidates"]}
    assert kinds == {
        "base": ("base", False),
        "mine": ("checkpoint", False),
        "theirs": ("adapter", True),
        "others": ("adapter", True),
        "both": ("combination", False),
        "further": ("run", False),
    }
    for part in (found["benchmarks"]["say"], found["held_out"]["domain"]):
        assert set(part["differences"]) == set(kinds) - {"base"}
        notes = [note["text"] for note in part["notes"] if note["code"] == "prompts_differ"]
        assert len(notes) == 1, "only the checkpoint has another template"
        assert notes[0].startswith("mine and its base base were each asked through a chat template")
        assert "prompts_differ_between_bases" not in [note["code"] for note in part["notes"]]
    (manifest,) = tmp_path.glob("results/adapters/*.json")
    manifest = json.loads(manifest.read_text())
    assert (manifest["spec"]["lora"], manifest["facts"]["lora"]["r"]) == ({}, 4)
    assert len(manifest["inputs"]["start"]) == 1
    cards = [card.read_text() for card in tmp_path.glob("results/merged/*/README.md")]
    assert [card.count("It went on from an adapter: local files") for card in cards].count(1) == 1
