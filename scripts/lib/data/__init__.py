"""rules/data.smk: raw rows to conversations, and conversations to tokens and loss masks."""
