"""The errors that a user can meet.

Each text says what happened, where, and what to do next.

    PipelineError
    ├── ConfigError     the configuration, or a local file that it names
    ├── RecordError     a raw row, or a whole dataset, cannot be used
    ├── TemplateError   a chat template and a tokenizer do not fit
    ├── TrainingError   a fine-tune cannot start or go on
    ├── MergeError      base and adapter do not fit
    ├── ScoreError      a benchmark cannot be scored, or scores cannot be compared
    ├── StoreError      an artifact or a cache entry is not what its manifest says
    ├── DeviceError     a job lacks the GPUs that it asked for
    ├── RecoveryError   the remains of a killed workflow cannot be cleared
    ├── StaleError      code, libraries or raw files differ from the plan
    ├── GateError       an earlier step's finding forbids this step
    ├── RoomError       a disk, a quota or a limit leaves no room for what a job writes or holds
    ├── BudgetError     a fine-tune does not keep the budget of the report
    └── PublishError    a model cannot be pushed to the hub
"""


class PipelineError(Exception):
    """Base of every error that Tunesmith raises on purpose."""


class ConfigError(PipelineError):
    """The configuration, or a local file that it names, is wrong."""


class RecordError(PipelineError):
    """A raw row, or a whole dataset, cannot be used."""


class TemplateError(PipelineError):
    """A chat template and a tokenizer do not fit together."""


class TrainingError(PipelineError):
    """A fine-tune cannot start or cannot go on."""


class MergeError(PipelineError):
    """Base and adapter do not fit together."""


class ScoreError(PipelineError):
    """A benchmark cannot be scored, or its scores cannot be compared."""


class StoreError(PipelineError):
    """An artifact or a cache entry is not what its manifest says."""


class DeviceError(PipelineError):
    """A job does not have the GPUs that it asked for."""


class RecoveryError(PipelineError):
    """The remains of a killed workflow cannot be cleared."""


class StaleError(PipelineError):
    """Code, libraries or raw files are no longer those of the plan."""


class GateError(PipelineError):
    """An earlier step's finding forbids this step."""


class RoomError(PipelineError):
    """A disk, a quota or a limit leaves no room for what a job writes, or holds in memory."""


class BudgetError(PipelineError):
    """A fine-tune does not keep the budget of the report."""


class PublishError(PipelineError):
    """A model cannot be pushed to the hub."""
