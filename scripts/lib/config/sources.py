"""The models and datasets that a configuration can name."""

from collections.abc import Mapping
from typing import Annotated, Any, Self, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from scripts.lib.config.columns import Columns, Tags, check_layout
from scripts.lib.config.fields import (
    ARGUMENTS,
    COMMIT,
    NO_ARGUMENTS,
    TEMPLATES,
    DatasetCommit,
    Flag,
    Fraction,
    HubName,
    InnerFile,
    ModelCommit,
    PartFraction,
    Placeholders,
    Positive,
    Seed,
    Settings,
    Similarity,
    TemplateArguments,
    TemplateChoice,
    Text,
    group,
    refusal,
    setting,
)
from scripts.lib.data.layouts import LAYOUTS, Format, Use


class ModelOptions(Settings):
    """How a model is asked, whatever form it has."""

    template: TemplateChoice = setting(
        "Chat template that the model is asked through, and that runs on it take which name none:"
        " the tokenizer's own, ChatML, or a file; `trl` is TRL's for training, asked through the"
        " tokenizer's own.",
        "identity",
        "tokenizer",
        allowed=TEMPLATES,
    )


class HubSource(Settings):
    """A model of the Hugging Face hub, pinned."""

    hub: HubName = setting("Repository of the model.", "identity", allowed="OWNER/NAME")
    revision: ModelCommit = setting("Commit of the repository.", "identity", allowed=COMMIT)
    trust_remote_code: Flag = setting(
        "Run the Python code that this revision of the repository carries. Read it first.",
        "identity",
        False,
    )


class FolderSource(Settings):
    """A model in Hugging Face's format in a local folder."""

    path: Text = setting("Folder of the model.", "location")


class PackageGgufSource(Settings):
    """A GGUF file inside an installed Python package; it becomes a bfloat16 model."""

    package: Text = setting("Name of the installed package.", "location")
    gguf: InnerFile = setting(
        "File inside the package, from the package's folder.",
        "location",
        allowed="a relative path without `..`",
    )


class FolderGgufSource(Settings):
    """A GGUF file in a local folder; it becomes a bfloat16 model."""

    path: Text = setting("Folder of the file.", "location")
    gguf: InnerFile = setting(
        "File inside the folder.", "location", allowed="a relative path without `..`"
    )


ModelSource: TypeAlias = HubSource | FolderSource | PackageGgufSource | FolderGgufSource
"""Where a model comes from, however it is asked."""


class HubModel(HubSource, ModelOptions):
    """A model of the Hugging Face hub, pinned."""


class LocalModel(FolderSource, ModelOptions):
    """A model in Hugging Face's format in a local folder."""


class PackageGguf(PackageGgufSource, ModelOptions):
    """A GGUF file inside an installed Python package; it becomes a bfloat16 model."""


class LocalGguf(FolderGgufSource, ModelOptions):
    """A GGUF file in a local folder; it becomes a bfloat16 model."""


def _model_form(value: object) -> str | None:
    """Tell by its keys which form of model *value* is meant to be."""
    keys = given_keys(value)
    if keys & {"hub", "revision"}:
        return "HubModel"
    if "package" in keys:
        return "PackageGguf"
    if "path" in keys:
        return "LocalGguf" if "gguf" in keys else "LocalModel"
    return None


def given_keys(value: object) -> set[Any]:
    """Return the keys of a group of settings, read or not yet read."""
    if isinstance(value, Mapping):
        return set(value)
    return value.model_fields_set if isinstance(value, Settings) else set()


Model: TypeAlias = Annotated[
    Annotated[HubModel, Tag("HubModel")]
    | Annotated[LocalModel, Tag("LocalModel")]
    | Annotated[PackageGguf, Tag("PackageGguf")]
    | Annotated[LocalGguf, Tag("LocalGguf")],
    Discriminator(
        _model_form,
        custom_error_type="form_of_model",
        custom_error_message="is no model; allowed: the keys hub and revision, or path, or package"
        " and gguf, or path and gguf",
    ),
]


def _source_form(value: object) -> str | None:
    """Tell by its keys which form of source of a model *value* is meant to be."""
    forms = {
        "HubModel": "HubSource",
        "LocalModel": "FolderSource",
        "PackageGguf": "PackageGgufSource",
        "LocalGguf": "FolderGgufSource",
    }
    return forms.get(str(_model_form(value)))


