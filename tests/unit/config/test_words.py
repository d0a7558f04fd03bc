"""Words of other tools: each is answered, wherever it stands, by a key that exists or a reason."""

import ast
import itertools
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from scripts.lib.config.load import ConfigFile, load_config
from scripts.lib.config.problems import entry_keys
from scripts.lib.config.task_strings import as_benchmarks
from scripts.lib.config.unknown_keys import TABLE, meanings
from tests.unit.config.test_config import HASH, VALID, changed, errors_of

MEANINGS = [meaning for table in TABLE.values() for meaning in table]
PLACES = {
    "models": ("models/smollm2",),
    "datasets": ("datasets/orders",),
    "runs": ("runs/gentle", "runs/gentle/training", "runs/gentle/lora"),
    "benchmarks": ("benchmarks/mmlu",),
    "tracking": ("tracking", "runs/gentle/training"),
}
OUR_KEYS = frozenset(entry_keys(ConfigFile.model_json_schema()))


def listed(words: str) -> list[str]:
    return words.split()


# The keys of LLaMA-Factory's examples llama3_lora_sft.yaml and llama3_lora_eval.yaml.
LLAMA_FACTORY = listed(
    "model_name_or_path trust_remote_code stage do_train finetuning_type lora_rank lora_target"
    " dataset template cutoff_len max_samples overwrite_cache preprocessing_num_workers"
    " dataloader_num_workers output_dir logging_steps save_steps plot_loss overwrite_output_dir"
    " save_only_model report_to per_device_train_batch_size gradient_accumulation_steps"
    " learning_rate num_train_epochs lr_scheduler_type warmup_ratio bf16 ddp_timeout"
    " resume_from_checkpoint eval_dataset val_size per_device_eval_batch_size eval_strategy"
    " eval_steps task lang n_shot save_dir batch_size"
)
# The arguments of SFTConfig, LoraConfig and lighteval in a course on fine-tuning.
COURSE = listed(
    "output_dir max_steps num_train_epochs per_device_train_batch_size gradient_accumulation_steps"
    " learning_rate warmup_ratio logging_steps save_steps eval_strategy eval_steps packing"
    " eval_packing max_seq_length r lora_alpha lora_dropout bias target_modules task_type"
    " init_lora_weights pretrained max_samples batch_size output_path save_generations"
)
# The keys of Axolotl's examples/llama-3/qlora.yml.
AXOLOTL = listed(
    "base_model hub_model_id load_in_8bit load_in_4bit dataset_prepared_path val_set_size"
    " output_dir adapter lora_model_dir sequence_len sample_packing lora_r lora_alpha lora_dropout"
    " lora_target_modules lora_target_linear wandb_project wandb_entity wandb_watch wandb_name"
    " wandb_log_model gradient_accumulation_steps micro_batch_size num_epochs optimizer"
    " lr_scheduler learning_rate bf16 tf32 gradient_checkpointing resume_from_checkpoint"
    " logging_steps flash_attention warmup_ratio evals_per_epoch saves_per_epoch weight_decay"
    " fsdp fsdp_config special_tokens train_on_inputs group_by_length deepspeed"
)
# Ways to train that there are elsewhere and not here, or not by a key.
ELSEWHERE = listed(
    "freeze_trainable_layers unfrozen_parameters relora_steps ref_model pref_beta rl media_dir"
    " cut_cross_entropy s2_attention loss_watchdog_threshold"
)
ISSUE = listed(
    "per_device_train_batch_size gradient_accumulation_steps cutoff_len lora_r lora_rank lora_alpha"
    " warmup_ratio logging_steps eval_strategy max_samples num_train_epochs micro_batch_size"
    " sequence_len sample_packing train_on_inputs val_size val_set_size finetuning_type"
    " quantization_bit load_in_4bit adapter template dataset_prepared_path save_steps report_to"
    " bf16 gradient_checkpointing flash_attn deepspeed fsdp neftune_noise_alpha loraplus_lr_ratio"
    " num_fewshot limit tasks batch_size apply_chat_template"
)


def is_ours(place: str, word: str) -> bool:
    section, *group = place.split("/")
    return (section, ".".join([*group[1:], word])) in OUR_KEYS


def test_the_table_holds_each_word_once_in_a_section():
    for one, other in itertools.combinations(MEANINGS, 2):
        if one.section == other.section:
            assert not {*one.all_words} & {*other.all_words}, (one, other)
    assert len({word for one in MEANINGS for word in one.all_words}) > 300


def test_every_key_that_is_named_exists():
    assert {(one.section, one.key) for one in MEANINGS if one.key} - OUR_KEYS == set()


