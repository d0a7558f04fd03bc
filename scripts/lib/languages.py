"""In which language a text is: by its script always, by its commonest words where these tell.

The script separates Russian from English and Japanese from Chinese. Among languages in one script
short words that come in nearly every sentence do: a text is said to be in a language only when
those of that language clearly outnumber those of every other. Short texts say too little; then
nothing is said. No library is needed, and every judgement can be checked by eye.
"""

import re
import unicodedata
from collections import Counter

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
    "HANGUL": "hangul",
}

# Japanese mixes its own letters with Chinese characters: this share of them tells.
_KANA_SHARE = 0.1


def script_of(text: str) -> str | None:
    """Return the script of most letters of a text, None where there are none.

    Example: `привет` is `cyrillic`, `東京です` is `japanese`, `12:30` is None.
    """
    names = (unicodedata.name(letter, "") for letter in text if letter.isalpha())
    first = (name.partition(" ")[0] for name in names if name)
    scripts = Counter(_SCRIPTS.get(word, word.lower()) for word in first)
    if not scripts:
        return None
    kana, han = scripts["japanese"], scripts["han"]
    if kana and kana >= _KANA_SHARE * (kana + han):
        scripts["japanese"] += scripts.pop("han", 0)
    return max(scripts, key=lambda name: (scripts[name], name))


def language_of(text: str) -> str | None:
    """Return the language that a text's commonest words tell, None where they do not.

    Returns:
        Its code of two letters.
    """
    words = re.findall(r"[^\W\d_]+", unicodedata.normalize("NFC", text).lower())
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
        None where the reference has no letter; false where the scripts differ, or where the
        commonest words of both tell languages that differ.
    """
    expected = script_of(reference)
    if expected is None:
        return None
    if not answer.strip():
        return False
    found = script_of(answer)
    if found is None:
        return True
    if found != expected:
        return False
    one, other = language_of(reference), language_of(answer)
    return one is None or other is None or one == other
