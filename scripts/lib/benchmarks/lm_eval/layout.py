"""Where the parts of a benchmark of lm-eval's tasks lie, in its spec and in its folder."""

# First parts of the names of a spec's files: a user's own tasks, rows that those name, and rows of
# the folder that stands in for the hub.
OWN, LOCAL, DATA = "own/", "local/", "data/"

TASKS_FILE = "tasks.json"
OWN_FOLDER = "own"
ROWS_FOLDER = "rows"
