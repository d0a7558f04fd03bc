"""Chat templates of the kinds that models ship, small conversations, and what they train."""

from scripts.lib.data.conversation import Conversation, Message
from scripts.lib.data.formatting import FormatSpec, format_chat
from scripts.lib.data.masking import loss_mask
from scripts.lib.data.renderer import Renderer
from scripts.lib.data.samples import SampleSpec, samples
from scripts.lib.data.templates import Template
from tests.tiny_model import CHATML as TINY_TEMPLATE
from tests.workspace import write_rows

GENERATION = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
# As SmolLM2's: a default system turn when there is none.
DEFAULT_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nHelp.<|im_end|>\n' }}{% endif %}" + TINY_TEMPLATE
)
# As Llama 3's: content is trimmed, and nothing follows the end of a turn.
TRIMMED = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content | trim + '<|im_end|>' }}"
    "{% endfor %}" + GENERATION
)
# As Qwen3's: only the last answer has a thought.
THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if loop.last and m.role == 'assistant' %}{{ '<think>\n</think>' }}{% endif %}"
    "{{ m.content + '<|im_end|>\n' }}{% endfor %}" + GENERATION
)
# As Gemma's: no system turn, BOS in front.
NO_SYSTEM = (
    "{{ '<|endoftext|>' }}{% if messages[0].role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}" + TINY_TEMPLATE
)
NO_END = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}" + (
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
DROPS_SYSTEM = TINY_TEMPLATE.replace(
    "{{ '<|im_start|>'", "{% if message.role != 'system' %}{{ '<|im_start|>'"
).replace("{% endfor %}", "{% endif %}{% endfor %}")
FOREIGN = TINY_TEMPLATE.replace("<|im_start|>", "<|start|>").replace("<|im_end|>", "<|end|>")
DOUBLE_BOS = "{{ bos_token }}" + TINY_TEMPLATE


FORMAT = {
    "format": "auto",
    "system": None,
    "valid_fraction": 0.0,
    "test_fraction": 0.0,
    "split_seed": 0,
    "limit": None,
}
"""Fields of a FormatSpec that reads rows as they are and holds none out."""


def format_held_out(folder, rows):
    """Format *rows* as a test split beside one row of training; return the folder of chats."""
    write_rows(folder / "raw/train.jsonl", [{"prompt": "a", "completion": "b"}])
    write_rows(folder / "raw/test.jsonl", rows)
    out = folder / "chat"
    out.mkdir()
    format_chat(FormatSpec(**FORMAT), folder / "raw", out)
    return out


def renderer_of(tokenizer, text):
    return Renderer(tokenizer, Template(source="custom:test", text=text))


def talk(*contents, system=None):
    roles = ["user", "assistant"] * len(contents)
    turns = [Message(role=role, content=text) for role, text in zip(roles, contents, strict=False)]
    if system is not None:
        turns.insert(0, Message(role="system", content=system))
    return Conversation(messages=tuple(turns))


def trained_texts(tokenizer, encoder, template, conversation, **spec):
    """Return the text of each run of trained tokens, row by row."""
    rows = samples(renderer_of(tokenizer, template), conversation, "x", SampleSpec(**spec))
    return [text for row in rows for text in runs_of(encoder, row)]


def runs_of(encoder, row):
    """Return the text of each run of trained tokens of one row."""
    (encoded,) = encoder.encode([row.text])
    mask = loss_mask(encoded, row.text, row.answers, encoder.special_ids).mask
    runs, previous = [], 0
    for number, trained in zip(encoded.ids, mask, strict=True):
        if trained:
            runs = runs if previous else [*runs, []]
            runs[-1].append(number)
        previous = trained
    return encoder.decode(runs)
