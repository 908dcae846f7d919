"""Reading replies: a hand-labelled table, and what must hold over every item of MMAU and MMAR.

replies.csv: case ("group: what it shows"), expected (index of the option, "refused", a kind of refusal or
"unreadable"), options (with | between them), reply (with \\n for a new line). Each label is what a person reads in the
reply under the rules of `parsing`, written before the parser saw the reply. Groups "no ..." hold replies that look like
those of the group of that name and are none. Group "limit" holds replies that a person can read and the parser cannot:
they are expected to be misread, so that the table says when one no longer is.

fresh_replies.csv: a second table in other wording, with what the parser read on its first, blind look (first_look).
What it misread there was then mended by kind; so the agreement to report is the first look's.

sh_bench_labels.csv: 300 released replies of real models, 60 of each of five files of SH-Bench (the same 60 questions,
drawn at random), by file, place and hash; the label was given by a person before the parser saw the reply. The replies
themselves are not ours to hand on: both tests on them are skipped where the files are not beside the repository.
"""

from __future__ import annotations

import ast
import csv
import gzip
import hashlib
import json
import math
import time
from collections import Counter
from pathlib import Path

import pytest
from hostile import PACE
from hypothesis import given, settings
from hypothesis import strategies as st
from records import an_item

from lalm_utils import declining
from lalm_utils.option_texts import prepare
from lalm_utils.parsing import (
    OPTION,
    REFUSED,
    RULES,
    UNREADABLE,
    Reading,
    first_letter,
    mmau_match,
    read,
)
from lalm_utils.refusals import KINDS, PHRASES, find_refusals
from lalm_utils.wording import parts, tidy, words

SHARED = Path(__file__).parents[2] / "shared"
FILES = {"MMAU": SHARED / "mmau" / "mmau-test-mini.json", "MMAR": SHARED / "mmar" / "MMAR-meta.jsonl"}
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ANIMALS = ["dog", "cat", "bird", "fish"]

with (Path(__file__).parent / "replies.csv").open(encoding="utf-8", newline="") as table:
    ROWS = [
        (r["case"], r["expected"], r["options"], r["reply"].replace("\\n", "\n"))
        for r in csv.DictReader(table)
    ]
READABLE = [row for row in ROWS if not row[0].startswith("limit:")]
LIMITS = [row for row in ROWS if row[0].startswith("limit:")]


def as_label(reading: Reading, expected: str = "refused") -> str:
    if reading.kind == OPTION:
        return str(reading.choice)
    return {REFUSED: reading.refusal if expected in KINDS else "refused"}.get(reading.kind, reading.kind)


@pytest.mark.parametrize("case, expected, options, reply", READABLE, ids=[row[0] for row in READABLE])
def test_a_reply_is_read_as_a_person_reads_it(case, expected, options, reply):
    reading = read(reply, options.split("|"))
    assert as_label(reading, expected) == expected, reading
    assert reading.evidence in tidy(reply)
    assert reading.evidence or reading.kind == UNREADABLE
    assert reading.rule in RULES
    assert (reading.refusal is not None) == (reading.kind == REFUSED)


@pytest.mark.parametrize("case, expected, options, reply", LIMITS, ids=[row[0] for row in LIMITS])
def test_a_known_limit_is_still_one(case, expected, options, reply):
    assert as_label(read(reply, options.split("|")), expected) != expected


def test_the_table_is_large_and_has_every_kind_of_reply():
    groups = Counter(row[0].split(":")[0] for row in READABLE)
    assert len(READABLE) >= 1_350
    kinds = [row for row in READABLE if row[1] in KINDS]
    assert {row[1] for row in kinds} == set(KINDS)
    assert sum(name.startswith("no ") for name in groups.elements()) >= 140
    assert all(
        groups[name] >= 25
        for name in ("text", "letter", "reasoned", "refusal", "both", "unreadable", "number")
    )
    assert len({row[0] for row in ROWS}) == len({row[2:] for row in ROWS}) == len(ROWS)
    valid = {"refused", "unreadable", *KINDS}
    assert all(
        expected in valid or int(expected) < len(options.split("|")) for _, expected, options, _ in ROWS
    )


