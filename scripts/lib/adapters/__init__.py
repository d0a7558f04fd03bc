"""LoRA adapters as PEFT saves them: what all stages and planning agree on."""
