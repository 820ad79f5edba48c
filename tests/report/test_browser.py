"""The report in headless Chromium: what a reader sees, and that nothing is asked of any network."""

import pytest

from theodolite.report.render import write_report

pytestmark = pytest.mark.browser

HOSTILE = "</script><img src=x onerror=alert(1)>.png"
LAPTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


def wait_until(page, expression):
    """Playwright's own waiting evaluates strings inside the page, which its content policy forbids."""
    for _ in range(100):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never came true: {expression}")


def hover(page, point):
    point.scroll_into_view_if_needed()
    page.wait_for_timeout(150)  # the scroll hides the card; its event must be over before the pointer arrives
    box = point.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 2, y - 2)
    page.mouse.move(x, y)
    page.wait_for_selector("#card:not([hidden])")


def test_every_figure_is_drawn_and_hovering_shows_the_sample(visit, make_run):
    page = visit(write_report(make_run(samples=9, names=(HOSTILE,))))
    drawn = page.eval_on_selector_all(".plot", "all => all.filter(p => p.offsetWidth && !p.querySelector('.main-svg'))")
    assert drawn == []
    assert page.locator("#figure-scatter .points path").count() == 9
    hover(page, page.locator("#figure-scatter .points path").first)
    card = page.locator("#card")
    assert card.locator("h4").text_content() == HOSTILE
    assert card.locator("img").count() == 2
    own = page.locator('#table-samples tr[data-sample="0"] td[data-column="curvature"]').text_content().strip()
    assert own in card.text_content()
    assert page.evaluate("document.querySelectorAll('#card img')[0].naturalWidth") == 32


def test_a_sample_is_ringed_in_the_other_figures_on_the_screen(visit, make_run):
    page = visit(write_report(make_run(samples=9)))
    hover(page, page.locator("#figure-distribution-local_scaling .points path").nth(4))
    ringed = "document.getElementById('figure-distribution-local_rank').data[2].x"
    wait_until(page, f"{ringed}.length === 1")
    rank = page.evaluate("document.getElementById('figure-distribution-local_rank').data[1].x[4]")
    assert page.evaluate(ringed) == [rank]
    page.wait_for_timeout(400)  # drawing the rings must not take the card away
    assert page.locator("#card").is_visible()
    page.mouse.move(2, 2)
    wait_until(page, f"{ringed}.length === 0")
    assert page.locator("#card").is_hidden()


def test_on_a_phone_a_tap_shows_the_sample_and_another_hides_it(visit, make_run):
    page = visit(write_report(make_run(samples=9)), PHONE, has_touch=True, is_mobile=True)
    point = page.locator("#figure-scatter .points path").nth(4)
    point.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    box = point.bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    wait_until(page, "!document.getElementById('card').hidden")
    assert page.locator("#card").bounding_box()["width"] <= PHONE["width"]
    page.touchscreen.tap(20, 20)
    wait_until(page, "document.getElementById('card').hidden")


def test_the_table_sorts_and_unusable_values_stay_last(visit, make_run):
    page = visit(write_report(make_run(samples=8, nothing=("detail_share",))))
    page.locator("#samples summary").click()
    heading = page.locator('#table-samples th[data-column="curvature"]')
    values = "all => all.map(cell => parseFloat(cell.dataset.value))"
    for direction in ("descending", "ascending"):
        heading.locator("button").click()
        assert heading.get_attribute("aria-sort") == direction
        found = page.eval_on_selector_all('#table-samples td[data-column="curvature"]', values)
        assert found == sorted(found, reverse=direction == "descending")
    page.locator("#table-samples thead button").first.click()
    files = page.locator("#table-samples .file").all_text_contents()
    assert files == sorted(files, reverse=True)


def test_meaning_and_variants_are_shown_on_demand(visit, make_run):
    page = visit(write_report(make_run(samples=3)))
    page.get_by_role("button", name="Local rank", exact=True).first.click()
    assert page.locator(".popover:popover-open .formula").text_content().startswith("exp(")
    page.keyboard.press("Escape")
    assert page.locator("tr.variant").first.is_hidden()
    page.get_by_role("button", name="Show variants").click()
    assert page.locator("tr.variant").first.is_visible()
    page.locator("#distributions summary").click()
    page.wait_for_selector("#figure-distribution-curvature_leading .main-svg")


@pytest.mark.parametrize("viewport", [LAPTOP, PHONE], ids=["laptop", "phone"])
@pytest.mark.parametrize("samples", [1, 12])
def test_the_page_is_never_wider_than_the_screen(visit, make_run, viewport, samples):
    names = ("a_very_long_file_name_without_any_place_to_break_it_in_two_0123456789.png",)
    page = visit(
        write_report(make_run(samples=samples, names=names, model="an/extremely_long_model_name_" * 3)), viewport
    )
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    page.get_by_role("button", name="Show variants").click()
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]


def test_it_prints_with_the_figures_inside_the_paper(visit, make_run):
    page = visit(write_report(make_run(samples=9)))
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    widths = page.eval_on_selector_all(".plot .main-svg", "all => all.map(svg => svg.width.baseVal.value)")
    assert max(widths) <= 660
    assert page.locator("#figure-distribution-curvature_leading .main-svg").count() > 0
