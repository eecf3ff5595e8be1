"""Looking at photos on the page: the grid, the viewer, keys, a phone, and what may go wrong."""

from __future__ import annotations

import re
import shutil

import pytest
from cli_process import clipsearch
from example_photos import example_files

pytest.importorskip("playwright", reason="the tests of the page need playwright")
from page_visit import PHONE, served
from playwright.sync_api import expect
from web_door import open_door

from clipsearch import Library

SCRIPT = "<img src=x onerror=alert(1)>.jpg"
_ROWS = "() => document.querySelectorAll('#photos .row').length"


def test_ten_thousand_photos_are_scrolled_to_the_end_and_nothing_jumps(visit, large_address):
    opened = visit(large_address)
    page = opened.go("/")
    expect(page.locator("#count")).to_have_text("10,034 photos")
    seen = 0
    for _ in range(200):
        at = _seen_row(page)
        page.evaluate("() => scrollBy({top: 40 * innerHeight, behavior: 'instant'})")
        page.wait_for_timeout(30)
        assert page.evaluate(_ROWS) < 60
        if at is not None:  # what was laid out once stays where it was
            stays = page.evaluate(
                "([row, top]) => { const one = document.querySelector(`[aria-rowindex='${row}']`);"
                " return !one || one.style.transform === top; }",
                at,
            )
            assert stays
        seen = max(seen, *_indices(page))
        if page.evaluate("() => document.querySelector('#photos').ariaRowCount !== '-1'"):
            break
    page.evaluate("() => scrollTo(0, document.body.scrollHeight)")
    page.wait_for_function("() => document.querySelector(\"[data-index='10033']\")")
    page.evaluate("() => scrollTo(0, 0)")
    page.wait_for_function("() => document.querySelector(\"[data-index='0']\")")
    assert page.evaluate(_ROWS) < 60
    assert len(opened.searches()) < 20


def _seen_row(page):
    return page.evaluate(
        "() => { const row = document.querySelector('#photos .row:last-of-type');"
        " return row && [row.getAttribute('aria-rowindex'), row.style.transform]; }"
    )


def _indices(page):
    return page.locator("#photos .tile").evaluate_all("all => all.map(one => +one.dataset.index)")


def test_a_question_is_paged_to_its_last_answer(visit, large_address):
    opened = visit(large_address)
    page = opened.go("/?q=an+animal&all=1&unfolded=1")
    for _ in range(120):
        page.evaluate("() => scrollTo(0, document.body.scrollHeight)")
        page.wait_for_timeout(40)
        if page.evaluate("() => document.querySelector('#photos').ariaRowCount !== '-1'"):
            break
    expect(page.locator("#count")).to_have_text("10,000 photos")
    assert page.evaluate(_ROWS) < 60


def test_the_first_photo_on_the_screen_stays_when_the_window_changes(visit, large_address):
    opened = visit(large_address)
    page = opened.go("/")
    page.evaluate("() => scrollTo(0, document.body.scrollHeight)")
    page.wait_for_function("() => document.body.scrollHeight > 8000")  # the next page is there
    page.evaluate("() => scrollTo(0, 4200)")
    page.wait_for_function(_ROWS_STAND, arg=1280)
    before = _first_seen(page)
    assert before > 40
    page.set_viewport_size({"width": 700, "height": 800})
    page.wait_for_function(_ROWS_STAND, arg=700)
    assert abs(_first_seen(page) - before) < 6
    page.wait_for_function(
        "index => Math.abs(history.state?.at?.index - index) < 6", arg=_first_seen(page)
    )
    at = _first_seen(page)
    page.reload()
    opened.settled()
    page.wait_for_function(_ROWS_STAND, arg=700)
    assert abs(_first_seen(page) - at) < 6


# Rows stand where the top of the screen is, and fill so many pixels.
_ROWS_STAND = """width => {
  const tiles = [...document.querySelectorAll("#photos .tile")];
  const boxes = tiles.map(one => one.getBoundingClientRect());
  const right = Math.max(...boxes.map(one => one.right));
  return right <= width && right > 0.9 * width
    && boxes.some(one => one.top < 130 && one.bottom > 120);
}"""


def test_who_is_at_the_end_stays_there_while_more_photos_come(visit, large_address):
    opened = visit(large_address)
    held = []
    opened.page.route(re.compile("offset=60"), lambda route: held.append(route))
    page = opened.go("/")
    page.evaluate("() => scrollTo(0, document.body.scrollHeight)")
    page.wait_for_timeout(200)
    at, height = page.evaluate("() => [scrollY, document.body.scrollHeight]")
    assert held
    held[0].continue_()
    page.wait_for_function("height => document.body.scrollHeight > height + 2000", arg=height)
    page.wait_for_timeout(200)
    assert page.evaluate("() => scrollY") == at


