"""Names of the files in which a training says how it went, beside the weights that it leaves.

Apart from what writes them (`records`): merging and publishing leave them out, and read no more.
"""

ANSWERS_FILE = "answers.jsonl"
HISTORY_FILE = "history.jsonl"
VERDICT_FILE = "verdict.json"

RECORDS = (ANSWERS_FILE, HISTORY_FILE, VERDICT_FILE)
"""Neither merged nor published models have them: answers hold rows of the data."""