def test_a_fresh_table_was_read_as_labelled_at_first_sight_and_no_option_is_invented(capsys):
    with (Path(__file__).parent / "fresh_replies.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    now = [
        as_label(read(r["reply"].replace("\\n", "\n"), r["options"].split("|")), r["expected"]) for r in rows
    ]
    first = sum(row["first_look"] == row["expected"] for row in rows)
    low, high = wilson(first, len(rows))
    parted = [(r["case"], got) for r, got in zip(rows, now) if got != r["expected"]]
    with capsys.disabled():
        print(f"\nfirst blind look: {first} of {len(rows)} as labelled [{low:.3f}, {high:.3f}]; now {parted}")
    assert len(rows) >= 300
    assert not {(r["options"], r["reply"]) for r in rows} & {row[2:] for row in ROWS}
    assert len(parted) <= 6
    assert not [case for case, got in parted if got.isdigit()]  # of what is left, no option is a wrong one


def test_the_replies_of_complaints_about_like_projects_are_read_as_labelled():
    path = SHARED / "faults" / "replies.jsonl"
    if not path.is_file():
        pytest.skip(f"no {path.name} at {path.parent}: replies labelled by others")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    parted = []
    for row in rows:
        reading = read(row["reply"], row["choices"])
        got = reading.choice if reading.kind == OPTION else reading.kind
        if got != {"refused": REFUSED}.get(row["want"], row["want"]):
            parted.append((row["group"], row["reply"], got))
    assert len(rows) > 50
    assert parted == []


# --- every item of the published benchmarks ---


def published(name: str) -> list[tuple[list[str], str]]:
    """The options and the gold text of every item of MMAU or MMAR."""
    path = FILES[name]
    if not path.is_file():
        pytest.skip(f"no {path.name} at {path.parent}: {name}'s questions are not ours to hand on")
    text = path.read_text(encoding="utf-8")
    records = json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]
    return [(record["choices"], record["answer"]) for record in records]


def ambiguous(options: list[str], letter: str) -> bool:
    """Whether a bare letter may be an option's text: several options are letters (notes), or this one is."""
    alone = [option.upper() for option in options if len(option) == 1 and option.isalpha()]
    return len(alone) > 1 or letter in alone


def misread(
    name: str, form: str, items: slice = slice(None), *, bare: bool = False
) -> list[tuple[str, Reading]]:
    """Replies in a form that are not read as what they give: each gold text, or each letter, of these items."""
    result = []
    for options, gold in published(name)[items]:
        alternatives = " or ".join(option.strip(". ") for option in options)
        listing = "\n".join(f"({letter}) {option}" for letter, option in zip(LETTERS, options))
        for letter, option in zip(LETTERS, options):
            if ("{text}" in form and option != gold) or (bare and ambiguous(options, letter)):
                continue
            replies = {"text": option.strip(), "letter": letter, "small": letter.lower()}
            reading = read(form.format(any=alternatives, all=listing, **replies), options)
            if reading.choice is None or options[reading.choice] != option:
                result.append((option, reading))
    return result


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "case, form",
    [
        ("text alone", "{text}"),
        ("quoted", '"{text}"'),
        ("bold", "**{text}**"),
        ("letter and text", "({small}) {text}"),
        ("letter with full stop and text", "{letter}. {text}"),
        ("letter and text, then a reason", "{letter}. {text}\n\nThis is because of the sound."),
        ("after an answer line", "Let me listen.\nAnswer: {text}"),
        ("after the answer is", "The answer is {text}."),
        ("after the correct answer, with letter", "The correct answer is ({small}) {text}"),
        ("in answer tags", "<answer>{text}</answer>"),
        ("boxed", "\\boxed{{{text}}}"),
        ("last line, after all were weighed", "It could be {any}.\nHmm.\n{text}"),
        ("answered, after all were listed", "{all}\n\nAnswer: {text}"),
        ("concluded, after all were weighed", "It could be {any}. So the answer is {text}"),
        ("answered after a refusal", "I don't know. Answer: {text}"),
    ],
)
def test_every_gold_text_is_read_as_itself(name, case, form):
    assert misread(name, form) == []


