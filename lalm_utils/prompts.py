"""The methods' prompt texts as named constants, and their rendering for one item.

In: an `Item` and the name of a method. Out: a `Prompt` of one user turn (clip first, then text). The paper's
exact wordings are not public (arXiv 2505.19294); these are ours. A change to a constant is a change of method:
give it a new name, so that stored replies are never mistaken for replies to another wording.
"""

from __future__ import annotations

from lalm_utils.items import Item
from lalm_utils.models import Prompt, Turn

OPTIONS = "{question}\n{options}\n"
PLAIN = "Which option is correct? Reply with the text of that option."
# The sentence that IDK prompting appends to the question (arXiv 2505.19294, "IDK prompting").
IDK = PLAIN + " If you do not know the answer, reply only with IDK."
STEPWISE = "Think step by step about what you hear. Then finish with a line that starts with 'Answer:'."
AUDIO_TYPE = "What does this recording contain: sound, music or speech? Reply with one word."

QUESTIONS = {"plain": PLAIN, "idk": IDK, "stepwise": STEPWISE}


def listing(options: tuple[str, ...]) -> str:
    """Options one a line, lettered: "(A) bell"."""
    return "\n".join(f"({chr(65 + i)}) {option}" for i, option in enumerate(options))


def render(item: Item, method: str = "plain", *, audio: bool = True) -> Prompt:
    """The prompt of `method` for `item`; `audio=False` leaves the clip out (the text-only control)."""
    if method == "audio_type":
        text, options = AUDIO_TYPE, ("sound", "music", "speech")
    elif method in QUESTIONS:
        text = OPTIONS.format(question=item.question, options=listing(item.options)) + QUESTIONS[method]
        options = item.options
    else:
        raise ValueError(f"no method {method!r}: choose one of {', '.join((*QUESTIONS, 'audio_type'))}")
    clips = (item.clip,) if audio else ()
    return Prompt(turns=(Turn(role="user", text=text, clips=clips),), options=options)
