"""lm-eval's own command line, with `--model tunesmith-hf` beside its own models.

Every task, group and option of lm-eval works as it does there. Its texts are compiled once here
rather than once for every question, which is half of what lm-eval spends outside the model.

Try it: python -m scripts.tools.lm_eval run --model tunesmith-hf --tasks hellaswag
            --model_args pretrained=FOLDER,dtype=float32
"""

import functools

from lm_eval import utils
from lm_eval.__main__ import cli_evaluate

from scripts.lib.score.shared_prefix import SharedPrefixLM

__all__ = ["SharedPrefixLM", "main"]


def main() -> None:
    """Run lm-eval's command line with this process's arguments."""
    utils.env.from_string = functools.cache(utils.env.from_string)
    cli_evaluate()


if __name__ == "__main__":
    main()
