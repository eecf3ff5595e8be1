"""Searching on the page: words, pictures, filters, and the addresses of all that."""

from __future__ import annotations

import re

import pytest
from places import EXAMPLES

pytest.importorskip("playwright", reason="the tests of the page need playwright")
from playwright.sync_api import expect

NEW_PICTURE = EXAMPLES / "animals" / "tabby-cat-face.jpg"


def test_words_find_photos_while_they_are_typed(here):
    here.search("horses")
    here.first_is("horses-on-hill.jpg")
    assert here.where == "q=horses"
    expect(here.page.get_by_role("status").first).to_have_text(re.compile(r"^\d+ photos? found$"))
    expect(here.photos.first).to_have_attribute("aria-label", re.compile("(strong|likely) match"))
    assert len(here.searches()) < 6  # not one for each letter
    here.page.reload()
    here.settled()
    here.first_is("horses-on-hill.jpg")
    assert here.page.get_by_role("searchbox").input_value() == "horses"


def test_an_answer_that_comes_too_late_is_dropped(here):
    held = []
    here.page.route(re.compile(r"q=dog&"), lambda route: held.append(route))
    failed = []
    here.page.on("requestfailed", lambda request: failed.append(request.url))
    here.search("dog")
    here.page.wait_for_function("() => document.body.classList.contains('is-loading')")
    here.search("orchestra")
    here.first_is("orchestra-on-stage.jpg")
    assert len(held) == 1
    assert [url for url in failed if "q=dog&" in url]
    held[0].continue_()
    here.page.wait_for_timeout(300)
    here.first_is("orchestra-on-stage.jpg")


@pytest.mark.parametrize("how", ["drop", "paste", "pick"])
def test_a_picture_is_searched_by_and_its_address_can_be_kept(here, how):
    page = here.page
    if how == "pick":
        page.locator("#file").set_input_files(NEW_PICTURE)
    else:
        here.bring(NEW_PICTURE, how)
    here.first_is("tabby-cat-face.jpg")
    assert re.fullmatch("like=[0-9a-f]{64}", here.where)
    page.wait_for_function("() => document.querySelector('#terms img')?.naturalWidth > 0")
    assert sum("/api/embed" in one for one in here.asked) == 1
    page.reload()
    here.settled()
    here.first_is("tabby-cat-face.jpg")
    page.go_back()
    expect(page.locator("#terms li")).to_have_count(0)
    page.go_forward()
    here.first_is("tabby-cat-face.jpg")
    assert sum("/api/embed" in one for one in here.asked) == 1
    # Words beside it, and less of it.
    here.search("a cow")
    page.wait_for_url(re.compile(r"q=a\+cow&like="))
    page.get_by_role("button", name="More like this picture").click()
    page.wait_for_url(re.compile(r"q=a\+cow&less="))
    here.first_is("cow-on-meadow.jpg")
    page.get_by_role("button", name="Remove this picture").click()
    page.wait_for_url(re.compile(r"\?q=a\+cow$"))


def test_the_address_of_a_picture_of_another_browser_says_what_is_missing(visit, album_address):
    other = visit(album_address)
    other.go(f"/?like={'a' * 64}")
    expect(other.page.get_by_role("heading", name="That did not work")).to_be_visible()
    expect(other.page.locator("#message")).to_contain_text("is not in this browser")


def test_what_is_no_picture_is_refused_in_one_line(here, tmp_path):
    here.expected.append("/api/embed")  # the browser says that the server refused
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture at all")
    here.bring(broken, "drop")
    expect(here.page.locator("#said")).to_contain_text("That picture can't be searched by: ")
    assert here.where == ""


def test_a_photo_is_dragged_into_the_box(here):
    horses = here.page.get_by_role("link", name="horses-on-hill.jpg")
    horses.drag_to(here.page.get_by_role("searchbox"))
    here.page.wait_for_url(re.compile(r"\?like=\d+$"))
    expect(here.page.locator("#terms li")).to_have_count(1)
    expect(here.photos.first).to_have_attribute(
        "aria-label", re.compile("cow|bison|moose|giraffes")
    )


