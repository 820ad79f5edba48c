"""The page in a browser: every view, one selection, keys, what goes out, hostile runs, and the export."""

from __future__ import annotations

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from theodolite import read_run
from theodolite.explorer.content import Content
from theodolite.explorer.export import export_to
from theodolite.explorer.live import Live

pytestmark = pytest.mark.browser
KINDS = ("survey", "second", "compare", "rank", "hotspots", "path", "phases")
READY = "[data-ready=true]"


@pytest.fixture(scope="module")
def address(chromium, made, serving):
    """Of a page on a run of every kind, with a model for the live panel."""
    live = Live("zoo:patches-kl", None, [made(kind) for kind in KINDS])
    yield serving([Content(read_run(made(kind))) for kind in KINDS], live)
    live.close()


@pytest.fixture
def browse(chromium):
    """Open an address; at the end nothing may have been complained about, nor fetched from elsewhere."""
    pages, troubles = [], []

    def check(request, own):
        if not request.url.startswith((own, "data:", "blob:")):
            troubles.append(request.url)

    def complain(message):
        if "GL Driver Message" not in message.text:  # of a screenshot, or a machine without a graphics card
            troubles.append(message.text)

    def opened(address, hash="", width=1280, height=800, **options):
        page = chromium.new_page(viewport={"width": width, "height": height}, **options)
        pages.append(page)
        own = address.rpartition("/")[0]
        page.on("console", complain)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", lambda dialog: troubles.append(dialog.message))
        page.on("request", lambda request: check(request, own))
        page.goto(f"{address}#{hash}")
        page.wait_for_selector(READY)
        return page

    yield opened
    for page in pages:
        page.close()
    assert not troubles


def run(kind, rest=""):
    return f"run={KINDS.index(kind)}&{rest}"


def test_a_scatter_shows_every_sample_and_what_one_points_at(address, browse):
    page = browse(address, run("survey", "view=scatter&x=gain&y=leading_singular_value&c=source"))
    canvas = page.locator(".plot canvas")
    assert "Gain" in page.locator(".axes .name").first.text_content()
    canvas.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".inspector h2").text_content().endswith(".png")
    page.keyboard.press(" ")
    assert "sel=" in page.url
    assert page.locator(".inspector h3").text_content() == "1 selected"
    ticks = page.locator(".axes").text_content()
    page.keyboard.press("+")
    page.wait_for_function("before => document.querySelector('.axes').textContent !== before", arg=ticks)


def test_a_lasso_selects_for_every_view_and_the_address_keeps_it(address, browse):
    page = browse(address, run("survey", "view=scatter"))
    box = page.locator(".plot canvas").bounding_box()
    page.get_by_role("button", name="Lasso").click()
    corners = [(1, 1), (box["width"] - 1, 1), (box["width"] - 1, box["height"] - 1), (1, box["height"] - 1)]
    page.mouse.move(box["x"] + 1, box["y"] + 1)
    page.mouse.down()
    for x, y in (*corners[1:], corners[0]):
        page.mouse.move(box["x"] + x, box["y"] + y, steps=3)
    page.mouse.up()
    assert "sel=0-5" in page.url
    page.keyboard.press("5")
    page.wait_for_selector(".row.selected")
    assert page.locator(".row.selected").count() == 6
    again = browse(address, page.url.partition("#")[2])
    again.wait_for_selector(".row.selected")
    assert again.locator(".row.selected").count() == 6
    assert again.locator("main").get_attribute("aria-label") == "Table"


def test_the_table_has_the_numbers_sorts_and_filters(address, browse, made):
    page = browse(address, run("survey", "view=table&sort=-gain"))
    measured = read_run(made("survey"))
    values = {row["unit"]: row["value"] for row in measured.rows("gain")}
    order = sorted(values, key=values.get, reverse=True)
    place = {unit: n for n, unit in enumerate(measured.units)}
    shown = page.locator(".rows .row").evaluate_all("rows => rows.map(r => Number(r.dataset.row))")
    assert shown == [place[unit] for unit in order]
    assert page.locator(".rows .row .value").first.is_visible()
    page.get_by_role("columnheader", name="Gain").click()
    first = page.locator(".rows .row").first.get_attribute("data-row")
    assert first == str(place[order[-1]])
    middle = sorted(values.values())[3]
    page.get_by_text("Filter", exact=True).click()
    page.get_by_label("Of").select_option("gain")
    page.get_by_role("textbox", name="value").fill(str(middle))
    page.get_by_role("button", name="Add filter").click()
    assert page.locator(".rows .row").count() == sum(value >= middle for value in values.values())
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")  # out of the field, then out of the menu
    assert page.locator(".menu[open]").count() == 0
    page.get_by_title("remove this filter").click()
    page.get_by_label("search by name").fill(order[2].upper())
    assert page.locator(".rows .row").count() == 1