MARKED_LETTERS = {
    "brackets": "({letter})",
    "small letter in brackets": "({small})",
    "closing bracket": "{small})",
    "option": "Option {letter}",
    "after the answer is": "The answer is ({small}).",
    "after all were listed": "{all}\n\nAnswer: ({small})",
}
BARE_LETTERS = {
    "alone": "{letter}",
    "small": "{small}",
    "full stop": "{letter}.",
    "bold": "**{letter}**",
    "after an answer line": "Answer: {letter}",
    "after the answer is": "The answer is {letter}",
    "boxed": "\\boxed{{{letter}}}",
}
# A form is read in every fourth item, four forms in a row in all of them: so each letter of each item is read.
# To read every form in all items costs four times as much.


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("part, case", list(enumerate(MARKED_LETTERS)))
def test_every_marked_letter_is_read_as_its_option(name, part, case):
    assert misread(name, MARKED_LETTERS[case], slice(part % 4, None, 4)) == []


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("part, case", list(enumerate(BARE_LETTERS)))
def test_every_bare_letter_is_read_as_its_option_unless_options_are_letters(name, part, case):
    assert misread(name, BARE_LETTERS[case], slice(part % 4, None, 4), bare=True) == []


def test_options_that_are_letters_are_rare_in_the_published_benchmarks():
    kept_out = [
        letter for name in FILES for options, _ in published(name) for letter in LETTERS[: len(options)]
        if ambiguous(options, letter)
    ]  # fmt: skip
    assert len(kept_out) <= 30


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "case, form, kind",
    [
        ("a list by line", "{lines}", UNREADABLE),
        ("a lettered list", "{listing}", UNREADABLE),
        ("alternatives", "It is {any}.", UNREADABLE),
        ("ignorance of which", "I don't know if it is {any}.", REFUSED),
        ("a list, then IDK", "{listing}\nIDK", REFUSED),
    ],
)
def test_a_reply_that_names_every_option_chooses_none(name, case, form, kind):
    for options, _ in published(name):
        named = [option.strip(". ") for option in options]
        listing = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, named))
        reply = form.format(lines="\n".join(named), listing=listing, any=" or ".join(named))
        assert read(reply, options).kind == kind, (options, reply)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "case, reply, kind",
    [
        ("nothing", "", UNREADABLE),
        ("an article", "the", UNREADABLE),
        ("a cue", "The answer is", UNREADABLE),
        ("a description with an article", "A sound is heard, and I think so too.", UNREADABLE),
        ("two letters", "A or B", UNREADABLE),
        ("IDK", "IDK", REFUSED),
        ("a description, then a refusal", "A man is speaking, but I do not know.", REFUSED),
    ],
)
def test_a_constant_reply_without_an_option_is_never_right(name, case, reply, kind):
    assert {read(reply, options).kind for options, _ in published(name)} == {kind}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("reply", ["A", "(A)", "B.", "The answer is (C).", "d", "Answer: E"])
def test_a_constant_letter_is_right_exactly_where_gold_stands_there(name, reply):
    letter = reply.rstrip(").")[-1].upper()
    folder = LETTERS.index(letter)
    for options, gold in published(name):
        if "(" in reply or not ambiguous(options, letter):
            assert is_right(reply, options, gold) == (options[folder : folder + 1] == [gold]), options
        else:
            assert is_right(reply, options, gold) == (gold.upper() == letter), options


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "reply", ["Yes", "no", "two", "3", "Man", "happy", "None", "It is a dog.", "Yes, there is."]
)
def test_a_constant_text_is_right_only_where_gold_is_in_it(name, reply):
    for options, gold in published(name):
        if is_right(reply, options, gold):
            said, key = (" ".join(word.text for word in words(text, True)) for text in (reply, gold))
            without_unit = key.split()[0] == said and said.isdigit()
            assert f" {key} " in f" {said} " or without_unit, options


