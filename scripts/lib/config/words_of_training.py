"""Words of other tools for training, logs, machines and benchmarks, and what they are here."""

from scripts.lib.config.words import no, to

LOOP = (
    to(
        "runs",
        "training.epochs",
        hf="num_train_epochs",
        axolotl="num_epochs",
    ),
    to("runs", "training.max_steps", hf="max_steps", axolotl="max_steps"),
    to(
        "runs",
        "training.batch_size",
        "the sequences of one optimiser step over all devices: size on a device x accumulation x"
        " devices. How many go through at once is chosen, or the profile's `micro_batch`",
        hf="per_device_train_batch_size gradient_accumulation_steps auto_find_batch_size",
        axolotl="micro_batch_size gradient_accumulation_steps batch_size",
    ),
    no(
        "runs",
        "held-out rows are measured as many at once as training takes; the figure is the same",
        hf="per_device_eval_batch_size eval_accumulation_steps prediction_loss_only"
        " batch_eval_metrics eval_do_concat_batches eval_use_gather_object bf16_full_eval"
        " fp16_full_eval include_for_metrics",
        axolotl="eval_batch_size",
    ),
    to(
        "runs",
        "training.learning_rate",
        hf="learning_rate",
        axolotl="learning_rate",
    ),
    to(
        "runs",
        "training.scheduler",
        hf="lr_scheduler_type",
        axolotl="lr_scheduler",
    ),
    to(
        "runs",
        "training.lr_scheduler_kwargs",
        "by transformers' names, such as `{min_lr_rate: 0.1}`",
        hf="lr_scheduler_kwargs",
        axolotl="lr_scheduler_kwargs cosine_min_lr_ratio",
    ),
    to(
        "runs",
        "training.warmup_ratio",
        "a share of all steps",
        hf="warmup_ratio",
        axolotl="warmup_ratio",
    ),
    to(
        "runs",
        "training.warmup_steps",
        "a number of steps; a share of them is `warmup_ratio`",
        hf="warmup_steps",
        axolotl="warmup_steps",
    ),
    to(
        "runs",
        "training.optim",
        "by the names of transformers",
        hf="optim",
        llamafactory="use_galore use_apollo use_badam use_adam_mini use_muon",
        axolotl="optimizer",
    ),
    to(
        "runs",
        "training.optim_args",
        "what an optimizer has no key of its own for",
        hf="optim_args",
        axolotl="optim_args",
    ),
    to("runs", "training.adam_beta1", hf="adam_beta1", axolotl="adam_beta1"),
    to("runs", "training.adam_beta2", hf="adam_beta2", axolotl="adam_beta2"),
    to("runs", "training.adam_epsilon", hf="adam_epsilon", axolotl="adam_epsilon"),
    to(
        "runs",
        "training.weight_decay",
        hf="weight_decay",
        axolotl="weight_decay",
    ),
    to(
        "runs",
        "training.max_grad_norm",
        hf="max_grad_norm",
        axolotl="max_grad_norm",
    ),
    to(
        "runs",
        "training.seed",
        "of the adapter, the order of rows and dropout",
        hf="seed data_seed full_determinism",
        axolotl="seed",
    ),
    to(
        "runs",
        "training.dtype",
        "`bfloat16` or `float32`; what scoring computes in is the `dtype` of a benchmark",
        hf="bf16 fp16 tf32",
        trl="dtype torch_dtype",
        llamafactory="pure_bf16 compute_dtype upcast_layernorm upcast_lmhead_output",
        axolotl="bf16 fp16 bfloat16 float16 float32 tf32",
    ),
    to(
        "runs",
        "training.eval_every_steps",
        "once an epoch when left out, and before the first step in any case",
        hf="eval_strategy evaluation_strategy eval_steps do_eval eval_on_start eval_delay",
        axolotl="eval_strategy evaluation_strategy eval_steps evals_per_epoch",
    ),
    to(
        "runs",
        "training.early_stopping_patience",
        "so many measurements without a lower held-out loss; the best weights are then kept",
        llamafactory="early_stopping_steps",
        axolotl="early_stopping_patience",
    ),
    to(
        "runs",
        "training.keep",
        "`best` or `last`",
        hf="load_best_model_at_end",
        axolotl="load_best_model_at_end",
    ),
    to(
        "runs",
        "training.best_by",
        "which held-out rows; what counts is always their loss, and lower is better",
        hf="metric_for_best_model greater_is_better",
        axolotl="metric_for_best_model greater_is_better",
    ),
    to(
        "runs",
        "evaluate_on",
        "held-out rows of other datasets beside the run's own",
        llamafactory="eval_on_each_dataset",
    ),
    no(
        "runs",
        "optimizers of low rank are not offered, and every trained weight has the same one",
        hf="optim_target_modules",
        axolotl="optim_target_modules lr_groups",
    ),
    to(
        "runs",
        "training.loraplus_lr_ratio",
        llamafactory="loraplus_lr_ratio",
        axolotl="loraplus_lr_ratio",
    ),
    to(
        "runs",
        "training.loraplus_lr_embedding",
        llamafactory="loraplus_lr_embedding",
        axolotl="loraplus_lr_embedding",
    ),
    to(
        "runs",
        "training.neftune_noise_alpha",
        hf="neftune_noise_alpha",
        axolotl="neftune_noise_alpha noisy_embedding_alpha",
    ),
    to(
        "runs",
        "training.label_smoothing_factor",
        hf="label_smoothing_factor",
        axolotl="label_smoothing_factor",
    ),
    no(
        "runs",
        "the loss is the mean negative log-likelihood of the trained tokens of a step",
        hf="average_tokens_across_devices",
        trl="loss_type",
        llamafactory="ignore_pad_token_for_loss use_dft_loss use_asft_loss use_eaft_loss",
        axolotl="use_eaft chunked_cross_entropy",
    ),
)

