"""Where a merged model goes when somebody asks for it: a repository of the hub."""

from collections.abc import Iterator, Mapping

from scripts.lib.config.fields import Flag, HubName, Settings, Text, setting
from scripts.lib.config.problems import Problem


class Publish(Settings):
    """The repository that the target `publish` pushes a merged model to."""

    repo_id: HubName | None = setting(
        "Repository of the merged model on the hub, or null. Only the target `publish` pushes.",
        "execution",
        None,
        allowed="OWNER/NAME, or null",
    )
    private: Flag = setting(
        "Make the repository private, where it is not there yet.", "execution", True
    )
    revision: Text | None = setting("Branch to push to; null is the main one.", "execution", None)


def publish_problems(
    section: str, wanted: Mapping[str, tuple[str, Publish, bool]], taken: dict[str, str]
) -> Iterator[Problem]:
    """Yield what cannot be published, or would be pushed over something else.

    Args:
        section: `runs` or `candidates`.
        wanted: Candidate -> its key in the file, its settings, and whether it is merged.
        taken: Place on the hub -> who goes there; it is filled.
    """
    for name, (source, publish, merged) in wanted.items():
        if publish.repo_id is None:
            continue
        path = (section, source, "publish", "repo_id")
        if not merged:
            yield Problem(path, "is for merged models, and this one has merge: false")
        place = f"{publish.repo_id}@{publish.revision or 'main'}"
        if place in taken:
            text = f"{name} and {taken[place]} would both be pushed to {place}"
            yield Problem(path, f"{text}; give each a repository or a revision of its own")
        taken.setdefault(place, name)
