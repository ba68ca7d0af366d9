"""The noun phrases of a caption, each with what is said of it: worn, held or elsewhere; negated; what a lone colour belongs to (R6, R9)."""

from collections.abc import Iterator

from generation.annotation.lexicon import Entry
from generation.annotation.relations import relation_after
from generation.annotation.runs import MODIFIERS, NOUNS, Phrase, parse_run

_STARTERS = NOUNS | MODIFIERS | {"word"}  # kinds that a noun phrase can begin with
_TARGETS = frozenset({"garment", "hat", "bag", "hair", "hairstyle", "sleeve", "accessory", "part"})
_LAYER_LINKS = frozenset({"relative", "det", "be", "modifier"})
_LAYER_WORDS = frozenset({"worn", "hangs", "hanging", "falls", "falling", "flows", "flowing", "cascades", "cascading", "reaches", "layered", "pulled"})


def phrases(tokens: list[Entry]) -> Iterator[Phrase]:
    """All noun phrases, left to right, with relation and negation; predicative colours are joined to their noun."""
    state = _State()
    i = 0
    while i < len(tokens):
        phrase = parse_run(tokens, i) if tokens[i].kind in _STARTERS else None
        if phrase is None:
            state.read(tokens, i)
            i += 1
            continue
        state.describe(tokens, phrase)
        yield phrase
        i = phrase.end
        state.leave(tokens, phrase)


