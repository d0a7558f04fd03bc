"""Names of the files that scores are made of.

Apart, because who only reads scores must not import what asks a model, and a change in how scores
are read must not make them anew.
"""

QUESTIONS_TABLE = "questions.parquet"
PROTOCOL_FILE = "protocol.json"
PROVENANCE_FILE = "provenance.json"

# In a protocol: how many questions were asked with fewer few-shot examples than the rest, because
# the whole prompt was longer than the model's context.
FEWER_SHOTS = "fewer_shots"

# In a protocol: how many rows of the benchmark are no questions and were left out, by reason;
# `questions` and `examples` apart. Only where there are any.
BAD_ROWS = "bad_rows"

# In a protocol: how many conversations were not asked, because they are longer than the model's
# context.
LEFT_OUT = "left_out"

# In a protocol: how many conversations the chat template cannot ask, by reason; as in training.
NOT_ASKED = "not_asked"

# In a protocol: control tokens of the chat template that the tokenizer reads as several tokens,
# with their number.
SPLIT_MARKERS = "split_markers"

# In a protocol: what is said of each task of lm-eval that was asked.
TASKS = "tasks"

# In a protocol: in how many questions the benchmark's own text spells control tokens, which the
# tokenizer reads as such: lm-eval encodes a prompt as a whole.
CONTROL_TEXT = "control_text"

# In a protocol: what closes the thoughts that the chat template opened before a text is scored ->
# number of questions. Only where it opened any.
CLOSED_THOUGHTS = "closed_thoughts"

# In a protocol: how many generated answers began with a thought, and how many of these never
# closed it. Only where any began.
THOUGHTS = "thoughts"

OWN_MATTERS = (CLOSED_THOUGHTS, CONTROL_TEXT, FEWER_SHOTS, SPLIT_MARKERS, THOUGHTS)
"""What of a protocol is a candidate's own: all else is the same for all that stand side by side."""
