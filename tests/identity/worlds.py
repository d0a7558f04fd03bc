"""The worlds that the tests start from: configs and files of each, nothing of it run yet."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

from tests.identity.world import World

PROJECT = Path(__file__).parents[2]

SUBJECTS = ("anatomy", "astronomy", "college_physics", "philosophy", "sociology")


def jsonl(*rows: dict[str, Any]) -> str:
    """Return rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def question(text: str) -> dict[str, Any]:
    """Return one question in MMLU's schema."""
    return {"question": text, "choices": ["1", "2", "3", "4"], "answer": 0}


def make_project(base: Path) -> None:
    """Copy what code digests and pins are taken from."""
    shutil.copytree(
        PROJECT / "scripts",
        base / "project" / "scripts",
        ignore=shutil.ignore_patterns("__pycache__", "tools"),
    )
    shutil.copyfile(PROJECT / "requirements.lock", base / "project" / "requirements.lock")


def make_local_world(base: Path) -> World:
    """Make the world of local files: one model, two datasets, three runs, two benchmarks.

    Two runs share their shards; the third has its own template. The benchmark has a subject that
    the config does not ask for.
    """
    make_project(base)
    world = World(base, local_config())
    world.write("data/tiny/config.json", '{"model_type": "llama"}')
    world.write("data/tiny/model.safetensors", "w" * 64)
    world.write("data/tiny/tokenizer.json", '{"version": "1"}')
    # No template can be rendered, so planning does not judge whether two of them ask alike. It
    # marks its answers, so that planning leaves it to TRL whether it needs another for training.
    own = "{% generation %}{{ own(messages) }}{% endgeneration %}"
    world.write("data/tiny/chat_template.jinja", own)
    # In the order of their paths the held-out rows come first, in the order of splits last.
    world.write("data/orders/train.jsonl", jsonl({"prompt": "a", "completion": "b"}))
    world.write("data/orders/held_out.jsonl", jsonl({"prompt": "c", "completion": "d"}))
    chats = ({"prompt": f"hello {n}", "completion": "hi"} for n in range(8))  # enough to hold out
    world.write("data/chats.jsonl", jsonl(*chats))
    world.write("data/plain.jinja", "{{ plain(messages) }}")
    for subject in SUBJECTS:
        world.write(f"data/mmlu/test/{subject}.jsonl", jsonl(question(f"test {subject}")))
        world.write(f"data/mmlu/dev/{subject}.jsonl", jsonl(question(f"dev {subject}")))
    world.write("data/exact/questions.jsonl", jsonl({"prompt": "one tea", "answer": "1 TEA"}))
    return world


def local_config() -> dict[str, Any]:
    """Return the config of the local world."""
    gentle = {
        "model": "tiny",
        "dataset": "orders",
        "lora": {"r": 8, "alpha": 16, "dropout": 0.1},
        "training": {"learning_rate": 2e-4, "seed": 1, "max_length_tokens": 256},
    }
    strong = copy.deepcopy(gentle) | {
        "training": {"learning_rate": 1.6e-3, "seed": 1, "max_length_tokens": 256}
    }
    chatty = copy.deepcopy(gentle) | {"dataset": "chats", "template": "data/plain.jinja"}
    return {
        "models": {"tiny": {"path": "data/tiny"}},
        "datasets": {
            "orders": {
                "files": {"train": "data/orders/train.jsonl", "valid": "data/orders/held_out.jsonl"}
            },
            "chats": {"path": "data/chats.jsonl"},
        },
        "runs": {"gentle": gentle, "strong": strong, "chatty": chatty},
        "benchmarks": {
            "mmlu": {
                "kind": "mmlu",
                "path": "data/mmlu",
                "shots": 1,
                "subjects": ["anatomy", "astronomy", "college_physics", "philosophy"],
            },
            "exact": {"kind": "exact_match", "path": "data/exact/questions.jsonl"},
        },
    }


def make_hub_world(base: Path) -> World:
    """Make the world of pinned repositories and a GGUF file: two models, one run."""
    make_project(base)
    config = {
        "models": {
            "remote": {"hub": "acme/remote", "revision": "a" * 40},
            "packed": {"path": "data/packed", "gguf": "small.gguf"},
        },
        "datasets": {"talks": {"hub": "acme/talks", "revision": "b" * 40, "name": "plain"}},
        "runs": {"polite": {"model": "remote", "dataset": "talks"}},
        "benchmarks": {
            "mmlu": {
                "kind": "mmlu",
                "hub": "acme/mmlu",
                "revision": "c" * 40,
                "subjects": ["anatomy"],
            }
        },
    }
    world = World(base, config)
    world.write("data/packed/small.gguf", "weights")
    return world