LOGS = (
    no(
        "runs",
        "every step is logged, and the report draws the curves",
        hf="logging_strategy logging_steps logging_first_step logging_nan_inf_filter log_level"
        " log_level_replica log_on_each_node disable_tqdm include_num_input_tokens_seen debug"
        " skip_memory_metrics",
        llamafactory="plot_loss compute_accuracy include_effective_tokens_per_second"
        " print_param_status",
        axolotl="logging_steps include_tokens_per_second",
    ),
    to(
        "runs",
        "on_verdict",
        "`stop` merges nothing whose loss diverged; one that is no number ends a training anyway",
        axolotl="loss_watchdog_threshold loss_watchdog_patience",
    ),
    to(
        "tracking",
        "report_to",
        "a list of names, such as `[tensorboard, wandb]`; servers and keys are told by their"
        " own variables (docs/training.md)",
        hf="report_to",
        llamafactory="use_swanlab",
        axolotl="use_wandb use_tensorboard use_mlflow use_comet use_trackio wandb_mode",
        lighteval="wandb push_to_tensorboard",
        lm_eval="wandb_args wandb_config_args trackio_args",
    ),
    to(
        "tracking",
        "project",
        hf="project",
        llamafactory="swanlab_project",
        axolotl="wandb_project mlflow_experiment_name comet_project_name trackio_project_name",
    ),
    to("tracking", "folder", hf="logging_dir", llamafactory="swanlab_logdir"),
    no(
        "tracking",
        "a tracker knows a run by its name, and is told the rest by its own variables",
        hf="run_name trackio_space_id trackio_bucket_id trackio_static_space_id",
        llamafactory="swanlab_run_name swanlab_mode swanlab_workspace",
        axolotl="wandb_entity wandb_name wandb_run_id wandb_watch wandb_log_model"
        " mlflow_tracking_uri mlflow_run_name trackio_run_name",
    ),
    no(
        "runs",
        "checkpoints come by the clock, every five minutes, and when a job is told to end",
        hf="save_strategy save_steps save_total_limit save_only_model save_on_each_node"
        " enable_jit_checkpoint save_safetensors",
        axolotl="save_strategy save_steps saves_per_epoch save_total_limit save_only_model"
        " save_first_step save_safetensors",
    ),
    no(
        "runs",
        "a run that was stopped goes on from its last checkpoint by itself; another setting is"
        " another artifact, so nothing is overwritten",
        hf="resume_from_checkpoint restore_callback_states_from_checkpoint overwrite_output_dir",
        llamafactory="overwrite_output_dir",
        axolotl="resume_from_checkpoint auto_resume_from_checkpoints",
    ),
    no(
        "runs",
        "places follow from names and content: results/runs/<run>/, results/report/",
        hf="output_dir",
        llamafactory="save_dir",
        axolotl="output_dir",
        lighteval="output_dir output_path results_path_template",
        lm_eval="output_path",
    ),
    to(
        "runs",
        "publish.repo_id",
        "only the target `publish` pushes, with the token in HF_TOKEN",
        hf="push_to_hub hub_model_id hub_strategy hub_always_push hub_token",
        llamafactory="export_hub_model_id hf_hub_token",
        axolotl="hub_model_id hub_strategy hf_use_auth_token push_dataset_to_hub",
        lighteval="push_to_hub results_org",
        lm_eval="hf_hub_log_args",
    ),
    to("runs", "publish.private", hf="hub_private_repo"),
    to("runs", "publish.revision", hf="hub_revision", axolotl="hub_revision"),
)

