"""Branches and tags in a config file become commits, and nothing else of its text changes."""

import difflib
import textwrap

import pytest
import yaml

from scripts.lib.errors import ConfigError
from scripts.lib.plan.pinning import pinned, unpinned

SHA = "a" * 40
OTHER = "b" * 40

CONFIG = textwrap.dedent(
    """\
    # What we compare.
    models:
      llama:   # the base
        hub: meta-llama/Meta-Llama-3-8B-Instruct   # gated
        revision: main
      pinned: {hub: acme/base, revision: SHA}
      flow: {hub: "acme/flow", revision: 'v1.0', template: chatml}   # a tag
      bare:
        # no revision yet
        hub: acme/bare # the newest

    datasets:
      talk: &talk
        hub: acme/talk
        revision: 0123456

      again: *talk
      short: {hub: acme/short}
    runs:
      r: {model: llama, dataset: talk}
    candidates:
      theirs: {adapter: {hub: acme/adapter, revision: main}, base: llama}
    benchmarks:
      mmlu: {kind: mmlu, hub: cais/mmlu, revision: "main"}
      tasks:
        kind: lm_eval
        tasks: [gsm8k]
        revisions: {openai/gsm8k: main, acme/done: SHA}
      judged:
        kind: judged_pairs
        judge:
          hub: acme/judge
          revision: main
    """
).replace("SHA", SHA)

ASKED = [
    ("meta-llama/Meta-Llama-3-8B-Instruct", "main", "model"),
    ("acme/flow", "v1.0", "model"),
    ("acme/bare", None, "model"),
    ("acme/talk", "0123456", "dataset"),
    ("acme/short", None, "dataset"),
    ("acme/adapter", "main", "model"),
    ("cais/mmlu", "main", "dataset"),
    ("openai/gsm8k", "main", "dataset"),
    ("acme/judge", "main", "model"),
]


def pin(text: str) -> str:
    return pinned(text, lambda *_: OTHER)[0]


def test_every_repository_is_asked_once_with_its_branch_and_kind() -> None:
    found = unpinned(CONFIG)
    assert [(one.repository, one.name, one.kind) for one in found] == ASKED


def test_what_is_pinned_has_the_commits_and_is_else_what_it_was() -> None:
    def commits(node: object) -> object:
        """Return a config with every revision made the same."""
        if isinstance(node, dict):
            made = {key: commits(value) for key, value in node.items()}
            if "hub" in node:
                made["revision"] = SHA if node.get("revision") == SHA else OTHER
            return made
        return [commits(item) for item in node] if isinstance(node, list) else node

    expected = commits(yaml.safe_load(CONFIG))
    expected["benchmarks"]["tasks"]["revisions"]["openai/gsm8k"] = OTHER
    assert yaml.safe_load(pin(CONFIG)) == expected


def test_no_line_without_a_revision_changes() -> None:
    lines = list(difflib.ndiff(CONFIG.splitlines(), pin(CONFIG).splitlines()))
    gone = [line[2:] for line in lines if line.startswith("- ")]
    new = [line[2:] for line in lines if line.startswith("+ ")]
    assert all("hub" in line or "revision" in line for line in gone)
    assert all(OTHER in line for line in new)
    for comment in ("# the base", "# gated", "# a tag", "# no revision yet", "# the newest"):
        assert comment in pin(CONFIG)


def test_the_branch_that_a_commit_came_from_is_noted_where_there_is_room() -> None:
    assert f"    revision: {OTHER} # main\n" in pin(CONFIG)
    assert f"    revision: {OTHER} # 0123456\n" in pin(CONFIG)


def test_what_is_pinned_stays_as_it_is_byte_for_byte() -> None:
    once = pin(CONFIG)
    assert unpinned(once) == []
    assert pin(once) == once


@pytest.mark.parametrize(
    "text",
    ["", "# nothing\n", "models: {a: {path: x}}\n", "datasets:\n  a: {hub: 3}\n", "- a\n- b\n"],
)
def test_nothing_to_pin_is_no_error(text: str) -> None:
    assert pin(text) == text


def test_a_revision_may_come_from_a_merged_mapping() -> None:
    text = f"x: &x {{revision: {SHA}}}\nmodels:\n  a:\n    <<: *x\n    hub: acme/a\n"
    assert pin(text) == text


def test_lines_may_end_as_on_windows_and_the_last_without_any_end() -> None:
    text = "models:\r\n  a:\r\n    hub: acme/a"
    assert yaml.safe_load(pin(text)) == {"models": {"a": {"hub": "acme/a", "revision": OTHER}}}
    text = "models:\r\n  a:\r\n    hub: acme/a\r\n    template: chatml\r\n"
    done = yaml.safe_load(pin(text))
    assert done["models"]["a"] == {"hub": "acme/a", "revision": OTHER, "template": "chatml"}


@pytest.mark.parametrize("commit", ["2" * 40, "1" * 20 + "e" + "3" * 19, "0" * 40])
@pytest.mark.parametrize("name", ["main", "'main'"])
def test_a_commit_that_yaml_takes_for_a_number_is_quoted(commit: str, name: str) -> None:
    text = f"models:\n  a: {{hub: acme/a, revision: {name}}}\n  b:\n    hub: acme/b\n"
    done = yaml.safe_load(pinned(text, lambda *_: commit)[0])
    assert [one["revision"] for one in done["models"].values()] == [commit, commit]


def test_what_is_no_yaml_is_refused_with_its_place() -> None:
    with pytest.raises(ConfigError, match="line 2"):
        unpinned("models: [\n  }")
