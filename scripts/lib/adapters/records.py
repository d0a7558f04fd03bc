"""Names of the files in which a training says how it went, beside the weights that it leaves.

Apart from all else of adapters: a model that was trained as a whole has them, too.
"""

ANSWERS_FILE = "answers.jsonl"
HISTORY_FILE = "history.jsonl"
VERDICT_FILE = "verdict.json"

RECORDS = (ANSWERS_FILE, HISTORY_FILE, VERDICT_FILE)
"""Neither merged nor published models have them: answers hold rows of the data."""