def _first_seen(page):
    return page.evaluate(
        "() => Math.min(...[...document.querySelectorAll('#photos .tile')]"
        ".filter(one => one.getBoundingClientRect().bottom > 120).map(one => +one.dataset.index))"
    )


def test_a_place_holder_has_the_shape_of_its_photo(here):
    page = here.page
    held = []
    page.route(re.compile("/thumbs/"), lambda route: held.append(route))
    page.reload()
    here.settled()
    boxes = page.locator("#photos .tile").evaluate_all(
        "all => all.map(one => [one.dataset.id, one.offsetWidth / one.offsetHeight])"
    )
    assert held
    for photo, shown in boxes[:6]:
        said = page.evaluate("id => fetch('/api/photos/' + id).then(one => one.json())", photo)
        assert shown == pytest.approx(max(0.45, said["width"] / said["height"]), rel=0.05)
    for route in held:
        route.continue_()
    page.wait_for_function("() => document.querySelector('.tile.is-loaded')")


def test_the_keyboard_alone_is_enough(here):
    page = here.page
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("animal")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=animal")
    here.settled()
    page.keyboard.press("ArrowDown")
    expect(here.photos.nth(0)).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(here.photos.nth(1)).to_be_focused()
    assert page.locator("a.photo[tabindex='0']").count() == 1
    page.keyboard.press("x")
    expect(page.get_by_role("region", name="Chosen photos")).to_contain_text("1 chosen")
    page.keyboard.press("Escape")
    expect(page.get_by_role("region", name="Chosen photos")).to_be_hidden()
    page.keyboard.press("Enter")
    viewer = page.get_by_role("dialog")
    expect(viewer).to_be_visible()
    second = here.photos.nth(1).get_attribute("title")
    expect(viewer).to_have_accessible_name(second)
    page.keyboard.press("ArrowLeft")
    expect(viewer).to_have_accessible_name(here.photos.nth(0).get_attribute("title"))
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    expect(here.photos.nth(0)).to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.get_by_label("Single letters are keys").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("f")
    expect(page.get_by_role("complementary", name="Filters")).to_be_hidden()


def test_rows_are_walked_with_the_arrows(here):
    page = here.page
    here.photos.first.focus()
    tops = []
    for _ in range(6):
        tops.append(
            page.evaluate("() => document.activeElement.getBoundingClientRect().top + scrollY")
        )
        page.keyboard.press("ArrowDown")
    assert tops == sorted(set(tops))
    seen = page.evaluate(
        "() => { const {top, bottom} = document.activeElement.getBoundingClientRect();"
        " return top >= 60 && bottom <= innerHeight; }"
    )
    assert seen
    page.keyboard.press("Control+End")
    assert page.evaluate("() => document.activeElement.closest('.tile').dataset.index") == "59"
    page.keyboard.press("Control+Home")
    assert page.evaluate("() => document.activeElement.closest('.tile').dataset.index") == "0"


def test_the_viewer_shows_zooms_and_tells(here):
    page = here.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    here.photos.nth(1).click()
    viewer = page.get_by_role("dialog")
    name = here.photos.nth(1).get_attribute("title")
    page.wait_for_function(
        "() => document.querySelector('.frame.is-loaded .large')?.naturalWidth > 0"
    )
    assert "photo=" in here.where
    # Within the dialog, and nowhere else.
    for _ in range(14):
        page.keyboard.press("Tab")
        assert page.evaluate(_FOCUS_IS_WITHIN)
    stage = page.locator(".stage")
    assert not _scale(page)
    page.keyboard.press("+")
    assert _scale(page) == pytest.approx(1.5)
    stage.hover()
    page.mouse.wheel(0, -300)
    page.wait_for_function(
        "() => +/scale\\(([\\d.]+)/.exec(document.querySelector('.frame').style.transform)[1] > 2"
    )
    page.wait_for_function("() => /\\/photos\\/\\d+$/.test(document.querySelector('.large').src)")
    stage.dblclick(position={"x": 300, "y": 200})
    assert not _scale(page)
    page.keyboard.press("i")
    about = page.get_by_role("complementary", name="About this photo")
    photo = re.search(r"photo=(\d+)", here.where)[1]
    said = page.evaluate("id => fetch('/api/photos/' + id).then(one => one.json())", photo)
    for value in (name, said["camera"], said["path"].rpartition("/")[0], "kB"):
        expect(about).to_contain_text(value)
    page.get_by_role("button", name="Copy path").click()
    expect(page.locator("#said")).to_have_text("The path is copied.")
    assert page.evaluate("() => navigator.clipboard.readText()").endswith(name)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == name
    page.keyboard.press("ArrowRight")
    expect(viewer).not_to_have_accessible_name(name)
    page.keyboard.press("ArrowLeft")
    expect(viewer).to_have_accessible_name(name)
    page.get_by_role("button", name="Show folder").click()
    page.wait_for_url(re.compile(r"\?in=[^&]*$"))
    expect(viewer).to_be_hidden()
    expect(page.locator("#chips .chip")).to_have_count(1)