def is_right(reply: str, options: list[str], gold: str) -> bool:
    reading = read(reply, options)
    return reading.choice is not None and options[reading.choice] == gold


# --- options that decline, cut replies, other rules ---


@pytest.mark.parametrize(
    "case, options, expected",
    [
        ("no answer", ["a park", "I do not have an answer", "a bus"], 1),
        ("no information", ["I do not have the information to answer the question", "a bus"], 0),
        ("unanswerable", ["a park", "Unanswerable"], 1),
        ("none of them", ["a park", "a bus", "None of the above"], 2),
        ("not to be determined", ["a park", "Cannot be determined"], 1),
        ("ignorance", ["I don't know", "They don't know Joey"], 0),
        ("another's inability", ["He cannot tell the time", "a bus"], None),
        ("a feeling is none", ["confident", "joyful"], None),
        ("an adjective", ["Unclear pronunciation", "Insufficient funds"], None),
        ("two of them", ["I don't know", "None of the above"], None),
        ("neither", ["From near to far", "Neither"], None),
        ("neither of two people", ["They push each other", "Neither of them hit each other"], None),
        ("not open online", ["A shop", "It is not available online."], None),
    ],
)
def test_an_option_that_declines_is_known_by_its_wording(case, options, expected):
    item = an_item(options=tuple(options), gold=None, answerable=False)
    assert declining.mark([item])[0].declining == expected


@pytest.mark.parametrize(
    "case, reply, last, expected",
    [
        ("its letter", "C", "Unanswerable", "cannot_tell"),
        ("its text", "The question is unanswerable.", "Unanswerable", "cannot_tell"),
        ("none of the above", "(C) None of the above", "None of the above", "none_fits"),
        ("another option", "B", "Unanswerable", "1"),
        ("a refusal in words", "I can't share private details.", "Unanswerable", "will_not_say"),
        (
            "its reason",
            "C. Unanswerable. The audio does not mention it, so I can't tell.",
            "Unanswerable",
            "cannot_tell",
        ),
    ],
)
def test_choosing_the_option_that_declines_is_a_refusal(case, reply, last, expected):
    reading = read(reply, ["a park", "a bus", last], declining=2)
    assert as_label(reading, "cannot_tell") == expected
    assert as_label(read(reply, ["a park", "a bus", last]), "cannot_tell") in ("2", expected)


@pytest.mark.parametrize(
    "case, reply, expected",
    [
        ("a mention on the way", "The low voice could be that of a dog, and the next", "unreadable"),
        ("a leaning on the way", "At first I think it is a dog, then", "unreadable"),
        ("a commitment", "The answer is dog. It barks because", "0"),
        ("a conclusion", "It barks, so it is a dog. Furthermore, the", "0"),
        ("a letter and half a text", "B. ca", "1"),
        ("a refusal", "I can't tell which animal it is, since the", "refused"),
        ("behind a but", "I don't know, but it sounds like a dog", "refused"),
    ],
)
def test_a_cut_reply_without_a_commitment_is_unreadable(case, reply, expected):
    assert as_label(read(reply, ANIMALS, cut=True)) == expected


@pytest.mark.parametrize(
    "case, reply, expected",
    [
        ("letter", "B. cat", 1),
        ("the B of But", "I do not know. But it meows.", 1),
        ("the A of A", "It meows. A cat.", 0),
        ("beyond the options", "Elephants.", 4),
        ("small letters", "cat", None),
    ],
)
def test_sh_bench_s_rule_takes_the_first_capital_from_a_to_e(case, reply, expected):
    assert first_letter(reply) == expected


def test_the_kinds_of_refusal_are_all_in_the_table_of_phrases():
    assert {phrase.kind for phrase in PHRASES} == set(KINDS)
    assert len({phrase.name for phrase in PHRASES}) == len(PHRASES) > 40


