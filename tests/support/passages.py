"""Made-up passages with repetitions and ties, and the ranking that the scorer alone gives them."""

from functools import cache
from random import Random

from rerank_async.server import LexicalScorer

QUERY = "how does bread dough rise in a cold kitchen"

_WORDS = [
    "bread",
    "dough",
    "rise",
    "rises",
    "risen",
    "cold",
    "kitchen",
    "yeast",
    "flour",
    "water",
    "oven",
    "crust",
    "salt",
    "warm",
    "slow",
    "quick",
    "baker",
    "loaf",
    "table",
    "window",
    "morning",
    "towel",
    "bowl",
    "spoon",
    "hands",
    "time",
    "heat",
    "steam",
    "stone",
    "grain",
    "mill",
    "wheat",
    "rye",
    "sour",
    "starter",
    "gluten",
    "breadth",
    "doughnut",
    "kitchenette",
    "colder",
    "sunrise",
    "showed",
    "risky",
    "ought",
    "itch",
    "colt",
    "undone",
    "größe",
    "naïve",
    "café",
    "発酵",
    "🍞",
    "тесто",
]


@cache
def passages(count, seed=7):
    """So many texts, a third of them repetitions; short, so that different texts tie."""
    random = Random(seed)
    unique = dict.fromkeys(["", " ", "Bread dough", "bread dough", "dough, bread"])
    while len(unique) < count - count // 3:
        unique[" ".join(random.choices(_WORDS, k=random.randint(1, 9)))] = None
    texts = list(unique)[: count - count // 3]
    texts += random.choices(texts, k=count - len(texts))
    random.shuffle(texts)
    return tuple(texts)


@cache
def ranking(texts, top_n=None, query=QUERY):
    """Pairs of (index, score), best first: what one request for all of the texts would have to give."""
    scores = LexicalScorer().score_now(query, texts).scores
    pairs = sorted(enumerate(scores), key=lambda pair: (-pair[1], pair[0]))
    return tuple(pairs[:top_n])


def pairs(response):
    """Pairs of (index, score) of a response, in its order."""
    return tuple((result.index, result.score) for result in response.results)