# Or at the browser's own controls, which are behind the last of the dialog's.
_FOCUS_IS_WITHIN = """() => document.activeElement === document.body
  || document.activeElement.closest('#viewer') !== null"""


def _scale(page):
    found = re.search(
        r"scale\(([\d.]+)", page.locator(".frame").evaluate("one => one.style.transform")
    )
    return float(found[1]) if found else None


def test_the_address_of_a_photo_opens_it_and_a_wrong_one_says_so(visit, album_address):
    opened = visit(album_address)
    page = opened.go("/?photo=3")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert opened.where == ""
    opened.expected.append("/api/photos/999999")
    opened.go("/?photo=999999")
    expect(page.locator("#said")).to_be_visible()
    assert page.get_by_role("dialog").count() == 0


def test_a_name_that_is_a_script_is_a_name(here):
    page = here.page
    here.go("/?q=wall+clock&all=1&unfolded=1")
    strange = page.locator(f"a.photo[title='{SCRIPT}']")
    expect(strange).to_have_attribute("aria-label", re.compile(re.escape(SCRIPT)))
    strange.click()
    expect(page.locator(".viewer-title")).to_have_text(SCRIPT)
    page.keyboard.press("i")
    expect(page.get_by_role("complementary", name="About this photo")).to_contain_text(SCRIPT)
    assert page.locator("img[src='x']").count() == 0
    here.go("/?q=" + SCRIPT.replace(" ", "+"))
    assert page.locator("img[src='x']").count() == 0


def test_on_a_phone_all_is_in_reach(visit, album_address):
    opened = visit(album_address, viewport=PHONE, has_touch=True, is_mobile=True)
    page = opened.go("/")
    no_wider = "() => document.documentElement.scrollWidth <= innerWidth"
    assert page.evaluate(no_wider)
    _fingers_fit(page, "#top")
    page.get_by_role("button", name="Filters", exact=True).tap()
    panel = page.get_by_role("complementary", name="Filters")
    expect(panel.get_by_role("button", name="animals, 20 photos")).to_be_visible()
    assert page.evaluate("() => document.querySelector('main').inert")
    _fingers_fit(page, "#panel")
    panel.get_by_role("button", name="animals, 20 photos").tap()
    panel.get_by_role("button", name="Show 20 photos").tap()
    expect(panel).to_be_hidden()
    expect(page.locator("#count")).to_have_text("20 photos")
    page.get_by_role("button", name="Choose", exact=True).tap()
    opened.photos.nth(0).tap()
    opened.photos.nth(1).tap()
    bar = page.get_by_role("region", name="Chosen photos")
    expect(bar).to_contain_text("2 chosen")
    _fingers_fit(page, "#selection")
    bar.get_by_role("button", name="Let go of all").tap()
    opened.photos.nth(0).tap()
    expect(page.get_by_role("dialog")).to_be_visible()
    _fingers_fit(page, "#viewer")
    page.get_by_role("button", name="Details").tap()
    expect(page.get_by_role("complementary", name="About this photo")).to_be_visible()
    assert page.evaluate(no_wider)
    page.get_by_role("button", name="Details").tap()
    first = page.locator(".viewer-title").inner_text()
    _swipe(page)
    expect(page.locator(".viewer-title")).not_to_have_text(first)


def _fingers_fit(page, within):
    small = page.locator(f"{within} :is(button, a, select)").evaluate_all(
        "all => all.filter(one => one.checkVisibility()).map(one => [one.getAttribute('aria-label')"
        " || one.textContent, one.offsetWidth, one.offsetHeight])"
        ".filter(([name, width, height]) => width < 44 || height < 43.5)"
    )
    assert not small


def _swipe(page):
    page.locator(".stage").evaluate(
        """stage => {
          const at = (kind, x) => stage.dispatchEvent(new PointerEvent(kind, {
            pointerId: 7, pointerType: "touch", clientX: x, clientY: 400, bubbles: true}));
          stage.setPointerCapture = () => {};
          at("pointerdown", 300); at("pointermove", 200); at("pointerup", 120);
        }"""
    )


