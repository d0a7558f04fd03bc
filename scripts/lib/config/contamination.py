"""When a benchmark's question counts as standing in a conversation, as a configuration says it."""

from scripts.lib.config.fields import Fraction, Positive, Settings, setting


class ContaminationOptions(Settings):
    """When a question of a benchmark counts as standing in a conversation."""

    ngram: Positive = setting(
        "Words of an n-gram that counts where a question and a conversation both have it.",
        "identity",
        8,
    )
    threshold: Fraction = setting(
        "A question is found where such n-grams of one conversation cover at least this share of"
        " its words; with 0 any of them will do.",
        "identity",
        0.5,
    )