def test_keys_go_through_samples_views_and_themes(address, browse):
    page = browse(address, run("survey", "view=table"))
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert "at=0" in page.url
    page.keyboard.press(" ")
    page.keyboard.press("a")
    assert "sel=0-5" in page.url
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    assert "sel=" not in page.url
    assert "at=" not in page.url
    before = page.evaluate("document.documentElement.dataset.theme")
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") != before
    page.keyboard.press("?")
    assert page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("2")
    assert page.locator("main").get_attribute("aria-label") == "Gallery"


def test_a_gallery_shows_images_reconstructions_and_differences(address, browse):
    page = browse(address, run("survey", "view=gallery&m.pictures=.,reconstruction,|difference|&at=1"))
    page.wait_for_selector(".gallery img")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.gallery img')].every(i => i.complete && i.naturalWidth > 0)"
    )
    assert page.locator(".tile").count() == 6
    assert page.locator(".tile .frame").count() == 18
    assert page.locator(".tile .difference").count() == 6
    assert page.locator(".tile.focus").count() == 1
    overlaid = browse(address, run("hotspots", "view=gallery&m.pictures=overlay"))
    overlaid.wait_for_selector(".gallery img")
    overlaid.wait_for_function(
        "() => [...document.querySelectorAll('.gallery img')].every(i => i.complete && i.naturalWidth > 0)"
    )
    assert overlaid.locator(".tile img").count() == 3


def test_maps_lie_over_pictures_on_one_scale(address, browse):
    page = browse(address, run("hotspots", "view=gallery&m.pictures=|map curvature|&m.over=40"))
    page.wait_for_selector(".overlay img")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.overlay img')].every(i => i.complete && i.naturalWidth > 0)"
    )
    assert page.locator(".tile .overlay").count() == 3
    assert page.locator(".overlay img:last-child").first.evaluate("image => image.style.opacity") == "0.4"
    assert "Curvature of a cell" in page.locator(".scales").text_content()
    page.get_by_label("how much of a map is seen over its picture").fill("80")
    assert "m.over=80" in page.url
    assert page.locator(".overlay img:last-child").first.evaluate("image => image.style.opacity") == "0.8"


def test_the_spectrum_of_the_selection_stands_beside_all(address, browse):
    page = browse(address, run("survey", "view=spectrum&sel=1,4"))
    page.wait_for_selector(".card .legend")
    names = page.locator(".card .legend span").all_text_contents()
    assert names[0] == "mean of 6"
    assert len(names) == 3
    assert page.locator(".lines polyline").count() == 6 + 1 + 2


def test_the_projection_says_how_much_it_shows(address, browse):
    page = browse(address, run("survey", "view=projection&c=gain"))
    page.wait_for_selector(".plot")
    assert "% of the variance" in page.locator(".axes .name").first.text_content()
    assert "4 × 4 × 4" in page.locator("main .note").last.text_content()


def test_curves_have_bands_and_can_be_hidden(address, browse):
    page = browse(address, run("rank"))
    page.wait_for_selector(".lines polygon")
    page.locator(".controls select").first.select_option("tau")
    figure = page.locator(".card").filter(has_text="MMSE rate").first
    before = figure.locator("polyline").count()
    page.get_by_role("button", name="images", exact=True).click()
    assert 0 < figure.locator("polyline").count() < before
    assert "m.hidden=" in page.url
    page.get_by_role("button", name="zoo:patches-smooth", exact=True).hover()
    unlit = figure.locator("svg > g").evaluate_all("lines => lines.filter(line => +line.style.opacity < 0.5).length")
    assert unlit > 0