MACHINES = (
    no(
        "runs",
        "chosen for the device, and it changes no result",
        hf="gradient_checkpointing gradient_checkpointing_kwargs activation_checkpointing"
        " activation_checkpointing_kwargs torch_compile torch_compile_backend torch_compile_mode"
        " use_liger_kernel liger_kernel_config use_cache torch_empty_cache_steps",
        trl="attn_implementation activation_offloading",
        llamafactory="flash_attn shift_attn use_unsloth use_unsloth_gc enable_liger_kernel"
        " disable_gradient_checkpointing use_reentrant_gc low_cpu_mem_usage",
        axolotl="flash_attention xformers_attention sdp_attention flex_attention"
        " attn_implementation eager_attention gradient_checkpointing gradient_checkpointing_kwargs"
        " torch_compile lora_mlp_kernel lora_qkv_kernel lora_o_kernel plugins low_cpu_mem_usage"
        " cut_cross_entropy liger_fused_linear_cross_entropy s2_attention",
    ),
    no(
        "runs",
        "the profile says on what: `--set-resources train_adapter:gpu=4` starts four processes"
        " (docs/slurm.md)",
        hf="deepspeed fsdp fsdp_config ddp_backend ddp_timeout ddp_bucket_cap_mb"
        " ddp_find_unused_parameters ddp_broadcast_buffers ddp_static_graph local_rank use_cpu"
        " accelerator_config parallelism_config no_cuda",
        trl="ddp_timeout",
        llamafactory="ray_num_workers master_addr master_port device_map",
        axolotl="deepspeed fsdp fsdp_config fsdp_version ddp_timeout device device_map world_size"
        " local_rank dp_shard_size tensor_parallel_size context_parallel_size"
        " sequence_parallel_degree use_ray max_memory",
        lm_eval="device",
    ),
    no(
        "runs",
        "every run is trained, watched on its held-out rows and scored",
        hf="do_train do_predict",
    ),
)

BENCHMARKS = (
    to(
        "benchmarks",
        "tasks",
        "names of lm-eval's tasks with `kind: lm_eval`; MMLU is `kind: mmlu` (docs/benchmarks.md)",
        llamafactory="task task_dir",
        lighteval="tasks custom_tasks load_tasks_multilingual",
        lm_eval="tasks",
    ),
    to(
        "benchmarks",
        "shots",
        llamafactory="n_shot",
        lighteval="num_fewshot num_fewshot_seeds",
        lm_eval="num_fewshot",
    ),
    to(
        "benchmarks",
        "limit",
        "the first questions of each subject or task",
        lighteval="max_samples",
        lm_eval="limit samples",
    ),
    to(
        "benchmarks",
        "chat_template",
        lighteval="use_chat_template",
        lm_eval="apply_chat_template fewshot_as_multiturn",
    ),
    to(
        "benchmarks",
        "path",
        "a task's YAML file, with `kind: lm_eval`",
        lm_eval="include_path",
    ),
    to("benchmarks", "run_generated_code", lm_eval="confirm_run_unsafe_code"),
    to(
        "benchmarks",
        "max_new_tokens",
        "greedy answers; a task of lm-eval says itself how it is answered",
        llamafactory="max_new_tokens",
        lighteval="generation_parameters",
        lm_eval="gen_kwargs",
    ),
    no(
        "benchmarks",
        "as many at once as fit into memory, halved where they do not; it changes no score",
        llamafactory="batch_size",
        lighteval="batch_size",
        lm_eval="batch_size max_batch_size",
    ),
    no(
        "benchmarks",
        "every question and answer is kept beside the score, and asked once",
        lighteval="save_details save_generations job_id load_responses_from_details_date_id"
        " public_run",
        lm_eval="log_samples use_cache cache_requests check_integrity write_out show_config"
        " verbosity predict_only",
    ),
    no(
        "benchmarks",
        "base and tuned model are asked in the same words, which the kind of benchmark decides",
        llamafactory="lang",
        lighteval="system_prompt remove_reasoning_tags reasoning_tags",
        lm_eval="system_instruction metadata",
    ),
)
