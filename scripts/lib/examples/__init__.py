"""`rules/data.smk`, last part: conversations with every token, and rows of each reason."""
