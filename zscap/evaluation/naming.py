"""Does a caption name the sound? A list of words for each class of ESC-10, of ESC-50 and of kitchen20."""

import re

from ..errors import InvalidOption, suggestion

NAMES = {
    "baby_cry": r"\b(?:baby|babies|infant|newborn|toddler)",
    "chainsaw": r"\b(?:chain ?saw|saw\b|sawing)",
    "clock_tick": r"\b(?:clock|watch\b|tick)",
    "dog_bark": r"\b(?:dogs?\b|puppy|bark)",
    "fire_crackling": r"\b(?:fire|campfire|bonfire|flames?|crackl)",
    "helicopter": r"\b(?:helicopter|chopper)",
    "person_sneeze": r"\bsneez",
    "rain": r"\brain",
    "rooster": r"\b(?:rooster|cock\b|crow(?:s|ing|ed)\b|cockerel)",  # the verb: a crow is another bird
    "sea_waves": r"\b(?:waves?\b|ocean|sea\b|surf)",
}

ESC50 = {  # its forty other classes
    "airplane": r"\b(?:air|aero)?planes?\b|\b(?:aircraft|jet)",
    "breathing": r"\b(?:breath|inhal|exhal|pant(?:s|ing)\b)",
    "brushing_teeth": r"\b(?:brush|toothbrush|teeth|tooth)",
    "can_opening": r"\b(?:a|the|of|soda|beer|tin) cans?\b|\bcan (?:opens|is|being|of)\b|\b(?:soda|beer|tin)\b",
    "car_horn": r"\b(?:horn|honk)",
    "cat": r"\b(?:cats?\b|kitten|meow)",
    "chirping_birds": r"\b(?:birds?\b|birdsong|chirp|tweet)",
    "church_bells": r"\b(?:bells?\b|church|chim(?:e|ing))",
    "clapping": r"\b(?:clap|applau)",
    "clock_alarm": r"\b(?:alarm|clock|beep)",
    "coughing": r"\bcough",
    "cow": r"\b(?:cows?\b|cattle|moo(?:s|ing)?\b)",
    "crickets": r"\bcricket",
    "crow": r"\b(?:crows?\b|caw|raven)",
    "door_wood_creaks": r"\b(?:doors?\b|creak|squeak|hinge)",
    "door_wood_knock": r"\b(?:knock|doors?\b)",
    "drinking_sipping": r"\b(?:drink|sip|slurp|gulp|swallow)",
    "engine": r"\b(?:engine|motor)",
    "fireworks": r"\b(?:firework|firecracker)",
    "footsteps": r"\b(?:footstep|walk|steps\b)",
    "frog": r"\b(?:frog|toad|croak)",
    "glass_breaking": r"\b(?:glass|shatter)",
    "hand_saw": r"\b(?:hand)?saw(?:s|ing|ed)?\b",
    "hen": r"\b(?:hens?\b|chicken|cluck)",
    "insects": r"\b(?:insect|fly\b|flies\b|bees?\b|buzz|mosquito)",
    "keyboard_typing": r"\b(?:typ(?:es?|ing|ed)\b|keyboard|keys\b)",
    "laughing": r"\b(?:laugh|giggl)",
    "mouse_click": r"\b(?:mouse|click)",
    "pig": r"\b(?:pigs?\b|piglet|oink|hogs?\b)",
    "pouring_water": r"\b(?:pour|water)",
    "sheep": r"\b(?:sheep|lamb|bleat|baa)",
    "siren": r"\b(?:siren|ambulance|police|fire ?trucks?\b)",
    "snoring": r"\bsnor",
    "thunderstorm": r"\b(?:thunder|storm)",
    "toilet_flush": r"\b(?:toilet|flush)",
    "train": r"\b(?:trains?\b|locomotive|railroad|railway)",
    "vacuum_cleaner": r"\bvacuum",
    "washing_machine": r"\b(?:wash|laundry)",
    "water_drops": r"\b(?:drip|drops?\b|droplet|dropping)",
    "wind": r"\bwind(?:s|y)?\b",
}
KITCHEN20 = {
    "blender": r"\b(?:blend|mixer)",
    "boiling-water": r"\b(?:boil|kettle|bubbl)",
    "book": r"\b(?:books?\b|pages?\b|paper)",
    "chopping": r"\b(?:chop|cut|knife)",
    "clean-dishes": r"\b(?:dish|wash)",
    "cupboard": r"\b(?:cupboard|cabinet)",
    "cutlery": r"\b(?:cutlery|silverware|forks?\b|kni(?:fe|ves)\b|spoon|utensil)",
    "dishwasher": r"\bdish ?washer",
    "drawer": r"\bdrawer",
    "eat": r"\b(?:eat|chew|crunch|munch|bit(?:e|es|ing)\b)",
    "fridge": r"\b(?:fridge|refrigerator)",
    "frying-pan": r"\b(?:fry|fries|fried|sizzl|pans?\b)",
    "juicer": r"\bjuic",
    "microwave": r"\bmicrowave",
    "peel": r"\bpeel",
    "plates": r"\b(?:plates?\b|dish(?:es)?\b)",
    "stove-burner": r"\b(?:stove|burner|gas\b|ignit)",
    "stove-fan": r"\b(?:fans?\b|hood|ventilat|exhaust)",
    "sweep": r"\b(?:sweep|swept|broom)",
    "water-flowing": r"\b(?:water|tap\b|faucet)",
}
ALL = NAMES | ESC50 | KITCHEN20


def names_sound(caption: str, sound: str) -> bool:
    """Does `caption` hold a word for `sound`, a class of ESC-50 or kitchen20 by its folder's name?

    Raises:
        InvalidOption: a class without a word list.

    >>> names_sound("a bird crows", "rooster"), names_sound("a crow caws", "rooster")
    (True, False)
    """
    if sound not in ALL:
        raise InvalidOption(f"sound {sound!r} has no list of words: {suggestion(sound, ALL)}")
    return re.search(ALL[sound], caption, re.IGNORECASE) is not None
