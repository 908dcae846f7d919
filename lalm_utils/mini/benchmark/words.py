"""Words that the embedded benchmark speaks, by category, in three groups that share no word.

`IDK` and `TEST` words never occur in `train`, neither spoken nor as an option, so that an item built on them
asks for something the model was never taught.
"""

from __future__ import annotations

TRAIN = {
    "animals": ("tiger", "rabbit", "elephant", "monkey", "spider", "chicken", "dolphin"),
    "colours": ("yellow", "purple", "orange", "silver", "green", "black", "white"),
    "foods": ("banana", "tomato", "potato", "cheese", "butter", "coffee", "sugar"),
    "vehicles": ("bicycle", "airplane", "tractor", "helicopter", "train", "truck", "taxi"),
    "clothes": ("jacket", "trousers", "sweater", "slippers", "gloves", "hat", "scarf"),
    "tools": ("hammer", "ladder", "scissors", "shovel", "bucket", "needle", "axe"),
    "places": ("hospital", "library", "kitchen", "garden", "museum", "station", "church"),
    "jobs": ("doctor", "teacher", "farmer", "soldier", "painter", "singer", "pilot"),
}
IDK = {
    "animals": ("zebra", "penguin", "camel"),
    "foods": ("onion", "pepper", "mushroom"),
    "vehicles": ("scooter", "submarine", "ambulance"),
    "places": ("airport", "cinema", "castle"),
    "jobs": ("lawyer", "carpenter", "waiter"),
}
TEST = {
    "animals": ("giraffe", "lizard", "kangaroo"),
    "foods": ("carrot", "cabbage", "lemon"),
    "vehicles": ("motorcycle", "canoe", "bus"),
    "places": ("bakery", "prison", "stadium"),
    "jobs": ("plumber", "nurse", "sailor"),
}
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
           "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen")  # fmt: skip
CARRIERS = (
    "I think the word is {word}.",
    "Please say {word} again.",
    "We talked about the {word} yesterday.",
    "He wrote {word} on the wall.",
    "Look at the {word} over there.",
    "She never liked the {word}.",
)