def test_no_word_that_is_a_key_of_ours_is_said_to_have_none():
    ours = {(section, key.rpartition(".")[2]) for section, key in OUR_KEYS}
    said = {(one.section, word) for one in MEANINGS if not one.key for word in one.all_words}
    assert said & ours == set(), "tell its key in config/words_of_*.py, then make docs"


# What texts name beside keys: our values, and words of the tools themselves.
NAMED = listed(
    "nf4 bfloat16 float32 all assistant last_assistant drop truncate micro_batch publish qlora"
    " llama3 pissa_init lora_target_linear full best last stop"
)


def test_keys_and_pages_that_texts_name_exist():
    root = Path(__file__).parents[3]
    texts = " ".join(one.text for one in MEANINGS)
    assert {
        page for page in re.findall(r"[\w/]+\.md", texts) if not (root / page).is_file()
    } == set()
    keys = {part for _, key in OUR_KEYS for part in (key, key.rpartition(".")[2])}
    assert {*re.findall(r"`(\w+)(?:: [^`]*)?`", texts)} - keys == {*NAMED} - keys


@pytest.mark.parametrize(
    ("section", "place"),
    [(section, place) for section, places in PLACES.items() for place in ("", *places)],
)
def test_a_word_is_refused_with_our_key_or_the_reason_wherever_it_stands(section, place):
    asked = {
        f"{place}/{word}".lstrip("/"): meaning
        for meaning in MEANINGS
        if meaning.section == section
        for word in meaning.all_words
        if not is_ours(place, word) and (place or word not in ConfigFile.model_fields)
    }
    mapping = VALID
    for path in asked:
        mapping = changed(path, "x", mapping)
    lines = errors_of(mapping)
    for path, meaning in asked.items():
        (line,) = [line for line in lines if line.startswith(path.replace("/", ".") + ": ")]
        assert ": unknown key; " in line
        assert (f"{meaning.key}`" if meaning.key else meaning.text) in line
        assert meaning.text in line


def test_every_key_of_the_examples_that_people_start_from_is_answered():
    asked = {*LLAMA_FACTORY, *COURSE, *AXOLOTL, *ELSEWHERE, *ISSUE}
    assert {word for word in asked if not meanings(word)} == set()


def fields_of(module: str, *classes: str) -> set[str]:
    """Return the annotated fields of some classes of an installed module, which is not imported."""
    package, _, inner = module.partition(".")
    folder = Path(find_spec(package).origin).parent
    tree = ast.parse((folder / f"{inner.replace('.', '/')}.py").read_text())
    return {
        node.target.id
        for one in ast.walk(tree)
        if isinstance(one, ast.ClassDef) and one.name in classes
        for node in one.body
        if isinstance(node, ast.AnnAssign)
    }


HF = fields_of("transformers.training_args", "TrainingArguments")
SFT = fields_of("trl.trainer.sft_config", "SFTConfig")
SCRIPT = fields_of("trl.scripts.utils", "ScriptArguments", "DatasetConfig", "DatasetMixtureConfig")
MODEL = fields_of("trl.trainer.model_config", "ModelConfig")
LORA = fields_of("peft.tuners.lora.config", "LoraConfig")


def test_every_argument_of_the_installed_trl_and_peft_is_answered():
    assert {word for word in HF | SFT | MODEL | LORA if not meanings(word)} == set()


# Words that earlier versions had, or that belong to what calls them.
EARLIER = {
    "hf": "evaluation_strategy warmup_ratio overwrite_output_dir logging_dir group_by_length"
    " save_safetensors no_cuda",
    "trl": "model max_seq_length torch_dtype train_file chat_template tokenizer_name_or_path"
    " ddp_timeout",
    "peft": "task_type inference_mode peft_type base_model_name_or_path",
}


@pytest.mark.parametrize(
    ("tool", "fields"),
    [("hf", HF), ("trl", SFT | SCRIPT | MODEL), ("peft", LORA)],
    ids=["hf", "trl", "peft"],
)
def test_words_are_those_of_their_tools(tool, fields):
    told = {word for one in MEANINGS for word in one.words.get(tool, ())}
    assert told - fields == {*EARLIER[tool].split()} & told


def test_the_words_of_lm_eval_are_its_commands():
    source = (Path(find_spec("lm_eval").origin).parent / "_cli" / "run.py").read_text()
    told = {word for one in MEANINGS for word in one.words.get("lm_eval", ())}
    assert {word for word in told if f'"--{word}"' not in source} == {"pretrained"}


def test_a_word_in_a_sweep_is_answered_with_the_key_to_sweep():
    (line,) = errors_of(changed("runs/gentle/sweep", {"lora_rank": [8, 16]}))
    assert line == "runs.gentle.sweep.lora_rank: unknown key; write `lora.r`"


