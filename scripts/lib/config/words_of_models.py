"""Words of other tools for models, adapters and rows, and what they are here."""

from scripts.lib.config.words import no, to

MODELS = (
    to(
        "models",
        "hub",
        "a repository, with its commit as `revision`; a local folder is `path`",
        trl="model_name_or_path model",
        llamafactory="model_name_or_path",
        axolotl="base_model",
        lighteval="model_name pretrained",
        lm_eval="model model_args pretrained",
    ),
    to(
        "models",
        "revision",
        "a full commit hash",
        trl="model_revision",
        llamafactory="model_revision",
        axolotl="revision_of_model",
        lighteval="revision",
    ),
    to(
        "models",
        "trust_remote_code",
        trl="trust_remote_code",
        llamafactory="trust_remote_code",
        axolotl="trust_remote_code",
        lighteval="trust_remote_code",
        lm_eval="trust_remote_code",
    ),
    to(
        "models",
        "template",
        "the tokenizer's own unless you name one; a name such as `llama3` is not needed",
        trl="chat_template_path chat_template",
        llamafactory="template",
        axolotl="chat_template chat_template_jinja",
        lighteval="override_chat_template",
    ),
    no(
        "models",
        "the tokenizer is the model's own, and it is saved with what is trained",
        trl="eos_token pad_token tokenizer_name_or_path",
        llamafactory="use_fast_tokenizer split_special_tokens resize_vocab tokenizer_name_or_path",
        axolotl="tokenizer_config tokenizer_type tokenizer_use_fast pad_token special_tokens",
        lighteval="tokenizer",
    ),
    no(
        "models",
        "tokens that a chat template needs and the tokenizer lacks are added, and their rows"
        " trained (docs/base_models.md)",
        peft="trainable_token_indices ensure_weight_tying",
        llamafactory="add_tokens add_special_tokens new_special_tokens_config",
        axolotl="tokens added_tokens_overrides peft_trainable_token_indices"
        " peft_ensure_weight_tying",
    ),
    no(
        "models",
        "the model is taken as its files say",
        trl="model_init_kwargs router_aux_loss_coef",
        llamafactory="rope_scaling moe_aux_loss_coef cache_dir",
        axolotl="rope_scaling base_model_config overrides_of_model_config type_of_model"
        " overrides_of_model_kwargs model_type",
    ),
)

