import html
import json
import re
import sys

import pytest

from theodolite.errors import InputError
from theodolite.estimates import STATUSES
from theodolite.experiments.survey.experiment import EXPERIMENT
from theodolite.report import write_report
from theodolite.runs.folder import RunFolder
from theodolite.runs.run import schema_of

HOSTILE = '</script><img src=x onerror=alert(1)>&".png'


def page(run, **options):
    return write_report(run, **options).read_text(encoding="utf-8")


def own(text):
    """The page without the plotting library."""
    return re.sub(r"<script>/\*\*.*?</script>", "", text, count=1, flags=re.DOTALL)


def sections(text):
    return re.findall(r'<section[^>]* id="([a-z]+)"', text)


def test_the_report_has_every_section_in_order(make_run):
    run = make_run(samples=9)
    path = write_report(run)
    assert path == run.path / "report.html"
    text = path.read_text(encoding="utf-8")
    expected = ["summary", "quantities", "distributions", "spectrum", "scatter", "brittle", "samples", "method"]
    assert sections(text) == [*expected, "glossary", "cite"]
    for words in ("12 March 2026", "Derivative self-check", "truncated image file", "2408.08307", "2604.18804"):
        assert words in text
    for quantity in run.info["quantities"].values():
        assert html.escape(quantity["formula"], quote=False) in html.unescape(text) or quantity["formula"] in text
    assert all(meaning in html.unescape(text) for meaning in STATUSES.values())


def test_nothing_is_fetched_from_anywhere(make_run):
    text = own(page(make_run(samples=3)))
    assert set(re.findall(r'(?:src|href)="(data:|#|[^"]*)', text)) == {"data:", "#"}
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_a_path_or_a_run_is_taken_and_another_file_can_be_named(make_run, tmp_path):
    run = make_run(samples=2)
    out = write_report(run.path, tmp_path / "deep" / "page.html")
    assert out == tmp_path / "deep" / "page.html"
    assert out.read_text(encoding="utf-8") == page(run)
    assert write_report(str(run.path)) == run.path / "report.html"


def test_an_interrupted_run_and_a_failed_check_are_announced(make_run):
    text = page(make_run(samples=3, status="interrupted", self_check={"passed": False, "message": "JVP is wrong"}))
    assert "This run is interrupted." in text
    assert "The derivatives' self-check failed." in text
    assert "JVP is wrong" in text
    assert "This run is" not in page(make_run("fine", samples=3))


def test_one_sample_has_no_distributions_and_no_order(make_run):
    text = page(make_run(samples=1))
    assert sections(text) == ["summary", "quantities", "spectrum", "brittle", "samples", "method", "glossary", "cite"]
    assert "At least two samples" in text


def test_no_sample_yet_still_makes_a_report(make_run):
    run = make_run(samples=0, quantities=(), status="running")
    with RunFolder(run.path, schema_of(EXPERIMENT)).held():
        text = page(run)
    assert sections(text) == ["summary", "method", "cite"]
    assert "No sample has been measured yet." in text
    assert "This run is still running." in text


def test_a_run_that_nobody_writes_to_is_interrupted(make_run):
    assert "This run is interrupted." in page(make_run(samples=2, status="running"))


def test_the_numbers_of_the_self_check_are_readable(make_run):
    check = {"passed": False, "first_order": 8.78847e299, "adjoint": 2.1e-7, "second_order": 0.04, "message": "wrong"}
    text = page(make_run(samples=2, self_check=check))
    for words in ("8.8", "× 10²⁹⁹", "2.1 × 10⁻⁷", "<dd>0.04</dd>"):
        assert words in text
    assert "e+299" not in own(text)


def test_quantities_that_are_nan_everywhere_say_so(make_run):
    text = page(make_run(samples=4, nothing=("curvature", "local_rank"), pictures=False))
    assert "scatter" not in sections(text)
    assert "No sample has a usable value." in text
    assert "Curvature, the better guide, has no value that can be ranked here." in text
    assert "nan" not in re.sub(r'data-value="nan"', "", own(text).partition("<main>")[2].partition("</main>")[0])


@pytest.mark.parametrize("quantities", [("local_rank",), ("axis_rotation", "curvature"), ("null_dimension",)])
def test_a_few_quantities_alone_are_enough(make_run, quantities):
    text = page(make_run(samples=5, quantities=quantities))
    assert "quantities" in sections(text)
    assert ("brittle" in sections(text)) is ("curvature" in quantities)


def test_a_model_without_pictures_has_no_images(make_run):
    text = own(page(make_run(samples=5, pictures=False)))
    assert "<img" not in text
    assert "brittle" in sections(text)


def test_a_bare_run_json_is_enough(make_run):
    empty = {"settings": {}, "model": {}, "self_check": {}, "effort": {}, "content": {}, "sittings": []}
    text = page(make_run(samples=3, **empty, created="", output_shape=None, latent_shape=None))
    assert "<h1>model</h1>" in text


def test_names_from_outside_are_escaped(make_run):
    text = own(page(make_run(samples=3, names=(HOSTILE,), model="<b>evil</b> & co")))
    assert HOSTILE not in text
    assert "<b>evil" not in text
    assert html.escape(HOSTILE).replace("&quot;", "&#34;") in text
    assert "<h1>&lt;b&gt;evil&lt;/b&gt; &amp; co</h1>" in text
    assert text.count("</script>") == 3


def test_figures_are_json_without_tags(make_run):
    info = {"label": "</script><b>", "unit": "<i>", "formula": "<", "source": "", "meaning": ""}
    run = make_run(samples=4)
    run.info["quantities"]["local_rank"] = info
    text = page(run)
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', text, flags=re.DOTALL)
    figures = json.loads(found.group(1))
    assert {"spectrum", "scatter", "distribution-curvature"} <= figures.keys()
    assert figures["scatter"]["layout"]["yaxis"]["title"]["text"] == "&lt;/script&gt;&lt;b&gt; (&lt;i&gt;)"
    assert "<" not in found.group(1)


def test_the_same_run_gives_the_same_report(make_run):
    run = make_run(samples=4)
    assert page(run) == page(run)


@pytest.mark.parametrize("package", ["plotly", "jinja2"])
def test_a_missing_library_is_named_with_the_way_to_install_it(make_run, monkeypatch, package):
    run = make_run(samples=1)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf'no {package}; install them with pip install "theodolite\[report\]"'):
        write_report(run)


def test_a_report_that_cannot_be_written_leaves_nothing(make_run, tmp_path):
    run = make_run(samples=1)
    (tmp_path / "taken").mkdir()
    with pytest.raises(InputError, match="expected to write"):
        write_report(run, tmp_path / "taken")
    assert not list(tmp_path.glob(".*"))


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="run folder expected"):
        write_report(tmp_path)


def test_the_text_about_markers_is_true(make_run):
    run = make_run(samples=12)
    text = page(run)
    assert "hollow markers show them, while undetermined and undefined ones are not drawn" in text
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', text, flags=re.DOTALL)
    points = json.loads(found.group(1))["distribution-axis_rotation"]["data"][1]["customdata"]
    statuses = run.column("axis_rotation")["status"]
    assert [index for index, status in enumerate(statuses) if status != "undetermined"] == points
