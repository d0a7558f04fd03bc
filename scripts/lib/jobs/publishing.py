"""Push a model to the hub: proved where it was merged, with its results in the card, and once.

The token comes from the environment and goes to the hub's client, nowhere else.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi

# The base of what its HTTP client raises, too, when nobody answers; versions differ in the client.
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]
from huggingface_hub.utils.tqdm import disable_progress_bars

from scripts.lib.adapters.records import RECORDS
from scripts.lib.artifacts.store import Found, Store
from scripts.lib.canonical import digest
from scripts.lib.errors import PublishError
from scripts.lib.files import is_hidden, read_json, write_json
from scripts.lib.jobs.checks import check_gate
from scripts.lib.report.card import CARD, Card, CardSpec, base_licence, card_text
from scripts.lib.report.card_results import results

PUBLISHED = "published"
KEPT_BACK = (CARD, *RECORDS)
"""What lies in a model's folder and is not pushed as it is: the card is written anew."""
REFUSED = (401, 403, 404)  # what the hub says of a token or a name that will not do


@dataclass(frozen=True, kw_only=True)
class Publication:
    """One model and where it goes.

    Attributes:
        name: The candidate's name, as the comparison has it.
        repo_id: Repository on the hub.
        private: Whether to make it private, where it is new.
        revision: Branch, or None for the main one.
        card: What its card says.
        model: Id and folder of the model: merged, or trained as a whole.
        proof: Id and folder of the proof of a merged model; None for any other.
        base: Id and folder of the base, which tells the licence; None where the model's own card
            does.
        comparison: Id and folder of the comparison.
    """

    name: str
    repo_id: str
    private: bool
    revision: str | None
    card: Card
    model: tuple[str, Path]
    proof: tuple[str, Path] | None = None
    base: tuple[str, Path] | None = None
    comparison: tuple[str, Path]

    @classmethod
    def from_plan(cls, item: Mapping[str, Any]) -> "Publication":
        """Build it from the entry of a frozen plan."""
        places = {role: (id, Path(place)) for role, (id, place) in item["places"].items()}
        return cls(**{**{key: item[key] for key in item if key != "places"}, **places})


def publish_model(wanted: Publication, store: Store, *, token: str) -> str:
    """Push one model, unless these very bytes were pushed there before.

    Args:
        wanted: What, and where to.
        store: Results; it checks the model's bytes, and its `published/` keeps the record.
        token: Access token of the hub.

    Returns:
        A line that says what was done.

    Raises:
        GateError: The proof did not pass.
        PublishError: There is no token, or the hub refuses.
        StoreError: The model's files are not what their manifest says.
    """
    id, folder = wanted.model
    manifest = _manifest(folder)
    if wanted.proof:
        check_gate("proof", wanted.proof[0], _manifest(wanted.proof[1])["facts"], None)
    if not token:
        raise PublishError(
            "HF_TOKEN is not set: export a token of the hub that may write to"
            f" {wanted.repo_id}; it is read from the environment only"
        )
    store.verify(Found(id, folder, _manifest_path(folder), manifest))
    card = _card(wanted, manifest)
    endpoint = os.environ.get("HF_ENDPOINT")
    pushed = digest([endpoint, wanted.repo_id, wanted.revision, manifest["content"], card])
    record = store.results / PUBLISHED / f"{_file_name(wanted)}.json"
    where = f"{wanted.repo_id}@{wanted.revision or 'main'}"
    if record.is_file() and (known := read_json(record))["pushed"] == pushed:
        return (
            f"{wanted.name}: {where} has these bytes already ({known['commit']}); to push them"
            f" again delete {record}"
        )
    commit = _push(wanted, manifest, card, HfApi(endpoint=endpoint, token=token))
    write_json(
        record,
        {
            "repo_id": wanted.repo_id,
            "revision": wanted.revision,
            "commit": commit,
            "model": manifest["id"],
            "content": manifest["content"],
            "pushed": pushed,
        },
    )
    return f"{wanted.name}: pushed to {where}, commit {commit}"


def _push(wanted: Publication, manifest: Mapping[str, Any], card: str, api: HfApi) -> str:
    """Make the repository where it is missing, commit all files at once, return the commit."""
    disable_progress_bars()
    paths = (entry["path"] for entry in manifest["files"])
    files = [path for path in paths if path not in KEPT_BACK and not is_hidden(path)]
    operations = [CommitOperationAdd(path, str(wanted.model[1] / path)) for path in files] + [
        CommitOperationAdd(CARD, card.encode())
    ]
    try:
        api.create_repo(wanted.repo_id, private=wanted.private, exist_ok=True)
        if wanted.revision:
            api.create_branch(wanted.repo_id, branch=wanted.revision, exist_ok=True)
        done = api.create_commit(
            wanted.repo_id,
            operations,
            commit_message=f"Publish a {'merged' if wanted.proof else 'fine-tuned'} model",
            revision=wanted.revision,
        )
    except (HTTPError, OSError, ValueError) as error:
        raise PublishError(
            f"{wanted.repo_id} could not be pushed: {error}. Nothing was recorded;"
            f" {_remedy(error, api.endpoint)}, then run `publish` again"
        ) from error
    return str(done.oid)


def _remedy(error: Exception, endpoint: str) -> str:
    """Say what helps against a push that failed."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in REFUSED or isinstance(error, ValueError):
        return "look at the repository's name and the token's rights"
    if status is not None:
        return "wait until the hub takes it"
    return f"see that the hub can be reached from here ({endpoint})"


def _card(wanted: Publication, manifest: Mapping[str, Any]) -> str:
    """Return the model card with what was measured."""
    licence = base_licence((wanted.base or wanted.model)[1])
    document = read_json(wanted.comparison[1] / "comparison.json")
    found = "\n\n".join(results(document, wanted.name))
    stops = manifest["facts"].get("stops")
    return card_text(CardSpec(card=wanted.card), licence, stops, found)


def _manifest_path(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")


def _manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(_manifest_path(folder))
    return found


def _file_name(wanted: Publication) -> str:
    """Return a file name for the place on the hub; `--` stands for the slash, as the hub has it."""
    revision = (wanted.revision or "main").replace("/", "--")
    return f"{wanted.repo_id.replace('/', '--')}@{revision}"