def folder_as_source(value: object) -> object:
    """Return a plain text, which names a folder, as the source that it is short for."""
    return {"path": value} if isinstance(value, str) else value


_AnySource: TypeAlias = Annotated[
    Annotated[HubSource, Tag("HubSource")]
    | Annotated[FolderSource, Tag("FolderSource")]
    | Annotated[PackageGgufSource, Tag("PackageGgufSource")]
    | Annotated[FolderGgufSource, Tag("FolderGgufSource")],
    Discriminator(
        _source_form,
        custom_error_type="form_of_model",
        custom_error_message="is no model; allowed: a folder, or the keys hub and revision, or"
        " path, or package and gguf, or path and gguf",
    ),
]
GivenModel: TypeAlias = Annotated[
    _AnySource, BeforeValidator(folder_as_source, json_schema_input_type=Text | _AnySource)
]
"""A model of one's own, whose folder alone is enough to say."""


def folder_of(source: Settings) -> str | None:
    """Return the local folder that holds a model or an adapter as it is, or None."""
    return source.path if isinstance(source, FolderSource) else None


Paths: TypeAlias = Text | Annotated[tuple[Text, ...], Field(min_length=1)]
PATHS = "a file, a folder, a pattern such as `data/*.jsonl`, or a list of these"


class Files(Settings):
    """The local files of a dataset's splits."""

    train: Paths = setting("Files of the training rows.", "location", allowed=PATHS)
    valid: Paths | None = setting(
        "Files of the rows held out of training.", "location", None, allowed=PATHS
    )
    test: Paths | None = setting(
        "Files of the rows that no run sees.", "location", None, allowed=PATHS
    )


class Splits(Settings):
    """The names of a dataset's splits on the hub."""

    train: Text = setting("Split with the training rows.", "identity", "train")
    valid: Text | None = setting("Split with the rows held out of training.", "identity", None)
    test: Text | None = setting("Split with the rows that no run sees.", "identity", None)


class DatasetOptions(Settings):
    """How the rows of a dataset become conversations."""

    format: Format = setting(
        "Shape of the rows; `auto` recognises it by the columns. "
        + " ".join(f"{name}: {layout.words()}." for name, layout in LAYOUTS.items()),
        "identity",
        "auto",
    )
    columns: Columns = group("Which columns of the rows hold what.", Columns)
    tags: Tags = group("What the turns of a list call their keys and speakers.", Tags)
    system: Text | None = setting(
        "System message for conversations that have none.", "identity", None
    )
    template_arguments: TemplateArguments = setting(
        "What the chat template is given beside the turns, in training and wherever a conversation"
        " of this dataset is asked; what a row brings itself (`chat_template_kwargs`) wins.",
        "identity",
        NO_ARGUMENTS,
        allowed=ARGUMENTS,
    )
    use: Use | None = setting(
        "Which answer to train on where rows hold a `chosen` and a `rejected` one; without it such"
        " rows are dropped.",
        "identity",
        None,
    )
    placeholders: Placeholders | None = setting(
        "What stands for `{{name}}` in the rows, by name; a row with one that is not given is"
        " dropped.",
        "identity",
        None,
        allowed="names, each with a text",
    )
    valid_fraction: PartFraction = setting(
        "Share of the training rows to hold out. With a valid split it is 0, and not to be given.",
        "identity",
        0.05,
    )
    test_fraction: PartFraction = setting(
        "Share of the training rows that no run sees.", "identity", 0.0
    )
    split_seed: Seed = setting("Seed of the choice of held-out rows.", "identity", 0)
    split_by: Text | None = setting(
        "Column of the rows, or path into its objects, whose value keeps rows in one split: a"
        " thread, an author, a document. Rows without a value are split by their content, as all"
        " are without it.",
        "identity",
        None,
    )
    near_duplicates: Similarity | None = setting(
        "Of rows that share this part of their five-word shingles or more (an estimate by MinHash),"
        " keep one: the held-out one, or the first.",
        "identity",
        None,
    )
    limit: Positive | None = setting(
        "Read only the first rows of each split, at most so many.", "identity", None
    )
    max_dropped_fraction: Fraction = setting(
        "Stop before training when a larger share had to be dropped: of the rows in formatting, or"
        " of the conversations in rendering.",
        "gate",
        0.05,
    )

    @model_validator(mode="before")
    @classmethod
    def _leave_rows_whole(cls, value: Any) -> Any:
        """Hold nothing out of the training rows of a dataset that brings a valid split."""
        if not isinstance(value, Mapping) or "valid_fraction" in value:
            return value
        splits = value.get("files", value.get("splits"))
        if isinstance(splits, Mapping) and splits.get("valid") is not None:
            return {**value, "valid_fraction": 0.0}
        return value

    @property
    def given_splits(self) -> tuple[str, ...]:
        """Splits that the source itself brings."""
        return ("train",)

    @property
    def has_valid_split(self) -> bool:
        """Whether the source itself brings rows to watch the loss on."""
        return "valid" in self.given_splits

    @model_validator(mode="after")
    def _check_fractions(self) -> Self:
        if self.valid_fraction + self.test_fraction >= 1:
            raise refusal("and test_fraction together leave no row for training", "valid_fraction")
        return self

    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        check_layout(self.format, self.columns, self.tags)
        return self


