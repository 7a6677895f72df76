# SPDX-License-Identifier: BSD-3-Clause
"""`python -m brazen`: what it prints of itself, and that a wrong word ends with status 2 and what would have done."""

import brazen
import pytest
from brazen import __main__


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        __main__.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"brazen {brazen.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["info", "selftest", "bench", "demo"]),
        (["bnch"], ["'bnch'", "info", "selftest", "bench", "demo"]),
        (["info", "--jsn"], ["--jsn", "--json"]),
        (["selftest", "--nope"], ["--nope", "--record"]),
        (["demo", "gelu"], ["unrecognized arguments: gelu"]),
        (["bench", "--elements", "many"], ["--elements", "'many'"]),
    ],
)
def test_wrong_words(capsys, arguments, words):
    with pytest.raises(SystemExit) as ended:
        __main__.main(arguments)
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert [word for word in words if word not in shown] == []
