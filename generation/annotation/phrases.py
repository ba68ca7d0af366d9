"""The noun phrases of a caption, each with what is said of it: worn, held or elsewhere; negated; what a lone colour belongs to (R6, R9)."""

from typing import Any

from generation.annotation.carry import NO_END, START, Carry, Reading
from generation.annotation.lexicon import Entry, spelt
from generation.annotation.neighbours import (
    at,
    ends_behind,
    is_absent,
    is_adjective,
    is_adverb,
    is_at_feet,
    is_before_garment,
    is_of_any_kind,
    is_possessive,
    kind_at,
    kind_before,
    list_ends_with_or,
)
from generation.annotation.places import is_from_to, is_of_garment, is_on_garment, is_under_garment
from generation.annotation.relations import holding_place, is_near, is_on_body, is_on_head, relation_after
from generation.annotation.runs import MODIFIERS, NOUNS, Phrase, leads_to_noun, parse_run
from generation.annotation.worn import look_of

_STARTERS = NOUNS | MODIFIERS | {"word"}  # kinds that a noun phrase can begin with
_TARGETS = frozenset({"garment", "hat", "bag", "hair", "hairstyle", "sleeve", "accessory", "part"})
_SAYING = frozenset({"sleeve", "part", "hair", "hairstyle", "no_thing", "hat", "headwear", "bag"})
_COLOURED = frozenset({"headless", "garment", "sleeve", "part", "hair"})  # what is said of others has no use for their colours
_OF_OTHERS = frozenset({"sleeve", "part", "hair", "hairstyle"})  # they hang over shoulders and go round necks, and are worn
_LAYER_LINKS = frozenset({"relative", "det", "be", "modifier"})
_KEEPS_PREDICATE = frozenset({"comma", "det", "be", "relative", "in", "neg", "ender", "all", "both", "kind_of"})
_BEFORE_PREDICATE = frozenset({"in", "be", "det", "kind_of"})
_KEEPS_EVERYWHERE = frozenset({"det", "in", "all", "both", "wear", "be", "pronoun"})
_DESCRIBES_PERSON = frozenset({"det", "person", "modifier", "age", "size", "number"})
_COLOURABLE = frozenset({"garment", "hat", "bag", "accessory"})
_BEFORE_CLAUSE = frozenset({"stop", "comma", "joiner", "relative"})
_HIS = frozenset({"his", "her", "their"})
_BREAKS = frozenset({"stop", "comma", "relative"})
_HAS = ("worn", "held")


def phrases(tokens: list[Entry], carry: Carry = START) -> Reading:
    """All noun phrases. carry: what the words before these tokens leave."""
    state = _State(tokens, carry)
    found: list[Phrase] = []
    i = 0
    while i < len(tokens):
        if tokens[i].kind == "verb" and is_adjective(tokens, i):
            i += 1
            continue
        phrase = parse_run(tokens, i, state.is_behind_its_noun(i)) if tokens[i].kind in _STARTERS else None
        if phrase is None:
            state.read(i)
            i += 1
            continue
        state.describe(phrase)
        phrase.says = _what_it_says(phrase)
        if phrase.says == "garment" and phrase.head is not None:
            phrase.look = look_of(phrase.head, phrase.sleeve, phrase.size, phrase.has_size)
        if phrase.says not in _COLOURED:
            phrase.colours = ()
        found.append(phrase)
        i = phrase.end
        state.leave(phrase)
    return Reading(tuple(found), state.asked, state.settled())