ADAPTERS = (
    to(
        "runs",
        "lora",
        "null trains all weights (`full`); what `qlora` means is `quantization: nf4`",
        trl="use_peft",
        llamafactory="finetuning_type",
        axolotl="adapter",
    ),
    to("runs", "lora.r", peft="r", trl="lora_r", llamafactory="lora_rank", axolotl="lora_r"),
    to(
        "runs",
        "lora.alpha",
        trl="lora_alpha",
        peft="lora_alpha",
        llamafactory="lora_alpha",
        axolotl="lora_alpha",
    ),
    to(
        "runs",
        "lora.dropout",
        trl="lora_dropout",
        peft="lora_dropout",
        llamafactory="lora_dropout",
        axolotl="lora_dropout",
    ),
    to(
        "runs",
        "lora.target_modules",
        "a list of names; what is `all`, or `lora_target_linear: true`, is `all-linear`",
        trl="lora_target_modules",
        peft="target_modules",
        llamafactory="lora_target",
        axolotl="lora_target_modules lora_target_linear",
    ),
    to("runs", "lora.bias", peft="bias"),
    to(
        "runs",
        "lora.use_rslora",
        trl="use_rslora",
        peft="use_rslora",
        llamafactory="use_rslora",
        axolotl="peft_use_rslora",
    ),
    to(
        "runs",
        "lora.use_dora",
        trl="use_dora",
        peft="use_dora",
        llamafactory="use_dora",
        axolotl="peft_use_dora",
    ),
    to(
        "runs",
        "lora.init",
        "PEFT's words for the start of an adapter; `pissa_init: true` is `init: pissa`",
        peft="init_lora_weights",
        llamafactory="pissa_init",
        axolotl="peft_init_lora_weights",
    ),
    to(
        "runs",
        "quantization",
        "4 bits are `nf4`",
        trl="load_in_4bit bnb_4bit_quant_type bnb_4bit_quant_storage",
        llamafactory="quantization_bit quantization_method quantization_type",
        axolotl="load_in_4bit bnb_config_kwargs",
    ),
    to(
        "runs",
        "double_quantization",
        "true is the default",
        trl="use_bnb_nested_quant",
        llamafactory="double_quantization",
    ),
    no(
        "runs",
        "a base in 8 bits is not offered; `quantization: nf4` takes half of that",
        trl="load_in_8bit",
        axolotl="load_in_8bit",
    ),
    to(
        "runs",
        "merge",
        "true is the default; nothing has to be exported by a command of its own",
        llamafactory="export_dir export_size export_device",
        axolotl="merge_lora merge_method",
    ),
    no(
        "runs",
        "what is trained is a causal language model on conversations",
        trl="lora_task_type",
        peft="task_type inference_mode peft_type base_model_name_or_path",
        llamafactory="stage create_new_adapter ref_model reward_model pref_beta pref_loss"
        " media_dir",
        axolotl="rl rl_beta lora_fan_in_fan_out",
    ),
    no(
        "runs",
        "a part of the base is not trained by itself: `lora: null` trains all of it, and"
        " `lora.modules_to_save` whole modules beside an adapter",
        llamafactory="freeze_trainable_layers freeze_trainable_modules freeze_extra_modules",
        axolotl="unfrozen_parameters",
    ),
    to(
        "runs",
        "lora.modules_to_save",
        trl="lora_modules_to_save",
        peft="modules_to_save",
        llamafactory="additional_target",
        axolotl="lora_modules_to_save",
    ),
    to("runs", "lora.exclude_modules", peft="exclude_modules"),
    to(
        "runs",
        "lora.layers_to_transform",
        peft="layers_to_transform",
        axolotl="peft_layers_to_transform",
    ),
    to("runs", "lora.rank_pattern", peft="rank_pattern", axolotl="lora_rank_pattern"),
    to("runs", "lora.alpha_pattern", peft="alpha_pattern", axolotl="lora_alpha_pattern"),
    to("runs", "lora.eva_rho", "EVA itself is `init: eva`", peft="eva_config"),
    to(
        "runs",
        "lora.target_parameters",
        "for the experts of a mixture, which Transformers keeps fused",
        trl="lora_target_parameters",
        peft="target_parameters",
        axolotl="lora_target_parameters",
    ),
    no(
        "runs",
        "layers are told by their numbers in the one stack that a language model has; none is used"
        " twice, and how weights are stored is known",
        peft="layers_pattern layer_replication fan_in_fan_out",
        axolotl="peft_layers_pattern peft_layer_replication",
    ),
    to(
        "runs",
        "continue_from",
        "the name of a candidate that is an adapter; its folder or repository stands there",
        llamafactory="adapter_name_or_path adapter_folder",
        axolotl="lora_model_dir",
    ),
    no(
        "runs",
        "PEFT's other ways to start or extend LoRA are not offered",
        peft="megatron_config megatron_core loftq_config corda_config lora_ga_config"
        " velora_config alora_invocation_tokens use_qalora qalora_group_size monteclora_config"
        " runtime_config lora_bias use_bdlora arrow_config kasa_config",
        llamafactory="pissa_iter pissa_convert",
        axolotl="relora relora_steps jagged_restart_steps peft_autocast_adapter_dtype peft",
    ),
)