def test_a_phase_map_has_its_ridges_geodesics_and_levels(address, browse):
    page = browse(address, run("phases"))
    page.wait_for_selector(".geodesic", timeout=60_000)
    box = page.locator(".plot canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert "log det g" in page.locator(".reading").text_content()
    page.locator("main label:has-text('Level') select").select_option("1")
    page.locator("main label:has-text('Field') select").select_option("regions")
    assert "m.level=1" in page.url


def test_strips_and_pictures_of_units(address, browse):
    page = browse(address, run("path", "view=strips"))
    page.wait_for_function(
        "() => [...document.querySelectorAll('.strip img')].every(i => i.complete && i.naturalWidth > 50)"
    )
    assert page.locator(".strips h3").all_text_contents() == ["linear", "slerp", "geodesic"]


def test_two_sides_are_paired_dots(address, browse):
    page = browse(address, run("compare"))
    page.wait_for_selector(".pair")
    assert page.locator(".pair .dots").count() == 2 * page.locator(".pair").count()
    runs = browse(address, run("survey", "view=pairs&m.pair=gain"))
    runs.wait_for_selector(".pairlist .pair")
    assert runs.locator(".pairlist .pair").count() == 6
    assert "of 6 samples" in runs.locator(".pairlist .legend").text_content()


def test_a_selection_goes_out_as_csv_files_and_a_command(address, browse, made):
    page = browse(address, run("survey", "view=table&sel=1,3"))
    page.get_by_text("Take out").click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Numbers as CSV").click()
    lines = saved.value.path().read_text().splitlines()
    units = read_run(made("survey")).units
    assert lines[0].startswith("unit,file,source,local_scaling,local_scaling stderr,local_scaling status")
    assert [line.split(",")[0] for line in lines[1:]] == [units[1], units[3]]
    with page.expect_download() as saved:
        page.get_by_role("button", name="List of files").click()
    assert saved.value.path().read_text() == f"{units[1]}.png\n{units[3]}.png\n"
    page.evaluate("navigator.clipboard.writeText = async text => { window.copied = text; }")
    page.get_by_role("button", name="Command that measures these again").click()
    command = page.evaluate("window.copied")
    assert command.startswith("theodolite survey zoo:patches-kl --data ")
    assert command.endswith(f"--only {units[1]},{units[3]}")
    assert "--limit" not in command


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_is_wider_than_a_narrow_screen(address, browse, theme):
    page = browse(address, run("survey", "view=scatter&at=1"), width=390, height=844, color_scheme=theme)
    for view in ("Scatter", "Gallery", "Spectrum", "Table"):
        page.get_by_role("tab", name=view).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.locator("main").bounding_box()["height"] > 200
        assert page.evaluate("document.documentElement.dataset.theme") == theme


def test_a_latent_is_turned_under_ones_hands(address, browse):
    page = browse(address, run("survey", "view=turn&at=1"))
    page.wait_for_selector("[data-measured=true]", timeout=120_000)
    still = page.locator(".shot.big img").get_attribute("src")
    page.get_by_label("v1", exact=True).focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("s => document.querySelector('.shot.big img').src !== s", arg=still)
    page.wait_for_selector("[data-measured=true]", timeout=60_000)
    assert page.locator(".handles .numbers div").count() == 3
    assert "gain by location" in page.locator(".shot figcaption").last.text_content()
    page.get_by_role("radio", name="way to another").click()
    page.get_by_role("button", name="Find the geodesic").click()
    page.wait_for_selector("text=straight line", timeout=60_000)
    page.get_by_role("radio", name="plane of three").click()
    page.wait_for_selector(".pad")
    page.wait_for_selector("[data-measured=true]", timeout=60_000)


MARKUP = "<img src=x onerror='window.hacked=1'></script><script>window.hacked=1</script>\"'`${window.hacked=1}"


def poisoned(value):
    """Every string in a record with markup at its end, but for those that must be of a kind."""
    if isinstance(value, dict):
        return {key: poisoned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item) for item in value]
    return value + MARKUP if isinstance(value, str) else value


@pytest.fixture(scope="module")
def hostile(made, tmp_path_factory):
    """A survey in which every string that may be any holds markup that would run."""
    folder = tmp_path_factory.mktemp("hostile") / "run'\"><script>window.hacked=1<"
    shutil.copytree(made("survey"), folder)
    info = json.loads((folder / "run.json").read_text())
    kept = ("format", "kind", "status", "units")
    files = [{**poisoned(file), "sample": file["sample"]} for file in info["data"]["files"]]
    info = {key: value if key in kept else poisoned(value) for key, value in info.items()}
    info["data"]["files"] = files
    info["messages"] = {f"local_scaling{MARKUP}": MARKUP}
    info["failed"] = [{"unit": MARKUP, "what": MARKUP, "reason": MARKUP}]
    info["quantities"] = {f"gain{MARKUP}": info["quantities"]["gain"]}
    (folder / "run.json").write_text(json.dumps(info))
    table = pq.read_table(folder / "quantities.parquet")
    for name in ("quantity", "model", "map"):
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.array([f"{value}{MARKUP}" for value in table[name].to_pylist()]))
    pq.write_table(table, folder / "quantities.parquet")
    return folder


def test_a_strangers_run_runs_no_script(serving, browse, hostile):
    content = Content(read_run(hostile))
    address = serving([content])
    page = browse(address, "at=1&sel=1-2&search=png")
    for number in range(len(content.views)):
        page.keyboard.press(str(number + 1))
        page.wait_for_timeout(150)
        assert page.evaluate("window.hacked") is None
        assert "onerror" in page.locator(".inspector").text_content()
    assert (
        browse(address, f"view=%3Cscript%3E&x={MARKUP[:9]}&f=>x|{MARKUP[:9]}&m.field=__proto__").evaluate(
            "window.hacked"
        )
        is None
    )


def test_an_exported_folder_opens_by_file(chromium, browse, made, hostile, tmp_path):
    contents = [Content(read_run(path)) for path in (made("survey"), made("rank"), made("phases"), hostile)]
    page = browse(export_to(contents, tmp_path / "public").as_uri(), "view=table")
    assert page.locator(".rows .row").count() == 6
    assert page.evaluate("getComputedStyle(document.querySelector('.rows .thumbnail')).backgroundImage").startswith(
        "url"
    )
    page.keyboard.press("2")
    page.wait_for_selector(".gallery img")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.gallery img')].every(i => i.complete && i.naturalWidth > 0)"
    )
    page.keyboard.press("3")
    page.wait_for_selector(".lines polyline")
    for number, found in ((1, ".lines polygon"), (2, ".geodesic"), (3, ".plot")):
        page.get_by_label("run", exact=True).select_option(str(number))
        page.wait_for_selector(found)
    page.keyboard.press("j")
    assert page.evaluate("window.hacked") is None
