"""The page of a guidance run in headless Chromium."""

from __future__ import annotations

import pytest

from theodolite.report.render import write_report

pytestmark = pytest.mark.browser
LAPTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


@pytest.mark.parametrize("viewport", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_a_page_of_guidance_is_drawn_inside_the_screen(visit, make_guidance, viewport):
    page = visit(write_report(make_guidance({"scaling": 80.0, "contrast": 60.0, "random": 1.0})), viewport)
    assert page.eval_on_selector_all(".plot", "all => all.filter(p => !p.querySelector('.main-svg')).length") == 0
    assert page.locator("#figure-change .points path").count() == 9
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