STATES = {
    "home": "/",
    "search": "/?q=animal",
    "weak": "/?q=animal&all=1",
    "nothing": "/?q=qwertzuiop+asdf",
    "refused": "/?q=after:never",
    "filters": "/?q=in:animals&camera=Pixel",
    "pictures": "/?q=cow&like=3&less=5",
}


_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_state_keeps_anyone_out(visit, album_address, scheme):
    from axe_playwright_python.sync_playwright import Axe

    axe = Axe()
    opened = visit(album_address, color_scheme=scheme)
    opened.expected.append("/api/")

    # What is built is the same in either scheme: in the dark only the colours are new.
    usual = _RULES if scheme == "light" else {"type": "rule", "values": ["color-contrast"]}

    def check(what, rules=usual):
        found = axe.run(
            opened.page, options={"runOnly": rules, "resultTypes": ["violations"]}
        ).response["violations"]
        said = [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found]
        assert not said, f"{what}: {said}"

    for name, path in STATES.items():
        page = opened.go(path)
        check(name)
    opened.go("/?q=animal")
    page.get_by_role("button", name="Filters", exact=True).click()
    expect(page.locator(".bars")).to_be_visible()
    page.get_by_role("button", name=re.compile("^Choose .*jpg")).first.click()
    check("the panel, and a photo chosen")
    page.get_by_role("button", name="Keys").click()
    check("keys")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Let go of all").click()
    opened.photos.first.click()
    page.wait_for_function("() => document.querySelector('.frame.is-loaded')")
    page.keyboard.press("i")
    expect(page.get_by_role("complementary", name="About this photo")).to_contain_text("Size")
    check("the viewer")
    page.set_viewport_size(PHONE)
    check("the viewer of a phone")
    page.keyboard.press("Escape")
    check("the panel of a phone", _RULES[:5])  # whose main part is out of reach meanwhile
    page.get_by_role("button", name=re.compile("^Show .* photos$")).click()
    check("a phone")


@pytest.fixture
def growing(tmp_path):
    """Return a folder with a library of 12 photos, and the photos in `photos`."""
    (tmp_path / "photos").mkdir()
    for path in example_files()[:12]:
        shutil.copyfile(path, tmp_path / "photos" / path.name)
    with Library(tmp_path / "library", device="cpu") as library:
        library.index([tmp_path / "photos"], model="builtin")
    return tmp_path


def test_new_photos_come_without_a_reload_and_a_stopped_server_is_said(visit, growing):
    def add(number):
        path = example_files()[number]
        shutil.copyfile(path, growing / "photos" / f"new-{path.name}")
        indexed = clipsearch("index", growing / "photos", "--library", growing / "library")
        assert indexed.code == 0, indexed.err

    with served(growing / "library") as address:
        opened = visit(address, viewport={"width": 900, "height": 500})
        page = opened.go("/")
        expect(page.locator("#count")).to_have_text("12 photos")
        with page.expect_response("**/api/state"):
            pass
        add(30)
        expect(page.locator("#count")).to_have_text("13 photos")
        page.evaluate("() => scrollTo(0, 400)")
        page.wait_for_timeout(200)
        add(31)
        news = page.get_by_role("button", name="1 new photo")
        expect(news).to_be_visible()
        expect(page.locator("#count")).to_have_text("13 photos")
        news.click()
        expect(page.locator("#count")).to_have_text("14 photos")
        assert page.evaluate("() => scrollY") == 0
    opened.expected += ["/api/", "/thumbs/", "ERR_"]
    expect(page.locator("#said")).to_contain_text("does not answer")
    opened.search("dog")
    expect(page.get_by_role("heading", name="The server does not answer")).to_be_visible()


def test_progress_of_a_run_is_shown(here):
    page = here.page
    run = {"phase": "encoding", "done": 120, "total": 900, "process": 1}
    page.route(
        "**/api/state",
        lambda route: route.fulfill(json={"photos": 60, "revision": "1", "indexing": run}),
    )
    expect(page.locator("#busy")).to_have_text("Indexing new photos: 120 of 900 photos")
    assert page.get_by_role("progressbar").evaluate("one => one.value") == pytest.approx(120 / 900)


def test_a_token_is_asked_for_where_one_is_needed(visit, album):
    with open_door(album, token="a-secret-of-a-test") as door:
        opened = visit(door.address)
        opened.expected += ["401"]
        page = opened.go("/?q=horses")
        page.get_by_label("Token").fill("a-secret-of-a-test")
        page.get_by_role("button", name="Open").click()
        opened.first_is("horses")
        assert opened.where == "q=horses"  # and the token is in no address
