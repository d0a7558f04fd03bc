"""What models are asked, whatever the kind of benchmark: rows to questions to prompts."""
