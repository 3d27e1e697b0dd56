"""How plain texts are written for an embedder that sees case and blanks."""

import pytest

from nanov2t.search.surface import Styled, Surface, join, merged, parse

PLAIN = 'call " dr. may " at 555 - 0147 ( office ), not before 9'
WRITTEN = 'Call "Dr. May" at 555-0147 (office), not before 9'


@pytest.mark.parametrize("text", [PLAIN, WRITTEN, "", "a", "don't", "1,000.5%", "--x--"])
def test_what_is_taken_apart_can_be_joined(text):
    assert join(*parse(text)) == text


def test_what_one_text_shows_holds_for_the_next():
    surface = Surface(case=True, spacing=True)
    assert surface.write(PLAIN) == PLAIN
    surface.learn(WRITTEN, tested=True)
    assert surface.write(PLAIN) == WRITTEN
    assert surface.write("ask dr. may about 555 - 0199") == "Ask Dr. May about 555-0199"
    assert surface.write(Styled("dr. may")) == "dr. may"


def test_a_name_keeps_its_capital_and_a_little_word_does_not():
    surface = Surface(case=True, spacing=True)
    surface.learn("Vienna is far.", tested=False)
    assert surface.write("the train to vienna is late .") == "The train to Vienna is late."
    surface.learn("The train is late.", tested=True)
    assert surface.write("vienna has the train .") == "Vienna has the train."


def test_variants_change_one_thing_and_are_merged():
    surface = Surface(case=True, spacing=True)
    variants = list(surface.variants("dr. may , oslo"))
    assert {"Dr. may , oslo", "dr. may, oslo", "dr. may , OSLO", "dr . may , oslo"} <= set(variants)
    tried = ["Dr. may , oslo", "dr. may , Oslo", "dr. may, oslo"]
    assert list(merged("dr. may , oslo", tried)) == ["Dr. may , Oslo", "Dr. may, Oslo"]


def test_a_letter_is_accented_and_the_accent_stays():
    surface = Surface(case=True, spacing=True, accents=True)
    assert {"the Café", "the Çafe"} <= set(surface.accented("the Cafe"))
    assert "cafe" in surface.accented("café") and "cafè" not in surface.accented("café")
    surface.learn("Her Café", tested=True)
    assert surface.write("the cafe") == "The Café"
    assert not list(Surface(case=True, spacing=True).accented("cafe"))


def test_styles_are_the_usual_ways_to_write():
    styles = set(Surface(case=True, spacing=True).styles("my son ' s key"))
    assert {"My son's key", "My Son'S Key", "MY SON'S KEY", "my son's key"} <= styles
    assert set(Surface(case=False, spacing=True).styles("a , b")) == {"a , b", "a, b"}