class _State:
    """A Carry that moves through tokens, and takes down what it is asked of the words before them. `end`: where the last phrase ends."""

    relation: str
    negated: bool
    has_negated: bool
    excepted: bool
    everywhere: bool
    target: str
    is_predicated: bool
    or_before: bool
    before_of: str | None
    after_break: bool
    begins: bool
    end: int

    def __init__(self, tokens: list[Entry], carry: Carry) -> None:
        self.tokens = tokens
        self.asked: dict[str, Any] = {}
        self._carry = carry
        self._start = 0  # of the last phrase with a noun

    def __getattr__(self, name: str) -> Any:
        """What these tokens have not settled is as the words before them left it."""
        value = self.asked[name] = getattr(self._carry, name)
        setattr(self, name, value)
        return value

    def settled(self) -> dict[str, Any]:
        """At the end of the tokens."""
        self.has_negated = self.has_negated and self.negated
        self.end = 0 if vars(self).get("end") == len(self.tokens) else NO_END
        self.after_break, self.begins = kind_at(self.tokens, len(self.tokens) - 1) in _BREAKS, False
        return {name: value for name, value in vars(self).items() if name in Carry._fields}

    def read(self, i: int) -> None:
        """Take in one token that belongs to no noun phrase."""
        token = self.tokens[i]
        handler = _READERS.get(token.kind)
        if handler is not None:
            handler(self, i)
        begins_item = token.kind == "det" and kind_at(self.tokens, i - 1) == "comma"  # "a black hat, a yellow and black top"
        if begins_item or (token.kind not in _KEEPS_PREDICATE and not self._is_bridge(i)):
            self.is_predicated = False
        if token.kind not in _KEEPS_EVERYWHERE:
            self.everywhere = False

    def _is_bridge(self, i: int) -> bool:
        """ "a coat of wool", "coat: green", "pants are of a gray", "the back of it is red", "neither black nor blue"."""
        token = self.tokens[i]
        before = at(self.tokens, i - 1)
        is_of = (token.text == "of" and before.kind == "be") or (token.text in ("of", ":") and self.end == i)
        is_of = is_of or (token.text == "it" and before.text == "of")
        return is_of or token.item == "nor" or is_adverb(self.tokens, i)

    def is_behind_its_noun(self, i: int) -> bool:
        """A colour at i is said of the noun before: "his hat is | red", "a hat | red"; but not "a hoodie, red and blue leggings",
        "a bun in | blue and white clothes"."""
        is_behind = kind_at(self.tokens, i - 1) in _BEFORE_PREDICATE or at(self.tokens, i - 1).text in ("of", ":") or self.end == i
        return is_behind and self.is_predicated and not (kind_before(self.tokens, i) == "in" and self.target in ("hair", "hairstyle"))

    def describe(self, phrase: Phrase) -> None:
        """Write the state into a phrase that starts now."""
        phrase.relation, phrase.negated, phrase.excepted, phrase.or_before = self.relation, self.negated, self.excepted, self.or_before
        if phrase.relation == "hung":
            phrase.relation = "held" if phrase.head is not None and phrase.head.kind in ("garment", "hat", "bag") else "worn"
        if phrase.head is None:
            phrase.is_predicate = (self.is_predicated or self._is_on_part(phrase.end)) and not self.everywhere
            phrase.resumes = phrase.is_predicate and self._is_behind_clause(phrase.start)
            phrase.everywhere = not phrase.is_predicate and (self.everywhere or kind_before(self.tokens, phrase.start) in ("in", "wear"))
        elif phrase.head.kind in ("garment", "hat", "bag") and self._begins_clothes(phrase):
            phrase.relation = self.relation = "worn"
        phrase.of_any_kind = is_of_any_kind(self.tokens, phrase)
        phrase.negated = phrase.negated or is_absent(self.tokens, phrase)
        if phrase.head is not None and phrase.head.kind == "hat" and is_on_head(self.tokens, phrase.end):
            phrase.relation = "worn"
        elif phrase.head is not None and phrase.head.kind == "bag" and is_on_body(self.tokens, phrase.end):
            phrase.relation = "held"
        elif phrase.head is not None and phrase.head.kind not in _OF_OTHERS and phrase.relation in ("worn", "held"):
            phrase.relation = relation_after(self.tokens, phrase, self.begins) or phrase.relation

    def _is_behind_clause(self, i: int) -> bool:
        """ "his shirt, open over a tee, is | grey"; but "his shirt, which shines, is | grey"."""
        i -= kind_at(self.tokens, i - 1) == "det"
        return [kind_at(self.tokens, i - 2), kind_at(self.tokens, i - 1)] == ["comma", "be"] and self.end == i - 2

    def _is_on_part(self, i: int) -> bool:
        """ "a hoodie, red at the body and | black at the sleeves"."""
        if kind_at(self.tokens, i) != "place" or self.tokens[i].text not in ("at", "on", "across", "around"):
            return False
        i += 1 + (kind_at(self.tokens, i + 1) == "det")
        is_part = kind_at(self.tokens, i) in ("part", "sleeve") or (i < len(self.tokens) and self.tokens[i].text in spelt("sides"))
        return is_part and self.target in ("garment", "part", "sleeve")

    def _begins_clothes(self, phrase: Phrase) -> bool:
        """ "walking by a shop, | blue jeans", and no list of what is not worn: "a rack of coats, | shirts", "by a bench, | a bag". "Holding
        a phone and his | coat is red" begins a clause."""
        i = phrase.start
        if kind_at(self.tokens, phrase.end) == "be" and at(self.tokens, i - 1).text in _HIS:
            return self.relation != "hung"
        while kind_at(self.tokens, i - 1) == "det":
            i -= 1
        i -= kind_at(self.tokens, i - 1) == "joiner"
        if kind_at(self.tokens, i - 1) != "comma" or self.relation in ("worn", "hung"):
            return False
        is_in_list = self.end == i - 1
        if phrase.head is not None and phrase.head.kind == "garment":
            if self.relation == "held" and i < phrase.start:
                return False  # "holding a bag, a coat"; but "holding a bag, blue jeans"
            return not (is_in_list and self.target in ("garment", "hat"))
        ends_list = phrase.head is not None and phrase.head.kind == "hat" and kind_at(self.tokens, i) == "joiner"  # ", and | a hat"
        return ends_list or (self.relation == "other" and not is_in_list)

    def leave(self, phrase: Phrase) -> None:
        """Update the state behind a phrase."""
        kind = phrase.head.kind if phrase.head is not None else None
        if kind is None:
            self.is_predicated = phrase.is_predicate
            self.end = phrase.end if phrase.is_predicate else self.end
        else:
            if kind == "word" and phrase.word in spelt("layered"):
                pass  # "a shirt layered | open over a vest"
            elif kind != "body":  # "a coat, belted at the waist, over a dress"
                self.target, self._start, self.end = kind if kind in _TARGETS else "", phrase.start, phrase.end
            else:
                self.end = phrase.end
            may_be_coloured = kind != "body" or phrase.word in spelt("sides")
            self.is_predicated = may_be_coloured and self.target != ""
        self.excepted = self.everywhere = self.or_before = False
        if kind == "body" and self.relation in ("placed", "worn") and self._holds_what_follows(phrase):
            self.relation = "hung"
        elif kind in ("body", "sleeve", "part") and self.relation == "placed" and not is_at_feet(self.tokens, phrase):
            self.relation = "worn"  # "on his head is a hat", "with a bag on her shoulder and jeans"
        elif self.relation == "hung":
            self.relation = "hung" if phrase.word in spelt("carried") else "worn"  # "around his waist he has | tied a coat"
        elif self.before_of is not None:
            self.relation = self.before_of  # "a cup of tea and a hat"
        self.before_of = None
        if self.negated:
            is_new = phrase.is_predicate and leads_to_noun(self.tokens, phrase.end + 1)  # "neither black nor gray and | pants"
            self.negated = self._scope_goes_on(phrase.end, is_list=self.has_negated) and not is_new
            self.has_negated = True

    def _holds_what_follows(self, body: Phrase) -> bool:
        """ "Around his | waist, a coat is tied", "Tied around his | waist is a coat", ", over his | arm hangs a coat"; but ", a coat, tied
        around his | waist, jeans"."""
        place = holding_place(self.tokens, body)
        following = at(self.tokens, body.end)
        if place < 0 or following.kind in _STARTERS or following.kind == "joiner":  # "in a hand | knitted coat", "in her hands | and ..."
            return False
        i = place
        while i > 0 and self.tokens[i - 1].text in spelt("carried"):
            i -= 1
        before = kind_at(self.tokens, i - 1)
        is_inverted = following.kind == "be" or following.text in spelt("hangs")
        if i < place or before in ("comma", "joiner"):
            may_begin = before == "joiner" or self._is_after_break(i)
            return may_begin and (is_inverted or (i == place and before == "comma" and following.kind == "det"))
        return self._is_after_break(i)

    def _scope_goes_on(self, i: int, is_list: bool) -> bool:
        kind, following = kind_at(self.tokens, i), kind_at(self.tokens, i + 1)
        if kind == "comma" and following == "joiner":  # "no cap, or scarf", "no cap, gloves, and scarf", but not "no cap, and jeans"
            return self.tokens[i + 1].item != "and" or (is_list and kind_at(self.tokens, i + 2) not in ("", "det", "pronoun"))
        if kind == "joiner":
            return self.tokens[i].item in ("or", "nor") or following in NOUNS or following in MODIFIERS
        if kind == "comma":
            return following in NOUNS or following in MODIFIERS or list_ends_with_or(self.tokens, i)
        return kind in ("of_any_kind", "neg")

    def _read_wear(self, i: int) -> None:
        if self.tokens[i].text != "has" or self.relation != "hung":
            self.relation = "worn"
        self._end_scope()

    def _read_with(self, i: int) -> None:
        is_own = self.relation == "contrast" and is_possessive(at(self.tokens, i + 1))
        self.relation = "placed" if self.relation in ("apart", "contrast") and not is_own else "worn"
        self._end_scope()

    def _read_apart(self, i: int) -> None:
        """ "contrasts with the wall", "talks with a man": what comes behind "with" is not worn; but "contrasts with | her coat"."""
        self.relation = "contrast" if self.tokens[i].text in spelt("contrasts") else "apart"
        self._end_scope()

    def _read_in(self, i: int) -> None:
        self.is_predicated = self.is_predicated and self.end == i  # "a top in green"
        self.relation = "worn"
        self._end_scope()

    def _read_hold(self, i: int) -> None:
        self.relation = "held"
        self._end_scope()

    def _read_verb(self, i: int) -> None:
        if not (kind_at(self.tokens, i - 1) in ("body", "wear") and self.tokens[i].text in spelt("hangs")):  # "on her arm hangs a bag"
            self.relation = "other"
        self._end_scope()

    def _read_place(self, i: int) -> None:
        before = kind_at(self.tokens, i - 1) if self.tokens[i].text == "of" else ""
        if is_adverb(self.tokens, i):
            return
        is_of_thing = (
            self.end == i and self.target in ("", "bag", "accessory") and self.relation in ("worn", "held") and is_near(self.tokens, i)
        )
        if is_of_thing and self.tokens[i + 1].text in ("him", "her", "them"):
            return  # "with a crate | beside him and a hat"; but "in a coat | on a bench and a bag"
        if before == "garment":
            self._read_in(i)  # "a coat of green wool"
        elif self.tokens[i].text == "on" and self.target == "garment" and is_before_garment(self.tokens, i):
            self._read_layer(i)  # "a blazer (that hangs open) on a white shirt"
        else:  # "in the pockets of his black jacket", "the collar of her coat"
            tokens, begins = self.tokens, self._is_after_break(i)
            is_worn = before in ("body", "part", "sleeve") or is_on_garment(tokens, i, self.end) or is_of_garment(tokens, i)
            is_worn = is_worn or is_under_garment(tokens, i, self.end, self.target, begins) or is_from_to(tokens, i)
            self.before_of = self.relation if is_of_thing or self.tokens[i].text == "of" else None
            self.relation = "worn" if is_worn else "placed"

    def _is_after_break(self, i: int) -> bool:
        return self.after_break if i == 0 else kind_at(self.tokens, i - 1) in _BREAKS

    def _read_layer(self, i: int) -> None:
        """ "a coat over a shirt", "a shirt that is open over a vest", "her hair falls over her coat", "a shawl over a dress"; but "leaning
        over a fence"."""
        if ends_behind(self.tokens, i):
            return  # "hunched over, a black coat"
        begin = i
        while begin > 0 and self.tokens[begin - 1].text in spelt("layered"):
            begin -= 1
        begins = self._is_after_break(begin) or kind_at(self.tokens, i - 1) == "wear"
        if begins and is_before_garment(self.tokens, i):
            self.relation = "worn"  # "over a shirt he wears a jacket", "a shirt, worn over a vest", "a shirt that he wears over a vest"
            return
        below = ("garment", "hat") if self.target == "part" else ("garment",)  # "the hood is up over a cap"
        may_lie_over = self.target in ("garment", "hair", "hairstyle") or (self.target != "" and is_before_garment(self.tokens, i, below))
        is_layer = may_lie_over and self.end != NO_END
        is_layer = is_layer and all(t.kind in _LAYER_LINKS or t.text in spelt("layered") for t in self.tokens[self.end : i])
        self.relation = "worn" if is_layer else "placed"

    def _read_be(self, i: int) -> None:
        self._end_scope()
        before = at(self.tokens, i - 1)
        is_behind_wearer = before.kind == "person" and self._is_of_wearer(i)
        if before.kind in ("wear", "comma", "det") or before.text in spelt("referring") or is_behind_wearer:
            self.is_predicated = self.target != ""  # "the shirt he is wearing is red", "a coat, which is new, is red", "a skirt, it is red"
        if before.kind in _COLOURABLE and self.end == i and self._began_clause():
            self.is_predicated, self.end = True, i + 1  # "his shoes are | in red"; but "a man in a coat is | in red"

    def _began_clause(self) -> bool:
        """Whether the last noun phrase did: ". His | red coat". A colour at the start of these tokens may stand behind another noun."""
        i = self._start
        while kind_at(self.tokens, i - 1) == "det" or is_possessive(at(self.tokens, i - 1)):
            i -= 1
        return kind_at(self.tokens, i - 1) in _BEFORE_CLAUSE or (i == 0 and self.tokens[0].kind != "colour")

    def _is_of_wearer(self, i: int) -> bool:
        """ "the coat of the woman | is red"."""
        return at(self.tokens, _before_person(self.tokens, i - 1) - 1).text in spelt("of_wearer")

    def _read_comma(self, i: int) -> None:
        if not self.has_negated:
            self.negated = False  # "cannot be seen, a red coat"

    def _read_stop(self, i: int) -> None:
        self.relation = "worn"
        self.negated = False

    def _read_person(self, i: int) -> None:
        self.relation, self.before_of = "worn", None
        if not self._is_wearer(i):
            self.target = ""
        self._end_scope()
        if self.negated:  # "no people are around, and he wears a hat"
            self.negated, self.has_negated = self._scope_goes_on(i + 1, is_list=False), True

    def _is_wearer(self, i: int) -> bool:
        """ "the coat that | the woman wears is red", "the coat worn by | the young man is red"."""
        begin = _before_person(self.tokens, i)
        begin -= at(self.tokens, begin - 1).text in spelt("of_wearer")
        return begin <= self.end <= i

    def _read_pronoun(self, i: int) -> None:
        """A new clause ("his jacket is blue") starts with what the person wears."""
        if self._is_after_break(i) and not (self.tokens[i].text in ("he", "she") and self.relation == "hung"):
            self.relation = "worn"

    def _read_neg(self, i: int) -> None:
        doubled = self.negated and not self.has_negated  # "never without"
        self.negated, self.has_negated = not doubled, False
        if doubled:
            self.relation = "worn"  # "never seen without his cap"

    def _read_ender(self, i: int) -> None:
        self.negated = False

    def _read_except(self, i: int) -> None:
        self.excepted, self.negated, self.relation = True, False, "worn"

    def _read_all(self, i: int) -> None:
        self.everywhere = True

    _read_both = _read_all

    def _read_joiner(self, i: int) -> None:
        self.or_before = self.tokens[i].item == "or" and not self.negated
        if self.tokens[i].item == "nor":
            self.negated = True  # "has no hat on, nor is he carrying a bag"
        if self.tokens[i].item in ("or", "nor"):
            self.has_negated = False  # "not wearing a hat or carrying a bag": the scope goes on

    def _end_scope(self) -> None:
        if self.has_negated:
            self.negated = False


_READERS = {name.removeprefix("_read_"): reader for name, reader in vars(_State).items() if name.startswith("_read_")}


def _before_person(tokens: list[Entry], i: int) -> int:
    """Where the description of the person at i begins: "| the young woman"."""
    while kind_at(tokens, i - 1) in _DESCRIBES_PERSON:
        i -= 1
    return i


def _what_it_says(phrase: Phrase) -> str:
    if phrase.head is None:
        return "headless"
    kind = phrase.head.kind
    if kind == "body" or phrase.head.text in spelt("on_garments"):
        return "aside"
    if kind == "garment":
        return kind if phrase.relation == "worn" and not phrase.negated else ""
    return kind if kind in _SAYING else ""