def test_several_chosen_photos_are_one_question(here):
    page = here.page
    for name in ("horses-on-hill", "cow-on-meadow"):
        page.get_by_role("button", name=f"Choose {name}.jpg").click()
    bar = page.get_by_role("region", name="Chosen photos")
    expect(bar).to_contain_text("2 chosen")
    bar.get_by_role("button", name="More like these").click()
    page.wait_for_url(re.compile(r"\?like=\d+&like=\d+$"))
    expect(page.locator("#terms li")).to_have_count(2)
    expect(bar).to_be_hidden()
    here.settled()
    found = here.names()
    assert not {"horses-on-hill.jpg", "cow-on-meadow.jpg"} & {*found}
    page.get_by_role("button", name=f"Choose {found[0]}").click()
    page.get_by_role("button", name="Less like these").click()
    page.wait_for_url(re.compile(r"like=\d+&like=\d+&less=\d+$"))
    expect(page.locator("#terms li.is-less")).to_have_count(1)
    here.settled()
    assert found[0] not in here.names()


def test_more_and_less_like_a_photo_from_the_viewer(here):
    page = here.page
    here.go("/?q=animal&all=1")
    here.photos.first.click()
    name = page.locator(".viewer-title").inner_text()
    page.get_by_role("button", name="Less like this").click()
    page.wait_for_url(re.compile(r"q=animal&less=\d+&all=1$"))
    expect(page.locator("#viewer")).to_be_hidden()
    here.settled()
    assert name not in here.names()[:1]
    here.photos.first.click()
    page.get_by_role("button", name="More like this").click()
    page.wait_for_url(re.compile(r"\?like=\d+$"))
    expect(page.locator("#viewer")).to_be_hidden()
    assert page.get_by_role("searchbox").input_value() == ""


def test_filters_that_are_typed_become_chips_that_can_be_removed(here):
    page = here.page
    here.search("a dog in:animals -cat")
    chips = page.locator("#chips .chip")
    expect(chips).to_have_text(["in any folder animals", "minus cat"])
    chips.first.click()
    page.wait_for_url(re.compile(r"\?q=a\+dog\+-cat$"))
    expect(chips).to_have_count(1)
    assert page.get_by_role("searchbox").input_value() == "a dog -cat"
    here.search("camera:Pixel")
    expect(page.locator("#count")).to_have_text("16 photos")
    here.search("after:never")
    expect(page.get_by_role("heading", name="That can't be asked")).to_be_visible()
    here.expected.append("/api/")
    page.get_by_role("button", name="Clear the question").click()
    expect(page.locator("#count")).to_have_text("60 photos")


def test_words_that_are_being_typed_are_not_lost_when_something_is_clicked(here):
    here.go("/?q=in:animals")
    here.page.evaluate(
        """() => {
          const box = document.querySelector("input[type=search]");
          box.value = "a dog in:animals";
          box.dispatchEvent(new Event("input", {bubbles: true}));
          document.querySelector("#chips .chip").click();
        }"""
    )
    here.page.wait_for_url(re.compile(r"\?q=a\+dog$"))
    assert here.page.get_by_role("searchbox").input_value() == "a dog"


def test_filters_of_the_panel_say_how_many_photos_they_leave(here):
    page = here.page
    page.get_by_role("button", name="Filters", exact=True).click()
    panel = page.get_by_role("complementary", name="Filters")
    panel.get_by_role("button", name="animals, 20 photos").click()
    expect(page.locator("#count")).to_have_text("20 photos")
    assert re.fullmatch(r"in=.*animals", here.where)
    panel.get_by_role("button", name=re.compile(r"^Pixel 7, ")).click()
    page.wait_for_url(re.compile("camera=Pixel"))
    here.settled()
    shown = int(page.locator("#count").inner_text().split()[0])
    expect(panel.get_by_role("button", name=f"Pixel 7, {shown} photos")).to_have_attribute(
        "aria-pressed", "true"
    )
    here.search("bird")
    page.wait_for_url(re.compile("q=bird&in="))
    expect(page.locator("#chips .chip")).to_have_text(["in animals", "Pixel 7"])
    page.get_by_role("button", name="Clear filters").click()
    page.wait_for_url(re.compile(r"\?q=bird$"))
    expect(page.locator("#chips .chip")).to_have_count(0)


