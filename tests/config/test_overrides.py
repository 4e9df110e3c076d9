from __future__ import annotations

import pytest

from adfm.config.compose import compose
from adfm.config.overrides import quoted
from adfm.errors import ConfigError


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("dataset.root=Schraube Größe", "Schraube Größe"),
        ("dataset.root=螺丝", "螺丝"),
        ("dataset.root=/data/Größe/螺丝 2#b", "/data/Größe/螺丝 2#b"),
        ("dataset.root='螺丝, 2'", "螺丝, 2"),
        ("dataset.root=a b", "a b"),
        ("dataset.root=5 %", "5 %"),
        ("+dataset.note=größer=5", "größer=5"),
    ],
)
def test_plain_text_in_any_script_is_a_value(argument: str, value: str) -> None:
    dataset = compose("data", [argument]).dataset
    assert dataset.get("note", dataset.root) == value


@pytest.mark.parametrize(
    "argument", ["steps=3", "-m", "--help", "a=b,c", "a=[1,2]", "a=${b}", "a='ö'", "a=[ö]", "a=ö,ü", "a=", "ö", "ö=1"]
)
def test_what_hydra_reads_and_what_may_mean_more_than_text_stays_as_it_is(argument: str) -> None:
    assert quoted(argument) == argument


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("dataset.root=[ö]", r"""dataset.root=[ö]: Hydra cannot read the value (it knows no 'ö'); put text with"""),
        ("dataset.root=a(1).png", "Hydra cannot read the value (mismatched input '.' expecting <EOF>); put text with"),
        ("dataset.root=it's", """dataset.root='"some text"', or dataset.root='["one","two"]'"""),
        ("steps", "steps: is no override, as in key=value (missing EQUAL at '<EOF>')"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_way_to_quote_it(argument: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compose("data", [argument])
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