class _State:
    """What the words so far say about the next noun phrase."""

    def __init__(self) -> None:
        self.relation = "worn"
        self.negated = False
        self.negated_count = 0  # phrases in the scope so far
        self.excepted = False
        self.everywhere = False  # "all", "head to toe" just before
        self.last: Phrase | None = None
        self.predicate: Phrase | None = None
        self.or_before = False
        self.before_of: str | None = None  # the relation that "of" interrupts

    def read(self, tokens: list[Entry], i: int) -> None:
        """Take in one token that belongs to no noun phrase."""
        token = tokens[i]
        handler = _READERS.get(token.kind)
        if handler is not None:
            handler(self, tokens, i)
        of_material = token.text == "of" and self.predicate is not None and self.predicate.end == i
        if token.kind not in ("det", "be", "relative", "in", "neg", "ender", "all", "both") and not of_material:
            self.predicate = None
        if token.kind not in ("det", "in", "all", "both", "wear", "be", "pronoun"):
            self.everywhere = False

    def describe(self, tokens: list[Entry], phrase: Phrase) -> None:
        """Write the state into a phrase that starts now."""
        phrase.relation, phrase.negated, phrase.excepted, phrase.or_before = self.relation, self.negated, self.excepted, self.or_before
        before = _before(tokens, phrase.start)
        if phrase.head is None:
            if self.predicate is not None and not self.everywhere:
                phrase.predicate_of, phrase.is_predicate = self.predicate, True
            else:
                phrase.everywhere = self.everywhere or before in ("in", "wear")
        phrase.of_any_kind = _of_any_kind(tokens, phrase)
        if phrase.head is not None and phrase.relation in ("worn", "held"):
            phrase.relation = relation_after(tokens, phrase) or phrase.relation

    def leave(self, tokens: list[Entry], phrase: Phrase) -> None:
        """Update the state behind a phrase."""
        self.last = phrase if phrase.head is not None and phrase.head.kind in _TARGETS else (None if phrase.head is not None else self.last)
        self.predicate = self.last if phrase.head is not None else phrase.predicate_of
        self.excepted = self.everywhere = self.or_before = False
        if phrase.head is not None and phrase.head.kind in ("body", "sleeve", "part") and self.relation == "placed":
            self.relation = "worn"  # "on his head is a hat", "with a bag on her shoulder and jeans"
        elif self.before_of is not None:
            self.relation = self.before_of  # "a cup of tea and a hat"
        self.before_of = None
        if self.negated:
            self.negated_count += 1
            self.negated = self._scope_goes_on(tokens, phrase.end)

    def _scope_goes_on(self, tokens: list[Entry], i: int) -> bool:
        if i >= len(tokens):
            return False
        token = tokens[i]
        following = tokens[i + 1] if i + 1 < len(tokens) else None
        if token.kind == "joiner":
            if token.item in ("or", "nor"):
                return True
            return following is not None and (following.kind in NOUNS or following.kind in MODIFIERS)
        if token.kind == "comma" and following is not None:
            return following.kind in NOUNS or following.kind in MODIFIERS or following.kind == "joiner" or _list_ends_with_or(tokens, i)
        return token.kind in ("of_any_kind", "neg")

    def _read_wear(self, tokens: list[Entry], i: int) -> None:
        self.relation = "worn"
        self._end_scope()

    _read_with = _read_wear

    def _read_in(self, tokens: list[Entry], i: int) -> None:
        if self.predicate is None or self.predicate.end != i:
            self.predicate = None
        self.relation = "worn"
        self._end_scope()

    def _read_hold(self, tokens: list[Entry], i: int) -> None:
        self.relation = "held"
        self._end_scope()

    def _read_verb(self, tokens: list[Entry], i: int) -> None:
        self.relation = "other"
        self._end_scope()

    def _read_place(self, tokens: list[Entry], i: int) -> None:
        before = tokens[i - 1].kind if tokens[i].text == "of" and i > 0 else ""
        if before == "garment":
            self._read_in(tokens, i)  # "a coat of green wool"
        else:  # "in the pockets of his black jacket", "the collar of her coat"
            is_worn = before in ("body", "part", "sleeve") or self._is_under_garment(tokens, i)
            self.before_of = self.relation if tokens[i].text == "of" else None
            self.relation = "worn" if is_worn else "placed"

    def _is_under_garment(self, tokens: list[Entry], i: int) -> bool:
        """ "pants under her dress"; but "a man in a coat under a bridge"."""
        if tokens[i].text not in ("under", "underneath", "beneath") or self.last is None or self.last.end != i:
            return False
        after = next((t for t in tokens[i + 1 :] if t.kind not in MODIFIERS and t.kind not in ("det", "pronoun")), None)
        return after is not None and after.kind == "garment"

    def _read_layer(self, tokens: list[Entry], i: int) -> None:
        """ "a coat over a shirt", "a shirt that is open over a vest", "her hair falls over her coat"; but "leaning over a fence"."""
        is_layer = self.last is not None and self.last.head is not None and self.last.head.kind in ("garment", "hair", "hairstyle")
        if is_layer and self.last is not None and all(t.kind in _LAYER_LINKS or t.text in _LAYER_WORDS for t in tokens[self.last.end : i]):
            self.relation = "worn"
        else:
            self.relation = "placed"

    def _read_be(self, tokens: list[Entry], i: int) -> None:
        self._end_scope()
        if i > 0 and tokens[i - 1].kind == "wear":
            self.predicate = self.last  # "the shirt he is wearing is red"

    def _read_stop(self, tokens: list[Entry], i: int) -> None:
        self.relation = "worn"
        self.negated = False

    def _read_person(self, tokens: list[Entry], i: int) -> None:
        self.relation = "worn"
        self._end_scope()
        self.last = None

    def _read_pronoun(self, tokens: list[Entry], i: int) -> None:
        """A new clause ("his jacket is blue") starts with what the person wears."""
        previous = tokens[i - 1].kind if i > 0 else "stop"
        if previous in ("stop", "comma", "relative"):
            self.relation = "worn"

    def _read_neg(self, tokens: list[Entry], i: int) -> None:
        doubled = self.negated and self.negated_count == 0  # "never without"
        self.negated, self.negated_count = not doubled, 0
        if doubled:
            self.relation = "worn"  # "never seen without his cap"

    def _read_ender(self, tokens: list[Entry], i: int) -> None:
        self.negated = False

    def _read_except(self, tokens: list[Entry], i: int) -> None:
        self.excepted, self.negated = True, False

    def _read_all(self, tokens: list[Entry], i: int) -> None:
        self.everywhere = True

    _read_both = _read_all

    def _read_joiner(self, tokens: list[Entry], i: int) -> None:
        self.or_before = tokens[i].item == "or" and not self.negated

    def _end_scope(self) -> None:
        if self.negated_count > 0:
            self.negated = False


_READERS = {name.removeprefix("_read_"): reader for name, reader in vars(_State).items() if name.startswith("_read_")}


def _before(tokens: list[Entry], i: int) -> str:
    """Kind of the last token before i that is no article."""
    while i > 0 and tokens[i - 1].kind == "det":
        i -= 1
    return tokens[i - 1].kind if i > 0 else ""


def _list_ends_with_or(tokens: list[Entry], i: int) -> bool:
    """In "no hat, a bag or a scarf" the list behind the comma runs into an "or"."""
    for token in tokens[i + 1 :]:
        if token.item in ("or", "nor") and token.kind == "joiner":
            return True
        if token.kind not in NOUNS and token.kind not in MODIFIERS and token.kind not in ("det", "comma", "word"):
            return False
    return False


def _of_any_kind(tokens: list[Entry], phrase: Phrase) -> bool:
    after = phrase.end < len(tokens) and tokens[phrase.end].kind == "of_any_kind"
    before = phrase.start > 0 and tokens[phrase.start - 1].kind == "kind_of"
    return after or before
