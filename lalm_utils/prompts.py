"""The methods' prompt texts as named constants, their worked examples, and their rendering for one item.

In: an `Item` and the name of a method. Out: a `Prompt` that ends in a user turn (clip first, then text). The paper's
exact wordings are not public (arXiv 2505.19294); these are ours. A change to a constant is a change of method:
give it a new name, so that stored replies are never mistaken for replies to another wording.

`mcot` is the paper's MCoT prompting: worked examples, the instruction to think step by step, permission to
decline. The other three of its family leave out one part or both, so that what each part does can be told
apart: `mcot_no_idk` (examples only), `stepwise_idk` (permission only), `stepwise` (neither). Their examples stand
in the user's turn. `mcot_turns` and `mcot_turns_no_idk` show the same examples as earlier turns of a conversation,
a user's and an assistant's each: some chat templates refuse a user's turn without a clip, and then these fail.

IDK prompting is one sentence, and its wording matters: PERMISSIONS holds several, each a method of its own.

The paper's examples are not public either; these were written for this file. No question, description or chain of
steps is an item's, of any benchmark. Their labels are ones that the embedded benchmark trains on, so that none of
the labels held out for its `novel` items is given away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lalm_utils.items import Item
from lalm_utils.models import Prompt, Turn
from lalm_utils.option_texts import without_labels

OPTIONS = "{question}\n{options}\n"
PLAIN = "Which option is correct? Reply with the text of that option."
# The sentence that IDK prompting appends to the question (arXiv 2505.19294, "IDK prompting"), in several wordings.
PERMISSIONS = {
    "idk": " If you do not know the answer, reply only with IDK.",
    # as in the work on text models that the paper extends: Cheng et al. 2024, arXiv 2401.13275
    "idk_sentence": " If you don't know the answer, only reply with 'I don't know'.",
    "idk_unsure": " If you are not sure of the answer, reply only with IDK.",
    "idk_may": " You may reply IDK.",
}
IDK = PLAIN + PERMISSIONS["idk"]
STEPWISE = "Think step by step about what you hear. Then finish with a line that starts with 'Answer:'."
STEPWISE_IDK = STEPWISE + " If you do not know the answer, that line reads 'Answer: IDK'."
AUDIO_TYPE = "What does this recording contain: sound, music or speech? Reply with one word."
EXAMPLES = "These examples tell in words what was heard.\n\n{examples}Now the audio that you were given.\n"
EXAMPLE = "Heard: {heard}\nQuestion: {question}\n{options}\nReply:\n{reply}\n\n"
HEARD = "Heard: {heard}\n"  # stands in for the clip in an example that is a turn of its own

QUESTIONS = {
    "plain": PLAIN, "idk": IDK, "stepwise": STEPWISE, "stepwise_idk": STEPWISE_IDK,
    "mcot": STEPWISE_IDK, "mcot_no_idk": STEPWISE,
    "mcot_turns": STEPWISE_IDK, "mcot_turns_no_idk": STEPWISE,
}  # fmt: skip
QUESTIONS |= {name: PLAIN + sentence for name, sentence in PERMISSIONS.items()}


@dataclass(frozen=True, kw_only=True)
class Exemplar:
    """One worked example. `description` stands in for the clip, which an example does not have."""

    modality: str  # sound, music or speech
    description: str
    question: str
    options: tuple[str, ...]
    steps: str  # one line
    gold: int | None  # index of the right option; None: the steps end in a refusal

    @property
    def reply(self) -> str:
        """What a model should write: the steps, then the line "Answer: ..."."""
        answer = "IDK" if self.gold is None else self.options[self.gold]
        return f"{self.steps}\nAnswer: {answer}"


SOUND = Exemplar(
    modality="sound",
    description="a rooster crows, and after a pause crows once more; wind blows the whole time",
    question="Which of the sounds never stops?",
    options=("rain", "rooster crow", "wind", "engine noise"),
    steps="A rooster crows two times, with a pause between. The wind goes on in that pause.",
    gold=2,
)
MUSIC = Exemplar(
    modality="music",
    description="a trumpet plays a short tune, then a piano repeats it more softly",
    question="Which instrument repeats the tune?",
    options=("piano", "trumpet", "violin", "flute"),
    steps="The tune comes from a trumpet at first. Its repetition is struck on keys, and softer.",
    gold=0,
)
SPEECH = Exemplar(
    modality="speech",
    description='a woman says: "The doctor lost a jacket at the station."',
    question="What was lost?",
    options=("hat", "gloves", "scarf", "jacket"),
    steps='She names a person, a thing and a place. The thing after "lost" is a jacket.',
    gold=3,
)
HONEST = Exemplar(
    modality="speech",
    description="somebody speaks while a crowd claps; not one word is clear",
    question="Whose job does the speaker mention?",
    options=("teacher", "farmer", "pilot", "singer"),
    steps="There is a voice, and applause covers its words. Nothing favours one job over another.",
    gold=None,
)
# The example that declines is not the last: the last one weighs most.
EXEMPLARS = {"mcot": (SOUND, MUSIC, HONEST, SPEECH), "mcot_no_idk": (SOUND, MUSIC, SPEECH)}
AS_TURNS = ("mcot_turns", "mcot_turns_no_idk")
EXEMPLARS |= {method: EXEMPLARS[method.replace("_turns", "")] for method in AS_TURNS}


def listing(options: tuple[str, ...]) -> str:
    """Options one a line, lettered: "(A) bell", and so where they carry letters or numbers of their own ("A. bell")."""
    texts = without_labels(tuple(options))
    return "\n".join(f"({chr(65 + i)}) {text}" for i, text in enumerate(texts))


def exemplar_text(exemplars: Sequence[Exemplar]) -> str:
    """The examples as they stand before the question; "" if there are none."""
    texts = [
        EXAMPLE.format(heard=e.description, question=e.question, options=listing(e.options), reply=e.reply)
        for e in exemplars
    ]
    return EXAMPLES.format(examples="".join(texts)) if texts else ""


def exemplar_turns(exemplars: Sequence[Exemplar], instruction: str) -> list[Turn]:
    """The examples as earlier turns: each a user's without a clip, asked by `instruction`, and the reply to it."""
    turns = []
    for e in exemplars:
        question = OPTIONS.format(question=e.question, options=listing(e.options))
        turns.append(Turn(role="user", text=HEARD.format(heard=e.description) + question + instruction))
        turns.append(Turn(role="assistant", text=e.reply))
    return turns


