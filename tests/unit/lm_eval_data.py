"""Small rows in the columns of real datasets, and lm-eval's own numbers on them."""

import json

import datasets
import lm_eval
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from scripts.lib.benchmarks.lm_eval import fetch as lm_eval_fetch
from scripts.lib.benchmarks.lm_eval.resolve import TASKS_FOLDER
from scripts.lib.files import sha256_of

WORDS = ("apples", "bread", "chairs", "doors", "eagles", "flour")


def _choices(count):
    return {"text": list(WORDS[:count]), "label": list("ABCDEF"[:count])}


def _gsm8k(number):
    return {
        "question": f"How much is {number} and {number}?",
        "answer": f"It is {number}+{number}.\n#### {2 * number:,}",
    }


def _truthful(number):
    return {
        "question": f"What are {WORDS[number % 6]}?",
        "mc1_targets": {"choices": ["food", "a thing", "nothing"], "labels": [1, 0, 0]},
        "mc2_targets": {"choices": ["food", "a thing", "an animal", "no"], "labels": [1, 1, 0, 0]},
    }


def _arc(number):
    return {
        "id": f"q{number}",
        "question": f"Which of these is number {number}?",
        "choices": _choices(3 + number % 2),
        "answerKey": "ABC"[number % 3],
    }


def _hellaswag(number):
    return {
        "ind": number,
        "activity_label": "Cooking",
        "ctx_a": f"A man holds {WORDS[number % 6]}.",
        "ctx_b": "he",
        "ctx": f"A man holds {WORDS[number % 6]}. he",
        "endings": [f"eats {word}." for word in WORDS[:4]],
        "label": str(number % 4),
        "source_id": f"s{number}",
        "split": "val",
        "split_type": "indomain",
    }


def _bbh(number):
    return {"input": f"not ( True ) and {number % 2 == 0} is", "target": str(number % 2 == 1)}


def _kobest(number):
    return {
        "premise": f"{number}번 문장은 길다.",
        "question": ("원인", "결과")[number % 2],
        "alternative_1": "비가 왔다.",
        "alternative_2": "눈이 왔다.",
        "label": number % 2,
    }


def _lambada(number):
    return {"text": f"She gave him {number} of the {WORDS[number % 6]}"}


def _winogrande(number):
    return {
        "sentence": f"The {WORDS[number % 6]} hid the box since _ was big.",
        "option1": "the box",
        "option2": "the house",
        "answer": str(1 + number % 2),
    }


def _wikitext(number):
    return {"page": f" = Page {number} = \n\n It is about {WORDS[number % 6]} . \n"}


ROWS = {
    "openai/gsm8k/main": {"train": (_gsm8k, 9), "test": (_gsm8k, 3)},
    "truthfulqa/truthful_qa/multiple_choice": {"validation": (_truthful, 5)},
    "allenai/ai2_arc/ARC-Easy": {"train": (_arc, 3), "validation": (_arc, 3), "test": (_arc, 6)},
    "Rowan/hellaswag/default": {"train": (_hellaswag, 5), "validation": (_hellaswag, 5)},
    "SaylorTwift/bbh/boolean_expressions": {"test": (_bbh, 3)},
    "SaylorTwift/bbh/navigate": {"test": (_bbh, 2)},
    "skt/kobest_v1/copa": {"train": (_kobest, 7), "test": (_kobest, 4)},
    "EleutherAI/lambada_openai/default": {"test": (_lambada, 4)},
    "allenai/winogrande/winogrande_xl": {"train": (_winogrande, 6), "validation": (_winogrande, 6)},
    "EleutherAI/wikitext_document_level/wikitext-2-raw-v1": {
        "train": (_wikitext, 2),
        "validation": (_wikitext, 2),
        "test": (_wikitext, 3),
    },
}


def write_data(folder):
    """Write every row that is known here, as a folder of `data` has it."""
    for name, splits in ROWS.items():
        for split, (make, count) in splits.items():
            path = folder / name / f"{split}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = (json.dumps(make(number), ensure_ascii=False) for number in range(count))
            path.write_text("".join(f"{line}\n" for line in lines))
    return folder


def fetch_spec(tasks=(), *, data=None, own=(), files=None, revisions=None):
    """Return a spec as planning makes it, and the places of its files."""
    places = dict(files or {})
    if data:
        found = sorted(path for path in data.rglob("*") if path.is_file())
        places |= {f"data/{path.relative_to(data).as_posix()}": path for path in found}
    spec = {
        "source": "lm_eval",
        "kind": "lm_eval",
        "tasks": tuple(tasks),
        "own": tuple(own),
        "data": data is not None,
        "revisions": revisions or {},
        "files": {name: sha256_of(path) for name, path in sorted(places.items())},
    }
    return spec, dict(sorted(places.items()))


def fetch(out, tasks=(), **options):
    """Fetch tasks as the job does; return its facts."""
    spec, places = fetch_spec(tasks, **options)
    out.mkdir(parents=True)
    return lm_eval_fetch.fetch(spec, places, out)


def simple_evaluate(monkeypatch, model, tasks, data, *, folders, **options):
    """Return what lm-eval itself says of the same rows, with its own `hf` model in float32.

    Its task manager reads only the named *folders* of tasks: all of them take a minute.
    """

    def load(path, name=None, **_):
        folder = data / path / (name or "default")
        return datasets.DatasetDict(
            {
                file.stem: datasets.Dataset.from_list(
                    [json.loads(line) for line in file.read_text().splitlines()]
                )
                for file in sorted(folder.glob("*.jsonl"))
            }
        )

    monkeypatch.setattr(datasets, "load_dataset", load)
    manager = TaskManager(
        include_defaults=False, include_path=[TASKS_FOLDER / name for name in folders]
    )
    lm = HFLM(pretrained=str(model), dtype="float32", batch_size=4, device="cpu")
    return lm_eval.simple_evaluate(
        model=lm, tasks=list(tasks), task_manager=manager, bootstrap_iters=0, **options
    )
