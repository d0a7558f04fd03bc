"""Properties of sheets for people and of what is read back from them."""

import csv
import io
import json
import re

import pytest
from scipy.stats import binomtest
from typer.testing import CliRunner

from scripts.lib.benchmarks.judged_pairs.people import in_words, people_figures, read_choices
from scripts.lib.benchmarks.judged_pairs.scores import JudgedPrompt, figures
from scripts.lib.benchmarks.judged_pairs.sheets import blind, read_key, sheet_csv, sheet_html
from scripts.lib.errors import ScoreError
from scripts.tools.tunesmith import app

RUN, BENCHMARK = "gentle-tuned", "replies-of-the-house"
SECRET, OTHER = b"one" * 11, b"two" * 11
EVIL = "</textarea></script><script>alert(1)</script><img src=x onerror=alert(2)>"


def judged(path, count=60, *, swap=False, text="{}"):
    """Write judged prompts: every tenth has equal answers, a third of all others is better."""
    lines = []
    for n in range(count):
        answers = [text.format(f"plain {n}"), text.format(f"{'good' if n % 3 else 'bad'} {n}")]
        base, run = ("same", "same") if n % 10 == 0 else answers[:: -1 if swap else 1]
        decision = "tie" if base == run else "win" if n % 2 else "loss"
        line = {"prompt_id": f"prompts:{n}", "category": ("law", "art")[n % 2]}
        line |= {"request": f"Say {n}.", "reference": None, "base": base, "run": run}
        lines.append(json.dumps(line | {"decision": decision, "equal": base == run}) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


def filled(shown, sheet, choose):
    """Return a sheet in CSV, filled in by somebody who sees a left and a right text."""
    rows = list(csv.DictReader(io.StringIO(sheet_csv(shown, sheet))))
    for row in rows:
        row["choice"] = choose(row["left"], row["right"])
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def prefers_good(left, right):
    """Choose as a person who likes `good` more than `plain` more than `bad`; some are ties."""
    order = ("bad", "plain", "good")
    if int(left.split()[1]) % 7 == 0:
        return "tie"
    places = [order.index(text.split()[0]) for text in (left, right)]
    return "left" if places[0] > places[1] else "right"


@pytest.fixture
def sheet(tmp_path):
    shown, key = blind(judged(tmp_path / "judged.jsonl"), RUN, BENCHMARK, SECRET)
    return tmp_path, shown, key


def answered(sheet, choose, name="answers.csv"):
    folder, shown, key = sheet
    path = folder / name
    path.write_text(filled(shown, key["sheet"], choose), encoding="utf-8")
    return read_choices(path, key)


def test_what_is_read_back_is_what_was_chosen_and_has_the_figures_of_a_judge_who_chose_so(sheet):
    _, _, key = sheet
    choices = answered(sheet, prefers_good)
    found = people_figures(key, [choices])
    asked = [n for n in range(60) if n % 10]
    wins = sum(n % 7 != 0 and n % 3 != 0 for n in asked)
    losses = sum(n % 7 != 0 and n % 3 == 0 for n in asked)
    whole = found["figures"]
    assert (whole["wins"], whole["losses"], whole["n"], whole["equal"]) == (wins, losses, 60, 6)
    assert whole["win_rate"] == pytest.approx((wins + (60 - wins - losses) / 2) / 60)
    assert whole["p_value"] == pytest.approx(binomtest(wins, wins + losses).pvalue)
    verdicts = {1: ("B", "A"), -1: ("A", "B"), 0: ("C", "C")}
    judge = figures(
        [
            JudgedPrompt(
                category=("law", "art")[n % 2],
                equal=n % 10 == 0,
                base_first=verdicts[0 if n % 7 == 0 else 1 if n % 3 else -1][0],
                run_first=verdicts[0 if n % 7 == 0 else 1 if n % 3 else -1][1],
            )
            for n in range(60)
        ]
    )
    assert whole == judge
    left = list(choices.values()).count("left")
    assert found["left"]["rate"] == pytest.approx(left / (wins + losses))
    as_judge = sum(
        (n % 7 != 0) and ((n % 3 != 0) == (n % 2 == 1)) for n in asked
    )  # the judge wins odd prompts and ties none that was asked
    assert found["with_judge"]["rate"] == pytest.approx(as_judge / len(asked))


def test_a_person_who_always_chooses_left_is_seen_by_it(sheet):
    _, _, key = sheet
    found = people_figures(key, [answered(sheet, lambda left, right: "left")])
    assert found["left"]["rate"] == 1.0 and found["left"]["interval"][0] > 0.9
    assert found["figures"]["verdict"] == "undecided"


def test_a_sheet_names_nobody_and_its_order_and_sides_need_the_key(tmp_path):
    path = judged(tmp_path / "judged.jsonl", 400)
    shown, key = blind(path, RUN, BENCHMARK, SECRET)
    for text in (sheet_html(shown, key["sheet"]), sheet_csv(shown, key["sheet"])):
        for told in (RUN, BENCHMARK, "prompts:", "base", SECRET.hex(), key["source"]):
            assert told not in text
    others, other_key = blind(path, RUN, BENCHMARK, OTHER)
    assert other_key["sheet"] != key["sheet"]
    assert [one["request"] for one in shown] != [one["request"] for one in others]
    assert [one["pair"] for one in shown] == sorted(key["pairs"])
    sides = {one["prompt_id"]: one["left"] for one in key["pairs"].values()}
    moved = [one["left"] != sides[one["prompt_id"]] for one in other_key["pairs"].values()]
    assert 140 < sum(moved) < 220 and 140 < [*sides.values()].count("base") < 220
    again, same_key = blind(path, RUN, BENCHMARK, SECRET)
    assert (again, same_key) == (shown, key)


def test_sides_do_not_follow_from_what_is_said(tmp_path):
    _, key = blind(judged(tmp_path / "a.jsonl"), RUN, BENCHMARK, SECRET)
    _, swapped = blind(judged(tmp_path / "b.jsonl", swap=True), RUN, BENCHMARK, SECRET)
    assert key["pairs"] == swapped["pairs"]


def test_hostile_texts_stay_texts(tmp_path):
    shown, key = blind(judged(tmp_path / "j", text=f"={EVIL} {{}}"), RUN, BENCHMARK, SECRET)
    html = sheet_html(shown, key["sheet"])
    assert html.count("<script") == 1 and "<img" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert not re.search(r"https?://|@import|url\(", html)
    rows = list(csv.reader(io.StringIO(sheet_csv(shown, key["sheet"]))))
    assert not [cell for row in rows for cell in row if cell[:1] in "=+-@" and cell]


def test_of_several_people_most_decide_and_pairs_that_nobody_saw_are_told(sheet):
    _, shown, key = sheet
    open_pair = shown[0]["pair"]

    def left_open(choices):
        return {pair: choice for pair, choice in choices.items() if pair != open_pair}

    one = left_open(answered(sheet, prefers_good))
    contrary = {"left": "right", "right": "left", "tie": "tie"}
    other = {pair: contrary[choice] for pair, choice in one.items()}
    alone, three = people_figures(key, [one]), people_figures(key, [one, one, other])
    assert three["figures"] == alone["figures"] and three["unanswered"] == 1
    ties = sum(choice == "tie" for choice in one.values())
    share = (len(one) - ties + 3 * ties) / (3 * len(one))
    assert three["agreement"]["rate"] == pytest.approx(share)
    assert people_figures(key, [one, other])["figures"]["wins"] == 0
    assert any("3 people" in line for line in in_words(three, key))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sheet,pair\n", "no column choice"),
        ("sheet,pair,choice\n{sheet},{pair},better\n", "row 2: 'better' is none of left"),
        ("sheet,pair,choice\nffff,{pair},left\n", "of another sheet"),
        ("sheet,pair,choice\n{sheet},nobody,left\n", "of another sheet"),
        ("sheet,pair,choice\n{sheet},{pair},left\n{sheet},{pair},right\n", "row 3: "),
    ],
)
def test_answers_that_cannot_be_counted_are_refused_with_their_row(sheet, text, said):
    folder, shown, key = sheet
    path = folder / "answers.csv"
    path.write_text(text.format(sheet=key["sheet"], pair=shown[0]["pair"]))
    with pytest.raises(ScoreError, match=re.escape(said)):
        read_choices(path, key)