def render(
    item: Item, method: str = "plain", *, audio: bool = True, exemplars: Sequence[Exemplar] | None = None
) -> Prompt:
    """The prompt of `method` for `item`; `audio=False` leaves the clip out (the text-only control).

    `exemplars`: other worked examples than the method's own, in this order. Raises ValueError for a method
    that does not exist, and for examples with a method that shows none.
    """
    if method not in (*QUESTIONS, "audio_type"):
        raise ValueError(f"no method {method!r}: choose one of {', '.join((*QUESTIONS, 'audio_type'))}")
    if exemplars is not None and method not in EXEMPLARS:
        raise ValueError(f"method {method!r} shows no examples: give them to {' or '.join(EXEMPLARS)}")
    clips = (item.clip,) if audio else ()
    if method == "audio_type":
        turn = Turn(role="user", text=AUDIO_TYPE, clips=clips)
        return Prompt(turns=(turn,), options=("sound", "music", "speech"))
    examples = EXEMPLARS.get(method, ()) if exemplars is None else exemplars
    text = OPTIONS.format(question=item.question, options=listing(item.options)) + QUESTIONS[method]
    earlier = exemplar_turns(examples, QUESTIONS[method]) if method in AS_TURNS else []
    above = "" if earlier else exemplar_text(examples)
    return Prompt(turns=(*earlier, Turn(role="user", text=above + text, clips=clips)), options=item.options)
