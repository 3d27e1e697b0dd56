from nanov2t.core.errors import did_you_mean


def test_only_a_close_word_is_suggested():
    known = ["optim", "out", "data"]
    assert did_you_mean("optm", known) == "; did you mean optim?"
    assert did_you_mean("zebra", known) == ""
    assert did_you_mean("optm", []) == ""