def check_splits(options: DatasetOptions, splits: Files | Splits, key: str) -> None:
    """Refuse a source that stands for two splits, and a fraction beside a given split.

    Args:
        options: The dataset.
        splits: Its files, or its split names on the hub.
        key: The key of *splits*, for the error.

    Raises:
        PydanticCustomError: If held-out rows would be pooled with training rows, or if it is
            unclear which rows are held out.
    """
    sources: dict[str, str] = {}
    for split in ("train", "valid", "test"):
        source = getattr(splits, split)
        if source is None:
            continue
        if source in sources:
            raise refusal(
                f"is the {sources[source]} split already; no row may be in both", f"{key}.{split}"
            )
        sources[source] = split
        if split != "train" and getattr(options, f"{split}_fraction") > 0:
            raise refusal(
                f"and {key}.{split} exclude each other; leave one of them out", f"{split}_fraction"
            )


class LocalDataset(DatasetOptions):
    """A dataset in local files."""

    path: Paths = setting(
        "Files of the rows: JSON (one object a line, an array, or an object with one list of"
        " objects; named .jsonl or .json), CSV, TSV, Parquet or Arrow; text also compressed (.gz,"
        " .bz2, .xz, .zst).",
        "location",
        allowed=PATHS,
    )


class LocalSplitDataset(DatasetOptions):
    """A dataset with local files for each split."""

    files: Files = Field(description="Files of the splits.")

    @property
    def given_splits(self) -> tuple[str, ...]:
        """Splits that the source itself brings."""
        return tuple(split for split, source in self.files if source is not None)

    @model_validator(mode="after")
    def _check_splits(self) -> Self:
        check_splits(self, self.files, "files")
        return self


class HubDataset(DatasetOptions):
    """A dataset of the Hugging Face hub, pinned."""

    hub: HubName = setting("Repository of the dataset.", "identity", allowed="OWNER/NAME")
    revision: DatasetCommit = setting("Commit of the repository.", "identity", allowed=COMMIT)
    name: Text | None = setting("Configuration (subset) of the dataset.", "identity", None)
    splits: Splits = group("Names of the splits on the hub.", Splits)

    @property
    def given_splits(self) -> tuple[str, ...]:
        """Splits that the source itself brings."""
        return tuple(split for split, source in self.splits if source is not None)

    @model_validator(mode="after")
    def _check_splits(self) -> Self:
        check_splits(self, self.splits, "splits")
        return self


def _dataset_form(value: object) -> str | None:
    """Tell by its keys which form of dataset *value* is meant to be."""
    keys = given_keys(value)
    if keys & {"hub", "revision"}:
        return "HubDataset"
    if "files" in keys:
        return "LocalSplitDataset"
    return "LocalDataset" if "path" in keys else None


Dataset: TypeAlias = Annotated[
    Annotated[LocalDataset, Tag("LocalDataset")]
    | Annotated[LocalSplitDataset, Tag("LocalSplitDataset")]
    | Annotated[HubDataset, Tag("HubDataset")],
    Discriminator(
        _dataset_form,
        custom_error_type="form_of_dataset",
        custom_error_message="is no dataset; allowed: the key path, or files, or hub and revision",
    ),
]