def test_a_table_of_patterns_has_comments_lines_and_parts():
    table = parts("""
        # animals
        PET = (?:cat|
            dog)
        TWO = {PET} and {PET}
    """)
    assert table == {"PET": "(?:cat|dog)", "TWO": "(?:cat|dog) and (?:cat|dog)"}


def test_another_form_counts_for_one_option_only():
    assert prepare(("happy", "sad")).aliases[("sadness",)] == 1
    assert ("sadness",) not in prepare(("sadness", "sad")).aliases


# --- released replies of real models ---


def released(file: str) -> list[tuple[str, list[str]]]:
    """Replies and options of one file of SH-Bench."""
    with gzip.open(SHARED / "sh_bench" / f"{file}.json.gz", "rt", encoding="utf-8") as lines:
        records = json.load(lines)
    options = [record["options"] for record in records]
    options = [ast.literal_eval(texts) if isinstance(texts, str) else texts for texts in options]
    return [(record["pred"], texts) for record, texts in zip(records, options)]


@pytest.fixture(scope="module")
def sh_bench() -> dict[str, list[tuple[str, list[str]]]]:
    files = sorted((SHARED / "sh_bench").glob("*.json.gz"))
    if not files:
        pytest.skip(f"no files of SH-Bench at {SHARED / 'sh_bench'}: its replies are not ours to hand on")
    return {
        file.name.removesuffix(".json.gz"): released(file.name.removesuffix(".json.gz")) for file in files
    }


def test_hardly_any_released_reply_is_unreadable(sh_bench, capsys):
    shares = {}
    for file, records in sh_bench.items():
        kinds = Counter(read(reply, options).kind for reply, options in records)
        shares[file] = kinds[UNREADABLE] / len(records)
    overall = sum(shares[file] * len(records) for file, records in sh_bench.items()) / sum(
        map(len, sh_bench.values())
    )
    with capsys.disabled():
        print(
            "\nunreadable:",
            *(f"{share:.2%} {file}" for file, share in shares.items()),
            f"{overall:.3%} overall",
            sep="\n  ",
        )
    assert overall <= 0.005
    assert max(shares.values()) <= 0.02


def test_released_replies_are_read_as_a_person_read_them_blind(sh_bench, capsys):
    with (Path(__file__).parent / "sh_bench_labels.csv").open(encoding="utf-8", newline="") as table:
        labels = list(csv.DictReader(table))
    agreed = 0
    for row in labels:
        reply, options = sh_bench[row["file"]][int(row["index"])]
        assert hashlib.sha256(reply.encode()).hexdigest().startswith(row["sha256"])
        reading = read(reply, options)
        as_letter = LETTERS[reading.choice] if reading.kind == OPTION else reading.kind
        agreed += as_letter == (REFUSED if row["label"] in KINDS else row["label"])
    low, high = wilson(agreed, len(labels))
    with capsys.disabled():
        print(f"\nagreement with blind labels: {agreed} of {len(labels)} [{low:.3f}, {high:.3f}]")
    assert len(labels) == 300
    assert agreed >= 0.99 * len(labels)