def make_choice_world(base: Path) -> World:
    """Make the world of a user's own questions: one model, multiple choice with solved examples."""
    world = make_local_world(base)
    world.config = {
        "models": world.config["models"],
        "benchmarks": {
            "own": {
                "kind": "multiple_choice",
                "path": "data/own/test.jsonl",
                "shots_path": "data/own/solved.jsonl",
                "shots": 1,
                "category_column": "field",
                "on_bad_row": "leave_out",
            }
        },
    }
    for name in ("test", "solved"):
        rows = [question(name) | {"field": f"{field}s", "kind": "k"} for field in ("law", "art")]
        world.write(f"data/own/{name}.jsonl", jsonl(*rows, *rows))
    return world


def make_held_out_world(base: Path) -> World:
    """Make the world of held-out conversations: one model, two datasets that no run uses."""
    world = make_local_world(base)
    files = {split: f"data/orders/{split}.jsonl" for split in ("train", "test")}
    files["valid"] = "data/orders/held_out.jsonl"
    world.write("data/orders/test.jsonl", jsonl({"prompt": "e", "completion": "f"}))
    domain = {"kind": "held_out", "dataset": "orders", "max_new_tokens": 4}
    world.config = {
        "models": world.config["models"],
        "datasets": {
            "orders": {"files": files},
            "chats": {"path": "data/chats.jsonl", "test_fraction": 0.5},
        },
        "benchmarks": {
            "domain": domain,
            "seen": {**domain, "split": "valid", "max_new_tokens": 5},
            "spare": {**domain, "dataset": "chats", "max_new_tokens": 6},
        },
    }
    return world


def make_left_out_world(base: Path) -> World:
    """Make the world of a run without the rows that hold what another dataset holds out."""
    world = make_local_world(base)
    run = world.config["runs"]["gentle"]
    world.config["runs"] = {"gentle": {**run, "on_contamination": "drop"}}
    world.config["datasets"]["chats"]["test_fraction"] = 0.5
    asked = {"kind": "held_out", "dataset": "chats", "max_new_tokens": 6}
    world.config["benchmarks"] = {"spare": asked}
    return world


def make_blend_world(base: Path) -> World:
    """Make the world of other candidates: one unmerged run, two combinations, one of them unmerged.

    Every run has the same rank and template, so that every method can combine them.
    """
    world = make_local_world(base)
    run = world.config["runs"]["gentle"]
    world.config["runs"] = {
        name: {**run, "training": {**run["training"], "seed": seed}}
        for seed, name in enumerate(("north", "south", "quick"))
    }
    world.config["runs"]["quick"]["merge"] = False
    pruned = {"combine": {"north": 0.7, "south": 0.3}, "method": "dare_ties_svd", "density": 0.5}
    world.config["candidates"] = {
        "blend": pruned,
        "away": {"combine": {"north": 1, "quick": -0.5}, "method": "svd", "merge": False},
    }
    del world.config["datasets"]["chats"], world.config["benchmarks"]["exact"]
    return world


def make_full_world(base: Path) -> World:
    """Make the world of a run that trains all weights, beside one that trains an adapter."""
    world = make_local_world(base)
    gentle = world.config["runs"]["gentle"]
    training = {"seed": 1, "max_length_tokens": 256}
    world.config["runs"] = {
        "gentle": gentle,
        "whole": {**gentle, "lora": None, "training": training},
    }
    del world.config["datasets"]["chats"], world.config["benchmarks"]["exact"]
    return world


def make_mixture_world(base: Path) -> World:
    """Make the world of a run on two datasets, four parts of one to one of the other."""
    world = make_local_world(base)
    gentle = world.config["runs"]["gentle"]
    mixed = {"orders": 4, "chats": {"weight": 1, "max_rows": 6}}
    world.config["runs"] = {"gentle": {**gentle, "dataset": mixed}}
    del world.config["benchmarks"]["exact"]
    return world


def make_pairs_world(base: Path) -> World:
    """Make the world of judged pairs: one run, two bases, a local judge and one behind a service.

    The second base is the local judge; nothing was tuned from it.
    """
    world = make_local_world(base)
    prompts = {"kind": "judged_pairs", "path": "data/prompts/questions.jsonl"}
    service = {"model": "big", "endpoint": "https://judge.example/v1", "api_key_env": "KEY"}
    world.config = {
        "models": {**world.config["models"], "referee": {"path": "data/referee"}},
        "datasets": {"orders": world.config["datasets"]["orders"]},
        "runs": {"gentle": world.config["runs"]["gentle"]},
        "benchmarks": {
            "pairs": {**prompts, "judge": {"model": "referee"}},
            "paid": {**prompts, "judge": service},
        },
    }
    world.write("data/referee/config.json", '{"model_type": "llama"}')
    world.write("data/referee/model.safetensors", "r" * 64)
    world.write("data/referee/chat_template.jinja", "{{ messages }}")
    world.write("data/referee/tokenizer.json", '{"version": "1"}')
    world.write("data/prompts/questions.jsonl", jsonl({"prompt": "Say one."}))
    return world
