"""The report of `make bench`: tables, promises and the picture, from samples that are made up."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import __main__ as command
from bench import opponents
from bench.cases import CASES
from bench.lineup import BRINGS, OPPONENTS, PARTS, cases_against, chosen_subjects
from bench.meter import Usage
from bench.picture import as_svg
from bench.promises import promises
from bench.report import SUBJECTS, as_markdown
from bench.results import Ceiling, Results, results_from
from bench.samples import MIB, Sample

SVG = "{http://www.w3.org/2000/svg}"
CASE = {case.name: case for case in CASES}
RATES = {
    "small-get": {"holdall": [300.0, 900.0, 200.0], "nginx": [1000.0, 1000.0, 1000.0]},
    "put": {"holdall": [50.0, 50.0, 50.0], "nginx": [100.0, 100.0, 100.0]},
    "loaded-get": {"holdall": [0.5, 0.9, 0.1], "nginx": [1.0, 1.0, 1.0]},
}
USAGE = Usage(growth_largest=3 * MIB, growth_sum=5 * MIB, written=200 * MIB, cpu=2.0)


@pytest.fixture
def results() -> Results:
    made = Results(1024 * MIB, rounds=3, machine="Machine: two cores.")
    for case, among in RATES.items():
        for subject, rates in among.items():
            for rate in rates:
                made.add(CASE[case], subject, Sample(rate, 100.0, USAGE, held=1000, unloaded=80.0))
    made.ceilings = [Ceiling("wrk, 4 KiB GET", "req", 5000.0, 0.00001, 0.00002)]
    made.left_out = {"copyparty": "the package copyparty is not installed"}
    return made


def _rows(report: str, title: str) -> dict[str, list[str]]:
    """Return the cells of the table under `title`, by its first column."""
    section = report.partition(f"## {title}\n\n")[2].partition("\n\n")[0]
    cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in section.split("\n"))
    return {first: rest for first, *rest in cells}


def test_a_ratio_is_the_median_of_the_rounds_ratios(results: Results) -> None:
    assert results.ratio("small-get", "holdall", "nginx") == 0.3
    glance = _rows(as_markdown(results), "At a glance")
    assert glance["÷ nginx"] == ["`small-get`", "`put`"]
    assert glance["holdall"] == ["0.30", "0.50"]


def test_a_case_has_a_table_of_its_own(results: Results) -> None:
    put = _rows(as_markdown(results), "1 GiB raw PUT")
    assert put["server"][:4] == ["MiB/s", "÷ nginx", "holdall ÷ it", "CPU s/GiB"]
    assert put["holdall"] == ["50.0", "0.50", "1.00", "20.5", "3.0 MiB", "5.0 MiB", "2.00"]
    loaded = _rows(as_markdown(results), "4 KiB GETs with 1,000 slow clients")
    assert loaded["holdall"][:4] == ["80.0", "40.0", "0.50", "1000"]


def test_a_promise_is_met_or_not_and_one_of_another_case_is_not_told(results: Results) -> None:
    told = {promise.sentence: promise.verdict() for promise in promises(results)}
    assert told["`small-get` ≥ 0.3 times nginx"] == "met"
    assert told["`put` ≥ 0.6 times nginx"] == "**not met**"
    assert told["holdall `put`: bytes written per byte received ≤ 1.05"] == "**not met**"
    assert told["holdall `put`: no process grows by more than 64 MiB"] == "met"
    assert told["`loaded-get` ≥ 0.3 of the rate without slow clients"] == "met"
    assert told["`put` ≥ 2.5 times naive's form"] == "not measured"
    assert not any("not-modified" in sentence for sentence in told)


def test_the_report_names_who_was_left_out_and_what_the_clients_reach(results: Results) -> None:
    report = as_markdown(results)
    assert "- copyparty was left out: the package copyparty is not installed." in report
    reached = _rows(report, "What the clients reach")["wrk, 4 KiB GET"]
    assert reached == ["5,000 req/s", "10.0 µs/request", "20.0 µs/request"]


def test_a_subject_that_fails_late_leaves_no_figure_and_is_named(results: Results) -> None:
    results.drop(CASE["put"], "nginx")
    results.failures = ["nginx failed in `put`: status\n500"]
    report = as_markdown(results)
    put = _rows(report, "1 GiB raw PUT")
    assert "nginx" not in put and put["holdall"][1] == "-"
    assert report.endswith("\n**nginx failed in `put`: status 500**\n")


def test_samples_are_read_as_they_were_written(results: Results) -> None:
    assert results_from(results.as_json()) == results


def test_the_picture_has_a_bar_for_each_server_and_colours_for_light_and_dark(
    results: Results,
) -> None:
    drawn = as_svg(results)
    root = ElementTree.fromstring(drawn)
    kinds = [rect.get("class") for rect in root.iter(f"{SVG}rect")]
    assert kinds.count("bar ours") == 3 and kinds.count("bar") == 3 and kinds.count("ground") == 1
    assert "prefers-color-scheme: dark" in drawn
    width, height = (float(root.attrib[name]) for name in ("width", "height"))
    for rect in root.iter(f"{SVG}rect"):
        right = float(rect.get("x", "0")) + float(rect.attrib["width"])
        bottom = float(rect.get("y", "0")) + float(rect.attrib["height"])
        assert right <= width and bottom <= height


def test_the_report_and_its_picture_are_written_beside_each_other(
    results: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples, page = tmp_path / "last.json", tmp_path / "performance.md"
    samples.write_text(results.as_json())
    assert command.main(["--read", str(samples), "--write", str(page)]) == 0
    assert "](pictures/performance.svg)" in page.read_text()
    ElementTree.parse(tmp_path / "pictures" / "performance.svg")
    assert "## Promises" in capsys.readouterr().out


def test_every_case_and_opponent_is_in_the_help_and_every_subject_described() -> None:
    unwrapped = re.sub(r"-\n\s+", "-", command.parser().format_help())
    said = re.split(r"[\s,;()]+", unwrapped)
    brought = [name for opponent in OPPONENTS for name in BRINGS.get(opponent, (opponent,))]
    assert {*CASE, *OPPONENTS, *brought, *command.ALONE} <= set(said)
    assert set(SUBJECTS) == set(PARTS)


def test_every_case_has_its_reference_and_every_subject_cases_that_are_there() -> None:
    assert {case for cases in PARTS.values() for case in cases} == set(CASE)
    assert {case.reference for case in CASES} <= set(PARTS)
    assert chosen_subjects(["nginx"], ["small-get"]) == ["holdall", "nginx"]
    assert {"put", "loaded-get"} <= set(cases_against(["copyparty"]))
    assert "tus" not in cases_against(["copyparty"])


@pytest.mark.parametrize("arguments", (["some-case"], ["--against", "nginx,some-case"]))
def test_what_is_not_known_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(arguments)
    assert "unknown: some-case; known: " in capsys.readouterr().err


def test_an_opponent_that_is_asked_for_must_be_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(opponents, "TUS_SERVER", tmp_path)
    assert command.main(["small-upload", "--against", "tus-server"]) == 2
    assert "tus-server: @tus/server is not installed" in capsys.readouterr().err
