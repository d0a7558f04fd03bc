"""Whether answers on the domain keep to it: they end, have its form, and are in its language.

Told from the texts that are kept with the scores, so that a changed rule runs no model.

A form counts only where every reference has it, so that the references themselves say what is
asked of an answer, and each rule can be told in one sentence.

The language is told by the script always, by the commonest words where these tell. The script
separates Russian from English and Japanese from Chinese. Among languages in one script short words
that come in nearly every sentence do: a text is said to be in a language only when those of that
language clearly outnumber those of every other. Short texts say too little; then nothing is said.
No library is needed, and every verdict can be checked by eye.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, TypeAlias

from scripts.lib.benchmarks.held_out.document import Kept
from scripts.lib.data.answer_forms import ROLE_LINE, Form, shared_forms
from scripts.lib.data.replies import without_reasoning

# A script and letters in it.
_Run: TypeAlias = tuple[str, str]

# Fewer of a language's words than this, or than this many times those of the next one, say nothing.
_LEAST_WORDS = 4
_LEAST_LEAD = 2.0

_WORDS = {
    "cs": "a je v na se že to s z do o pro jako by ale jsem jsou když nebo aby jeho také které",
    "da": "og i at er en det til på som af de med den et der ikke for har var jeg vi om men",
    "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch"
    " es an werden aus er hat dass sie nach wird bei ich sind",
    "en": "the of and to in is that it for was with as on be are this by have from or you at not"
    " they an which but his their your can will",
    "es": "de la que el en y los del se las por un para con no una su al lo como más pero sus le"
    " es está son este muy",
    "fi": "ja on ei se että hän oli mutta ovat kun joka myös niin kuin ole voi tai sen minä olen",
    "fr": "de la le et les des en un du une que est pour qui dans par plus pas au sur ne se ce il"
    " vous nous avec sont elle ou",
    "hu": "a az és hogy nem is egy ez meg de van csak ha volt mint már el vagy azt kell lehet",
    "id": "yang dan di itu dengan untuk tidak ini dari dalam akan pada juga saya ke karena adalah"
    " ada bisa anda",
    "it": "di e che la il un a per in una mi sono ho non ma lo ha le si ti con cosa come io è del"
    " della gli nel più",
    "nl": "de het een en van ik te dat die in is niet hij zijn op aan met als voor er maar om ook"
    " naar bij wordt deze u",
    "pl": "w i na z się że do nie to jest o jak po a ale co za przez od dla jego czy są oraz może",
    "pt": "de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao"
    " ele das você são",
    "ro": "și de la în a că nu cu este pe o un care să mai din sunt pentru fi dar ce sau",
    "sv": "och i att det som en på är av för med till den har de inte om ett han men var jag sig"
    " från vi",
    "tr": "ve bir bu için da de ile çok ne gibi daha olarak o ama kadar olan sonra var değil ben",
    "vi": "và của là có không được trong một cho các người này với những khi đã để từ tôi bạn",
    "be": "і не на што я у з ён як гэта да але яго мы па за ад таксама",
    "bg": "и на да се в за от не е са с по като че ще това или към",
    "ru": "и в не на что я с он а как это по но они к у за от из же вы так для или мы",
    "uk": "і не на що я в з він як це до але та його ми за від або для у є також",
}
_COMMON = {language: frozenset(words.split()) for language, words in _WORDS.items()}

# Names of characters begin with their script; these scripts are written together.
_SCRIPTS = {
    "HIRAGANA": "japanese",
    "KATAKANA": "japanese",
    "KATAKANA-HIRAGANA": "japanese",
    "CJK": "han",
    "IDEOGRAPHIC": "han",
    "HANGUL": "hangul",
}

# Japanese mixes its own letters with Chinese characters: this share of them tells.
_KANA_SHARE = 0.1

# Japanese also has words and titles of Chinese characters alone. These characters come in nearly
# every Chinese sentence and hardly ever in Japanese, and a longer text would have had kana.
_CHINESE = frozenset("是了你她们們这這那么麼吗嗎呢吧没沒说說很哪谁怎为對对从個个")
_LONGEST_KANJI = 12

# Texts in all scripts quote names and terms in Latin letters: this share of another script tells.
_OTHER_THAN_LATIN = 0.2

# A letter alone is a symbol (x, \N{GREEK SMALL LETTER MU}) in scripts whose words are longer.
_LONG_WORDS = ("latin", "greek", "cyrillic")

# Code is in no language.
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)


def _script_of(runs: Sequence[_Run]) -> str | None:
    """Return the script that words are written in, None where there are none.

    It is the one of most letters, and another than Latin where that has a fifth of them.
    """
    letters = Counter[str]()
    for script, word in runs:
        letters[script] += len(word)
    kana, han = letters["japanese"], letters["han"]
    if kana and kana >= _KANA_SHARE * (kana + han):
        letters["japanese"] += letters.pop("han", 0)
    others = {name: n for name, n in letters.items() if name != "latin"}
    main = max(others, key=lambda name: (others[name], name), default="latin")
    found = main if letters[main] >= _OTHER_THAN_LATIN * letters.total() else "latin"
    return found if letters[found] else None


def _runs(text: str) -> list[_Run]:
    """Return the words of a text, cut where the script changes, with their scripts."""
    found: list[_Run] = []
    for word in re.findall(r"[^\W\d_]+", unicodedata.normalize("NFKC", _CODE.sub(" ", text))):
        runs = [(script, "".join(part)) for script, part in groupby(word, _script)]
        if len(word) > 1 or runs[0][0] not in _LONG_WORDS:
            found += runs
    return found


def _script(letter: str) -> str:
    name = unicodedata.name(letter, "unnamed").partition(" ")[0]
    return _SCRIPTS.get(name, name.lower())


def language_of(text: str) -> str | None:
    """Return the language that a text's commonest words tell, None where they do not.

    Returns:
        Its code of two letters.
    """
    plain = unicodedata.normalize("NFC", _CODE.sub(" ", text)).lower()
    words = re.findall(r"[^\W\d_]+", plain)
    counts = {
        language: sum(word in common for word in words) for language, common in _COMMON.items()
    }
    first, second = sorted(counts, key=lambda name: (-counts[name], name))[:2]
    clear = counts[first] >= max(_LEAST_WORDS, _LEAST_LEAD * counts[second])
    return first if clear else None


def same_language(reference: str, answer: str) -> bool | None:
    """Return whether an answer is in the language of its reference.

    Args:
        reference: What was expected.
        answer: What was said. Without a letter it is in no other language, unless it is empty.

    Returns:
        None where the reference has no letter; false where the scripts differ, words that both
        have left aside, or where the commonest words of both tell languages that differ.
    """
    wanted, said = _runs(reference), _runs(answer)
    if not wanted:
        return None
    if not answer.strip():
        return False
    both = {*wanted} & {*said}
    expected, found = (
        _script_of([run for run in runs if run not in both]) for runs in (wanted, said)
    )
    if expected is None or found is None:
        return True
    if {expected, found} == {"han", "japanese"}:
        return not _is_chinese(wanted if expected == "han" else said)
    if found != expected:
        return False
    one, other = language_of(reference), language_of(answer)
    return one is None or other is None or one == other


def _is_chinese(runs: Sequence[_Run]) -> bool:
    """Return whether a text in Chinese characters alone can hardly be Japanese."""
    letters = "".join(word for script, word in runs if script == "han")
    return not _CHINESE.isdisjoint(letters) or len(letters) > _LONGEST_KANJI


def grade_all(rows: Sequence[Mapping[str, Any]]) -> tuple[list[Kept], list[str]]:
    """Grade the answers to a whole held-out set.

    Args:
        rows: Of `questions.parquet`.

    Returns:
        A verdict per row, and the forms that all references share, in words.
    """
    forms = shared_forms([without_reasoning(row["answer"]) for row in rows])
    return [_grade(row, forms) for row in rows], [form.words for form in forms]


def _grade(row: Mapping[str, Any], forms: Sequence[Form]) -> Kept:
    answer, response = row["answer"], row["response"]
    texts = without_reasoning(response), without_reasoning(answer)
    form_faults = list(_form_faults(*texts, row["markers"], forms))
    language = same_language(*reversed(texts))
    wrong = [] if row["ended"] else ["did not stop by itself"]
    wrong += form_faults
    if language is False:
        wrong.append("is in another language")
    return {
        "question_id": row["question_id"],
        "prompt_hash": row["prompt_hash"],
        "token_hash": row["token_hash"],
        "nats": -math.fsum(row["logprobs"]),
        "tokens": row["reference_tokens"],
        "bytes": len(answer.encode()),
        "stops": float(row["ended"]),
        "format": float(not form_faults),
        "language": None if language is None else float(language),
        "wrong": wrong,
        "answer": answer,
        "response": response,
    }


def _form_faults(
    response: str, answer: str, markers: Sequence[str], forms: Sequence[Form]
) -> list[str]:
    if not response.strip():
        return ["is empty"]
    faults = [
        f"holds the template's {marker}"
        for marker in markers
        if _stands_in(marker, response) and marker not in answer
    ]
    if ROLE_LINE.search(response) and not ROLE_LINE.search(answer):
        faults.append("holds the name of a role on a line of its own")
    lacking = [form.words for form in forms if not form.holds(response.strip())]
    faults += [f"lacks what all references are or have: {words}" for words in lacking]
    return faults


def _stands_in(marker: str, text: str) -> bool:
    """Return whether a text holds a marker; one of plain words counts only where a line begins."""
    if re.fullmatch(r"[\w\s]*:?", marker):
        return any(line.lstrip().startswith(marker) for line in text.splitlines())
    return marker in text