DATA = (
    to(
        "datasets",
        "path",
        "the files of the rows themselves, each dataset under a name of your choice that runs"
        " mention; for a repository `hub` and `revision`",
        trl="dataset_name train_file data_files",
        llamafactory="dataset dataset_dir",
        axolotl="data_files",
    ),
    to("datasets", "name", "the configuration on the hub", trl="dataset_config data_dir"),
    to(
        "datasets",
        "splits.train",
        trl="dataset_train_split split",
        axolotl="split",
    ),
    to(
        "datasets",
        "splits.valid",
        "a split on the hub; local files are `files: {train: ..., valid: ...}`",
        trl="dataset_test_split",
        llamafactory="eval_dataset",
        axolotl="test_datasets",
    ),
    to(
        "datasets",
        "valid_fraction",
        "a share of the rows, below 1; for a number of rows divide it by all",
        trl="test_split_size",
        llamafactory="val_size",
        axolotl="val_set_size",
    ),
    to(
        "datasets",
        "limit",
        "the first rows of each split",
        llamafactory="max_samples",
        axolotl="shards",
    ),
    to(
        "datasets",
        "format",
        "recognised by the columns when left out",
        trl="dataset_text_field",
        llamafactory="formatting",
        axolotl="type ds_type",
    ),
    to(
        "datasets",
        "columns",
        "which column holds what",
        axolotl="field field_human field_model field_messages field_system field_instruction"
        " field_input field_output field_tools message_property_mappings",
    ),
    to(
        "datasets",
        "tags",
        "what turns call their keys and speakers",
        axolotl="message_field_role message_field_content roles",
    ),
    to(
        "datasets",
        "system",
        llamafactory="default_system",
        axolotl="default_system_message system_prompt",
    ),
    to(
        "datasets",
        "template_arguments",
        "such as `{enable_thinking: false}`",
        llamafactory="enable_thinking preserve_thinking",
        axolotl="chat_template_kwargs",
    ),
    to(
        "runs",
        "train_on",
        "`assistant` by default; training on the prompt too is `all`, on the last answer alone"
        " `last_assistant`",
        trl="assistant_only_loss completion_only_loss",
        llamafactory="train_on_prompt mask_history",
        axolotl="train_on_inputs roles_to_train",
    ),
    to(
        "runs",
        "training.max_length_tokens",
        trl="max_length max_seq_length",
        llamafactory="cutoff_len model_max_length",
        axolotl="sequence_len eval_sequence_len",
        lighteval="max_length",
    ),
    to(
        "runs",
        "on_too_long",
        "`drop` or `truncate`",
        trl="truncation_mode",
        axolotl="excess_length_strategy",
    ),
    to(
        "runs",
        "training.packing",
        "no conversation sees another in the same sequence, so there is no other kind to choose",
        trl="packing packing_strategy padding_free eval_packing",
        llamafactory="packing neat_packing block_diag_attn",
        axolotl="sample_packing eval_sample_packing pad_to_sequence_len batch_flattening"
        " multipack_real_batches",
    ),
    no(
        "datasets",
        "rows are formatted and rendered once, and found again by their content",
        hf="remove_unused_columns dataloader_num_workers dataloader_pin_memory"
        " dataloader_persistent_workers dataloader_prefetch_factor dataloader_drop_last"
        " dataloader_multiprocessing_context dataloader_in_order label_names ignore_data_skip"
        " length_column_name",
        trl="dataset_kwargs dataset_num_proc dataset_streaming pad_to_multiple_of",
        llamafactory="overwrite_cache preprocessing_num_workers preprocessing_batch_size"
        " tokenized_path streaming buffer_size data_shared_file_system",
        axolotl="dataset_prepared_path dataset_processes dataset_num_proc dataset_keep_in_memory"
        " streaming skip_prepare_dataset pad_to_multiple_of shuffle_merged_datasets",
        lighteval="dataset_loading_processes",
    ),
    to(
        "runs",
        "dataset",
        "a mapping from datasets to weights, which are shares of the trained tokens",
        llamafactory="mix_strategy interleave_probs",
    ),
    no(
        "datasets",
        "rows are read in an order that `training.seed` decides",
        hf="train_sampling_strategy group_by_length",
        trl="shuffle_dataset",
        llamafactory="disable_shuffling",
        axolotl="group_by_length curriculum_sampling",
    ),
    no(
        "datasets",
        "the chat template writes calls of tools and the ends of turns",
        llamafactory="tool_format",
        axolotl="train_on_eos train_on_eot eot_tokens",
    ),
)