def test_the_histogram_is_brushed_and_its_lists_do_the_same(here):
    page = here.page
    page.get_by_role("button", name="Filters", exact=True).click()
    bars = page.locator(".bars")
    box = bars.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 1, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 - 2, y, steps=4)
    page.mouse.up()
    page.wait_for_url(re.compile(r"after=2019-\d\d\.\.20\d\d-\d\d$"))
    expect(page.locator("#chips .chip")).to_have_count(1)
    here.settled()
    brushed = int(page.locator("#count").inner_text().split()[0])
    assert 0 < brushed < 48
    page.get_by_label("From", exact=True).select_option("2020-02")
    page.get_by_label("To", exact=True).select_option("2020-02")
    page.wait_for_url(re.compile(r"after=2020-02\.\.2020-02$"))
    expect(page.locator("#chips .chip")).to_have_text("February 2020")
    expect(page.locator("#photos h2:visible")).to_have_text("February 2020")


def test_photos_are_sorted_by_date_or_relevance(here):
    page = here.page
    expect(page.locator("#photos h2:visible").first).to_have_text("December 2022")
    page.get_by_label("Order").select_option("path")
    page.wait_for_url("**sort=path")
    here.first_is("bison-on-prairie.jpg")
    here.go("/?q=animal&all=1&sort=date")
    months = page.locator("#photos h2:visible").all_inner_texts()
    assert months[0].endswith("2022")
    page.get_by_label("Order").select_option("Best first")
    page.wait_for_url(re.compile(r"\?q=animal&all=1$"))
    expect(page.locator("#photos h2:visible").first).not_to_have_text(months[0])


def test_where_nothing_matches_the_best_are_a_click_away(here):
    page = here.page
    here.search("qwertzuiop asdf")
    expect(page.get_by_role("heading", name="Nothing here matches")).to_be_visible()
    assert here.photos.count() == 0
    page.get_by_role("button", name="Show the closest photos").click()
    page.wait_for_url("**all=1")
    expect(here.photos.first).to_be_visible()
    page.get_by_label("Show weak matches").uncheck()
    expect(page.get_by_role("heading", name="Nothing here matches")).to_be_visible()
    here.search("horses")
    page.get_by_role("button", name=re.compile(r"^Show \d+ weaker match")).click()
    here.settled()
    expect(page.locator("#photos h2:visible")).to_have_text("Weaker matches")


def test_copies_are_folded_and_unfold(here):
    page = here.page
    here.search("horses on a hill")
    here.first_is("horses")
    fold = page.get_by_role(
        "button", name=re.compile("^Show 1 more like (copy-of-horses|horses-on-hill)")
    )
    expect(fold).to_have_text("+1")
    before = here.photos.count()
    fold.click()
    expect(here.photos).to_have_count(before + 1)
    assert {*here.names()[:2]} == {"copy-of-horses.jpg", "horses-on-hill.jpg"}
    expect(fold).to_have_attribute("aria-expanded", "true")
    fold.click()
    expect(here.photos).to_have_count(before)


def test_why_a_photo_was_found_is_said(here):
    here.search("mysore palace")
    here.first_is("mysore-palace.jpg")
    expect(here.photos.first.locator(".why")).to_have_text("found by its name")
    here.photos.first.click()
    here.page.get_by_role("button", name="Details").click()
    about = here.page.get_by_role("complementary", name="About this photo")
    expect(about).to_contain_text("Why it matches")
    expect(about).to_contain_text("Found by its name")


def test_back_and_forward_go_through_what_was_asked(here):
    page = here.page
    here.search("horses")
    here.first_is("horses-on-hill.jpg")
    page.get_by_role("searchbox").press("Enter")
    here.search("orchestra")
    here.first_is("orchestra-on-stage.jpg")
    here.photos.first.click()
    expect(page.locator("#viewer")).to_be_visible()
    asked = len(here.searches())
    page.go_back()
    expect(page.locator("#viewer")).to_be_hidden()
    here.first_is("orchestra-on-stage.jpg")
    page.go_back()
    here.first_is("horses-on-hill.jpg")
    assert page.get_by_role("searchbox").input_value() == "horses"
    page.go_back()
    expect(page.locator("#count")).to_have_text("60 photos")
    page.go_forward()
    here.first_is("horses-on-hill.jpg")
    assert len(here.searches()) == asked  # all of it was remembered