def test_the_command_writes_sheet_and_key_apart_and_reads_answers_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scores = tmp_path / "results/runs" / RUN / "scores"
    scores.mkdir(parents=True)
    judged(scores / f"{BENCHMARK}.judged.jsonl")
    run = CliRunner().invoke
    together = run(app, ["pairs", "export", RUN, BENCHMARK, "--out", "s", "--keys", "s"])
    assert together.exit_code == 1
    assert run(app, ["pairs", "export", RUN, BENCHMARK]).exit_code == 0
    (key_file,) = (tmp_path / "keys").iterdir()
    (page,) = (tmp_path / "sheets").glob("*.html")
    (table,) = (tmp_path / "sheets").glob("*.csv")
    key = read_key(key_file)
    assert key["sheet"] in page.name and RUN not in page.name
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    lines = [f"{r['sheet']},{r['pair']},{prefers_good(r['left'], r['right'])}" for r in rows]
    (tmp_path / "mine.csv").write_text("\r\n".join(["sheet,pair,choice", *lines]))
    told = run(app, ["pairs", "read", str(key_file), "mine.csv"])
    assert told.exit_code == 0 and f"{RUN} on {BENCHMARK}: " in told.output
    found = json.loads(run(app, ["pairs", "read", str(key_file), "mine.csv", "--json"]).output)
    assert found == people_figures(key, [read_choices(tmp_path / "mine.csv", key)])
    missing = run(app, ["pairs", "export", "nobody", BENCHMARK])
    assert missing.exit_code == 1