def test_a_word_means_what_it_does_where_it_stands():
    (line,) = errors_of(changed("benchmarks/mmlu/max_samples", 40))
    assert "`benchmarks.mmlu.limit`" in line and "datasets" not in line
    (line,) = errors_of(changed("max_samples", 40))
    assert "`benchmarks.<name>.limit`" in line and "`datasets.<name>.limit`" in line


def test_our_own_key_in_another_place_is_told_its_place():
    (line,) = errors_of(changed("runs/gentle/lora/turns", "each"))
    assert line.endswith("unknown key; write it as `runs.gentle.turns`")
    (line,) = errors_of(changed("on_verdict", "stop"))
    assert line.endswith("unknown key; write it as `runs.<name>.on_verdict`")


def test_a_key_of_a_section_without_names_is_told_where_it_stands():
    (line,) = errors_of(changed("runs/gentle/report_to", "none"))
    assert line.startswith("runs.gentle.report_to: unknown key; write `tracking.report_to`: ")


def test_a_model_of_no_known_form_is_told_what_its_words_mean():
    (line,) = errors_of(changed("models/x", {"model_name_or_path": "o/n"}))
    assert "'model_name_or_path': write `models.x.hub`" in line


TASKS = [
    (["mmlu|anatomy|0|0"], {"mmlu": {"shots": 0, "subjects": ("anatomy",)}}),
    (
        ["mmlu|anatomy|0|0", "mmlu|high_school_biology|0|0"],
        {"mmlu": {"shots": 0, "subjects": ("anatomy", "high_school_biology")}},
    ),
    (["leaderboard|mmlu:anatomy|5|0"], {"mmlu": {"shots": 5, "subjects": ("anatomy",)}}),
    (["mmlu:anatomy|5"], {"mmlu": {"shots": 5, "subjects": ("anatomy",)}}),
    (["mmlu"], {"mmlu": {"shots": 5, "subjects": None}}),
    (["lighteval|gsm8k|5|0"], {"gsm8k": {"shots": 5, "tasks": ("gsm8k",)}}),
    (["hellaswag"], {"hellaswag": {"shots": None, "tasks": ("hellaswag",)}}),
    (["bigbench:causal|0"], {"bigbench_causal": {"shots": 0, "tasks": ("bigbench_causal",)}}),
    (
        ["mmlu|anatomy|0|0", "mmlu|anatomy|5|0", "gsm8k|5"],
        {"mmlu_0_shots": {"shots": 0}, "mmlu_5_shots": {"shots": 5}, "gsm8k": {"shots": 5}},
    ),
]


@pytest.mark.parametrize(("names", "made"), TASKS, ids=lambda value: " ".join(value))
def test_the_benchmark_that_is_proposed_for_tasks_loads_and_asks_them(names, made):
    proposed = "\n".join(as_benchmarks(names)).replace("<commit hash>", HASH)
    loaded = load_config({**VALID, "benchmarks": yaml.safe_load(proposed)}).benchmarks
    assert {*loaded} == {*made}
    for name, values in made.items():
        assert loaded[name].model_dump(include={*values}) == values


@pytest.mark.parametrize(
    "benchmarks",
    [
        "mmlu|anatomy|0|0",
        ["mmlu|anatomy|0|0"],
        {"mmlu": "mmlu|anatomy|0|0"},
        {"mmlu|anatomy|0|0": None},
        {"mmlu|anatomy|0|0": {}},
        {"knowledge": {"kind": "lm_eval", "tasks": ["mmlu|anatomy|0|0"]}},
    ],
    ids=["text", "list", "entry", "name", "name of nothing", "task"],
)
def test_tasks_as_other_tools_name_them_are_refused_with_the_benchmark_to_write(benchmarks):
    lines = errors_of({**VALID, "benchmarks": benchmarks})
    proposed = "mmlu: {kind: mmlu, hub: cais/mmlu, revision: <commit hash>, shots: 0"
    assert any(f"write {proposed}, subjects: [anatomy]}}" in line for line in lines), lines


def test_tasks_on_a_line_of_their_own_are_shown_as_benchmarks():
    (line,) = errors_of(changed("tasks", "gsm8k,hellaswag"))
    assert "write tasks: {kind: lm_eval, tasks: [gsm8k, hellaswag]}" in line


def test_a_list_in_place_of_names_is_told_to_name_each():
    lines = errors_of({**VALID, "datasets": [{"path": "orders.jsonl"}]})
    assert any("datasets: " in line and "{NAME: ...}" in line for line in lines)