def wilson(hits: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    share, spread = hits / n, z * math.sqrt(hits * (n - hits) / n**3 + z * z / (4 * n * n))
    middle, scale = share + z * z / (2 * n), 1 + z * z / n
    return (middle - spread) / scale, (middle + spread) / scale


# --- any reply ---


@given(
    reply=st.text(), options=st.lists(st.text(), min_size=1, max_size=30).filter(lambda o: "".join(o).strip())
)
@settings(max_examples=150, deadline=None)
def test_any_text_is_read_without_an_error(reply, options):
    reading = read(reply, options)
    assert reading.kind in {OPTION, REFUSED, UNREADABLE}
    assert (reading.choice is not None) == (reading.kind == OPTION)
    assert reading.choice is None or 0 <= reading.choice < len(options)


@given(
    options=st.lists(st.text(min_size=1), min_size=1, max_size=8).filter(lambda o: "".join(o).strip()),
    data=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_any_option_s_exact_text_is_read_as_itself(options, data):
    option = data.draw(st.sampled_from(options))
    reading = read(option, options)
    if tidy(option).strip():
        assert reading.kind == OPTION
        assert tidy(options[reading.choice]).strip() == tidy(option).strip()


def test_an_empty_option_is_chosen_by_its_letter_only():
    assert read("(C)", ["dog", "cat", ""]).choice == 2
    assert read("", ["dog", "cat", ""]).kind == UNREADABLE


def test_options_that_differ_only_in_case_are_told_apart():
    assert [read(reply, ["V7", "v7"]).choice for reply in ("V7", "v7", '"v7"')] == [0, 1, 1]


@pytest.mark.parametrize(
    "case, phrase",
    [
        ("prose", "The clip opens with a steady hum, and then something like a door closes nearby. "),
        ("one option", "dog "),
        ("denials", "not a dog "),
        ("commitments", "the answer is one of them. "),
        ("leanings", "I think it is a dog. "),
        ("refusals", "I don't know "),
        ("half refusals", "i cannot really honestly "),
        ("bold and refusals", "**dog** I don't know "),
        ("quotation marks", "\"a 'b "),
        ("brackets", "(a) "),
        ("numbers", "one hundred and "),
        ("letters", "B. "),
        ("one word", "a"),
        ("lines", "\n"),
        ("courtesies", "I'd be happy to help. Let me know. "),
        ("absences", "The audio does not mention it. "),
        ("privacy", "I can't share or access, "),
        ("options that fit", "none of the options given, "),
        ("relative clauses", "the sound that is not a dog "),
        ("corrections", "not a dog but "),
        ("Chinese", "这是狗不是猫"),
    ],
)
def test_a_long_reply_is_read_in_linear_time(case, phrase):
    def seconds(size: int) -> float:
        reply = (phrase * size)[:size] + "\nAnswer: (b)"
        start = time.process_time()
        assert read(reply, ANIMALS).choice == 1
        return time.process_time() - start

    seconds(1_000)
    short, long = (min(seconds(size) for _ in range(2)) for size in (10_000, 100_000))
    assert long < 25 * short + 0.05
    assert long < (0.2 if case == "prose" else 1.0) * PACE


@pytest.mark.parametrize(
    "phrase", ["<think>dog</think> ", "<plan></think>", "<answer>dog</answer>", "\nHuman: dog"]
)
def test_many_thoughts_and_turns_are_left_out_in_time(phrase):
    start = time.process_time()
    assert read(phrase * (100_000 // len(phrase)) + "</think>\nAnswer: (b)", ANIMALS).choice == 1
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize(
    "case, reply, options, error, message",
    [
        (
            "no reply",
            None,
            ANIMALS,
            TypeError,
            "reply is None: only text can be read; grade a missing reply as failed",
        ),
        ("bytes", b"dog", ANIMALS, TypeError, "reply is b'dog': only text can be read"),
        (
            "options as one text",
            "dog",
            "dog|cat",
            TypeError,
            "options are 'dog|cat': give a sequence of texts",
        ),
        (
            "an option that is a number",
            "3",
            [2, 3],
            TypeError,
            r"options are \[2, 3\]: give a sequence of texts",
        ),
        (
            "no options",
            "dog",
            [],
            ValueError,
            "options are empty: give the texts that the reply could choose from",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_rule(case, reply, options, error, message):
    with pytest.raises(error, match=message):
        read(reply, options)


@pytest.mark.parametrize(
    "case, declining, options, error, message",
    [
        (
            "a fraction",
            1.0,
            ANIMALS,
            TypeError,
            "declining is 1.0: give a whole number, the index of one of 4",
        ),
        ("a truth value", True, ANIMALS, TypeError, "declining is True: give a whole number"),
        ("too high", 4, ANIMALS, ValueError, "declining is 4: give the index of one of 4 options"),
    ],
)
def test_an_index_or_options_that_mean_nothing_are_refused(case, declining, options, error, message):
    with pytest.raises(error, match=message):
        read("dog", options, declining=declining)


# --- refusals and words by themselves ---


@pytest.mark.parametrize(
    "case, text, firm",
    [
        ("ignorance", "I don't know.", [True]),
        ("doubt", "I'm not sure.", [False]),
        ("both", "I'm not sure. I don't know.", [False, True]),
        ("quoted", 'She says "I don\'t know".', []),
        ("conditional", "If I don't know, I say so.", []),
        ("absence", "The audio does not mention it.", [False]),
        ("another's", "The man cannot hear her.", []),
    ],
)
def test_refusals_are_found_with_their_firmness(case, text, firm):
    assert [refusal.firm for refusal in find_refusals(text)] == firm


def test_a_hidden_span_refuses_nothing():
    text = "It cannot be determined."
    assert len(find_refusals(text)) == 1
    assert find_refusals(text, [(3, 23)]) == []


@pytest.mark.parametrize(
    "case, text, expected",
    [
        ("year", "one thousand, nine hundred and nineteen", "1919"),
        ("hyphen", "twenty-one", "21"),
        ("neighbours", "one, two", "1 2"),
        ("tens and units apart", "twenty, five", "20 5"),
        ("two numbers", "one and two", "1 and 2"),
        ("times", "twice", "2 time"),
        ("pronoun", "one of them", "one of them"),
        ("thousands comma", "1,500", "1500"),
        ("articles", "the sound of a dog", "sound of dog"),
        ("key", "a minor", "a minor"),
    ],
)
def test_words_fold_numbers_and_articles(case, text, expected):
    assert " ".join(word.text for word in words(text, True)) == expected


# --- MMAU's own rule ---


@pytest.mark.parametrize(
    "case, reply, options, gold, expected",
    [
        ("exact", "Man", ["Man", "Woman"], "Man", True),
        ("other case, in a sentence", "It is a MAN.", ["Man", "Woman"], "Man", True),
        ("another option's word", "A man, not a woman.", ["Man", "Woman"], "Man", False),
        ("another option's article", "It is the man.", ["Man", "the woman"], "Man", False),
        ("part of the gold text", "dog", ["dog barking", "cat"], "dog barking", False),
        ("words in any order", "barking dog", ["dog barking", "cat"], "dog barking", True),
        ("shared words are free", "old man", ["man", "old man"], "old man", True),
        ("gold is part of another option", "old man", ["man", "old man"], "man", False),
        ("letter alone", "(A)", ["Man", "Woman"], "Man", False),
        ("letter that is another option's word", "(A) Man", ["Man", "A woman"], "Man", False),
        ("nothing", "", ["Man", "Woman"], "Man", False),
        ("no word", "...", ["Man", "Woman"], "Man", False),
        ("refusal", "I don't know.", ["Man", "Woman"], "Man", False),
    ],
)
def test_mmau_s_rule_wants_gold_s_words_and_no_other_option_s(case, reply, options, gold, expected):
    assert mmau_match(reply, options, gold) is expected


@pytest.mark.parametrize(
    "case, form, percent",
    [
        ("text alone", "{text}", 100.0),
        ("letter and text", "({letter}) {text}", 96.7),
        ("a sentence", "The answer is {text}.", 90.7),
        ("a sentence with the letter", "The correct answer is ({letter}) {text}.", 87.9),
        ("letter alone", "{letter}", 0.2),
    ],
)
def test_mmau_s_rule_costs_an_all_knowing_model_what_the_official_matcher_costs_it(case, form, percent):
    items = published("MMAU")
    replies = [form.format(text=gold, letter=LETTERS[options.index(gold)]) for options, gold in items]
    right = sum(mmau_match(reply, options, gold) for reply, (options, gold) in zip(replies, items))
    assert round(100 * right / len(items), 1) == percent
