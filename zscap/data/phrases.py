"""Sentences made of phrases: captions of the ten classes of ESC-10, and pairs that differ in style."""

from random import Random

import pandas as pd

# Ways to say what is heard in each class of ESC-10.
CLASS_PHRASES = {
    "baby_cry": (
        "a baby cries|a baby is crying|a baby crying|an infant cries loudly|an infant wails|"
        "a baby sobs and wails|a crying baby|a newborn baby cries|the cry of a baby|a toddler is crying|"
        "babies cry|a child cries"
    ),
    "chainsaw": (
        "a chainsaw runs|a chainsaw is running|a chainsaw cuts wood|a chainsaw revs|a saw cuts through wood|"
        "a chainsaw buzzes loudly|a person uses a chainsaw|a chain saw is cutting a tree|the buzz of a chainsaw|"
        "chainsaws buzz"
    ),
    "clock_tick": (
        "a clock ticks|a clock is ticking|a clock ticking|the ticking of a clock|ticking of a clock|"
        "a clock ticks steadily|a clock tick tocks rhythmically|a watch is ticking|the tick of an old clock|"
        "an alarm clock ticks"
    ),
    "dog_bark": (
        "a dog barks|a dog is barking|a dog barking|a dog barks loudly|dogs bark|dogs are barking|a puppy barks|"
        "the bark of a dog|a small dog yaps|a large dog barks twice|a dog barks in the distance|"
        "a dog growls and barks"
    ),
    "fire_crackling": (
        "a fire crackles|a fire is crackling|fire crackling|a campfire crackles and pops|crackling of a fire|"
        "wood burns and crackles in a fireplace|a fire burns|the crackle of a fire|flames crackle|"
        "a bonfire is burning"
    ),
    "helicopter": (
        "a helicopter flies|a helicopter is flying|a helicopter flies overhead|helicopter blades whir|"
        "a helicopter hovers|the sound of a helicopter|a helicopter engine runs|a helicopter passes by|"
        "helicopters fly by|the rotors of a helicopter spin"
    ),
    "person_sneeze": (
        "a person sneezes|a man sneezes|a woman sneezes|someone sneezes|a person is sneezing|a person sneezing|"
        "someone is sneezing loudly|a sneeze|a loud sneeze|a man sneezes twice|people sneeze|a child sneezes"
    ),
    "rain": (
        "rain falls|rain is falling|it is raining|rain falling|heavy rain pours down|rain falls on a roof|"
        "rain falls steadily|the sound of rain|rain pours|raindrops patter on the ground|rain is pouring|"
        "rain hits a surface"
    ),
    "rooster": (
        "a rooster crows|a rooster is crowing|a rooster crowing|a rooster crows loudly|the crow of a rooster|"
        "roosters crow|a cock crows|a rooster crows in the morning|a rooster calls|a rooster crows on a farm"
    ),
    "sea_waves": (
        "waves crash|waves crash on the shore|waves are crashing|ocean waves crash|sea waves roll in|"
        "the sound of ocean waves|waves break on a beach|waves wash ashore|the sea roars|"
        "the surf crashes against the rocks|ocean waves|waves roll onto the beach"
    ),
}
JOINTS = ("{} and {}", "{} while {}", "{} as {}", "{} with {} in the background", "{}, and {}", "{} followed by {}")


def class_captions(pairs: int, seed: int = 0) -> pd.DataFrame:
    """Make captions of the ten ESC-10 classes: every phrase of one class, then `pairs` random captions of two.

    Returns:
        DataFrame with `text` (lower case, full stop, none twice), `first` and `second` (class names; equal for
        captions of one class).
    """
    random = Random(seed)
    rows = [(f"{phrase}.", name, name) for name, phrases in CLASS_PHRASES.items() for phrase in phrases.split("|")]
    for _ in range(pairs):
        first, second = random.sample(sorted(CLASS_PHRASES), 2)
        phrases = [random.choice(CLASS_PHRASES[name].split("|")) for name in (first, second)]
        rows.append((random.choice(JOINTS).format(*phrases) + ".", first, second))
    return pd.DataFrame(rows, columns=["text", "first", "second"]).drop_duplicates("text").reset_index(drop=True)


# Words of `tense_sentences`; those of the test are in none of its sentences for training.
TENSE_WORDS = {
    "train": {
        "verbs": (
            "barks barking, crows crowing, cries crying, runs running, falls falling, hums humming, sings singing, "
            "talks talking, laughs laughing, rings ringing, drips dripping, buzzes buzzing, plays playing, "
            "walks walking, jumps jumping, sits sitting, stands standing, sleeps sleeping, rumbles rumbling, "
            "crackles crackling, whistles whistling, snores snoring, blows blowing, passes passing, smiles smiling, "
            "eats eating, climbs climbing, splashes splashing, roars roaring, coughs coughing, squeaks squeaking, "
            "sprays spraying, yells yelling, bangs banging, clicks clicking, growls growling, dances dancing, "
            "looks looking, holds holding, moves moving"
        ),
        "subjects": "dog, man, woman, child, bird, machine, bell, clock, car, crowd, engine, baby, river, rooster",
        "places": ", loudly, in the distance, near a road, outside, in a room, on the street, twice, with a friend",
    },
    "test": {
        "verbs": (
            "speaks speaking, chirps chirping, sneezes sneezing, ticks ticking, crashes crashing, hits hitting, "
            "howls howling, swims swimming, rides riding, flows flowing, claps clapping, meows meowing, turns turning, "
            "beeps beeping, throws throwing"
        ),
        "subjects": "cat, boy, girl, person, truck, wind, horse, train, duck",
        "places": ", softly, by a lake, far away, at night",
    },
}


def tense_sentences(pairs: int = 800, seed: int = 0) -> pd.DataFrame:
    """Make sentences in the simple present ("a dog barks") and the same with participles ("a dog barking").

    They teach a classifier a style, which has nothing to do with what is heard or seen. Half of the participles follow
    an "is". The words of the test are new, so that knowing the training's words by heart is worth nothing there.

    Args:
        pairs: drawn for training, a third as many for the test; what is drawn again is left out.

    Returns:
        DataFrame with `text` (none twice), `label` (1 for the simple present, else 0), `pair` (the number that two
        sentences share) and `part` ("train" or "test").
    """
    random, rows = Random(seed), []
    for part, count in {"train": pairs, "test": pairs // 3}.items():
        verbs, subjects, places = (words.split(", ") for words in TENSE_WORDS[part].values())
        for _ in range(count):
            article, progressive, pair = random.choice(("a", "the")), random.choice(("", "is ")), len(rows) // 2
            clauses = [
                (f"{article} {subject}", verb.split())
                for subject, verb in zip(random.sample(subjects, 2), random.sample(verbs, 2), strict=True)
            ][: random.choice((1, 2))]
            place = random.choice(places)
            present = " and ".join(f"{subject} {finite}" for subject, (finite, _) in clauses)
            continuing = " and ".join(f"{subject} {progressive}{participle}" for subject, (_, participle) in clauses)
            rows += [(f"{text} {place}".strip(), label, pair, part) for text, label in ((present, 1), (continuing, 0))]
    table = pd.DataFrame(rows, columns=["text", "label", "pair", "part"])
    return table.drop_duplicates("text", ignore_index=True)
