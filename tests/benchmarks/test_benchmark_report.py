"""What a reader gets: the terminal's table, Markdown, one HTML file and JSON."""

import importlib.util
import json
import re
from html.parser import HTMLParser

import made_run
import pytest

from portanet.benchmarks import records, report
from portanet.benchmarks.records import Contestant, Measurement, Verdict
from portanet.benchmarks.report import answers, table
from portanet.benchmarks.report.numbers import NONE
from portanet.benchmarks.summary import summarize

COLUMNS = "Tool | Time (s) | vs Best | vs TF | GPU (%) | CPUs | CPU1 (%) | Error rate"
VOID = {"meta", "br", "link", "img", "input", "hr"}


@pytest.fixture(scope="module", autouse=True)
def drawings(missing):
    """What draws them."""
    if importlib.util.find_spec("matplotlib") is None:
        missing("matplotlib", "not installed; run: pip install portanet[benchmark]")


class Page(HTMLParser):
    """Checks that elements close in the order in which they opened, and keeps what the tests ask for."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.references, self.addresses, self.tags = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append((tag, given))
        self.ids += [given["id"]] if "id" in given else []
        self.references += given.get("aria-labelledby", "").split()
        self.addresses += [given[name] for name in ("href", "src") if name in given]
        self.references += re.findall(r"url\(#([^)]+)\)", " ".join(value or "" for value in given.values()))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def contestants():
    """Three engines, one that differs, one that is absent, and a peer."""
    own = [made_run.contestant(engine) for engine in ("numpy", "torch", "tensorflow", "mxnet")]
    gone = made_run.contestant("cntk", absent="backend 'cntk' is not installed; run: portanet env create cntk")
    return [*own, gone, Contestant("keras-torch-cpu", "Keras 3 on <PyTorch>", "peer", "torch", "cpu", "keras")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run with history beside it, its report written."""
    runs = tmp_path_factory.mktemp("runs")
    other = Verdict(
        "mxnet-cpu",
        "not the same work",
        "its gradient differs: conv1.W by 3e-2",
        {"gradient": 0.03},
        {"gradient": 2e-4},
    )
    made_run.write(runs / "run", contestants(), verdicts=[other], slower={"keras-torch-cpu": 1.6}, repeats=4, epochs=5)
    made_run.write(runs / "before", contestants()[:2], repeats=2, epochs=5, created="2025-04-01T00:00:00+00:00",
                   machine={**made_run.MACHINE, "commit": "beef00000000"})  # fmt: skip
    report.write(runs / "run")
    return runs / "run"


@pytest.fixture(scope="module")
def summary(folder):
    return summarize(folder)


@pytest.fixture(scope="module")
def page(folder):
    return (folder / "report.html").read_text("utf-8")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    both = [made_run.contestant("torch", device) for device in ("cpu", "gpu")]
    made_run.write(folder, both, points=[{"batch_size": size} for size in (16, 128, 1024)], repeats=3, epochs=2)
    return folder


def lines_of(summary):
    text = table.text(summary)
    return text, [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if " | " in line]


def test_the_terminal_has_the_columns_of_benchm_dl(summary):
    text, rows = lines_of(summary)
    assert " | ".join(rows[0]) == COLUMNS
    assert [row[0] for row in rows[1:5]] == [
        "portanet on PyTorch",
        "portanet on TensorFlow",
        "Keras 3 on <PyTorch>",
        "portanet on NumPy",
    ]
    assert rows[1][2] == "1.00x"
    assert rows[2][3] == "1.00x"
    assert re.fullmatch(r"0\.\d\d ± 0\.\d\d %", rows[1][7])
    assert rows[5] == ["portanet on MXNet", "not the same work", *[NONE] * 6]
    assert rows[6][1] == "absent"
    assert max(map(len, text.splitlines())) <= 110


def test_below_the_table_come_reasons_and_answers(summary):
    text = " ".join(table.text(summary).split())
    assert "portanet on CNTK: absent: backend 'cntk' is not installed; run: portanet env create cntk" in text
    assert "its gradient differs: conv1.W by 3e-2" in text
    assert "Do engines differ in speed? Yes: 3 of 3 pairs differ" in text
    assert "Do they reach the same model?" in text
    assert "Keras 3 on <PyTorch> takes 1." in text


def test_the_verdict_is_two_sentences_about_speed_and_error(summary):
    verdict = answers.verdict(summary)
    assert verdict.startswith("portanet on PyTorch is the fastest of 4: its fit takes ")
    assert len(re.findall(r"\.(?:\s|$)", verdict)) == 2
    assert "error rate" in verdict.lower()


def test_the_difference_is_explained_by_where_the_time_goes(summary):
    fast, *_, slow = summary.ranked
    told = answers.explained(slow, fast)
    found = re.search(r"([\d.]+) s more computing", told)
    wanted = 0.88 * slow.time.median - 0.90 * fast.time.median
    assert float(found[1]) == pytest.approx(wanted, rel=0.01)
    assert answers.explained(slow, fast).count("compiling") == 0


def test_all_files_are_written_and_named(folder):
    assert {path.name for path in folder.glob("report.*")} == {"report.json", "report.md", "report.html"}
    assert not list(folder.glob("*.part"))


def test_json_has_every_figure_and_is_strict(folder):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    found = json.loads((folder / "report.json").read_text("utf-8"), parse_constant=refuse)
    assert found["verdict"] == answers.verdict(summarize(folder))
    assert len(found["summary"]["rows"]) == 6
    assert len(found["summary"]["comparisons"]) == 6
    assert {entry["commit"] for entry in found["history"]["entries"]} == {"0123456789ab", "beef00000000"}


def test_the_page_is_well_formed_and_needs_nothing_else(page):
    parsed = Page(page)
    assert parsed.open == []
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert set(parsed.references) <= set(parsed.ids)
    assert all(address.startswith("#") and address[1:] in parsed.ids for address in parsed.addresses)
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in parsed.tags}
    assert not re.search(r"@import|@font-face|url\((?!#)", page)


def test_the_page_is_for_phones_paper_and_the_dark(page):
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert "@media print" in page
    assert "prefers-color-scheme: dark" in page


def test_every_figure_has_words_and_every_table_heads(page):
    tags = Page(page).tags
    drawn = [given for tag, given in tags if given.get("role") == "img"]
    assert len(drawn) == page.count("<svg ") == page.count("<figcaption>") > 5
    assert all(len(given["aria-label"]) > 20 for given in drawn)
    assert page.count('<th scope="col"') >= 8
    assert sum(tag == "table" for tag, _ in tags) == page.count("<thead>") == page.count('class="caption"')


def test_names_are_escaped(page):
    assert "Keras 3 on &lt;PyTorch&gt;" in page
    assert "<PyTorch>" not in page


def test_drawings_take_their_colours_from_the_page(page):
    drawings = "".join(re.findall(r"<svg .*?</svg>", page, re.DOTALL))
    assert "currentColor" in drawings
    assert "var(--torch)" in drawings
    assert not re.search(r"#[0-9a-f]{6}\b", drawings)
    declared = set(re.findall(r"(--[a-z]+):", page))
    assert set(re.findall(r"var\((--[a-z]+)\)", page)) <= declared
    assert "<text " in drawings


def test_sections_say_what_the_reader_asks_for(page):
    titles = re.findall(r"<h2 [^>]*>([^<]+)</h2>", page)
    assert titles[:4] == ["P6, tool by tool", "Questions and answers", "Where the time goes", "Learning curves"]
    assert titles[4:7] == ["Times and resources", "Every pair", "Across commits"]
    assert titles[7:] == ["Published figures", "How it was measured"]
    for fact in (
        "Made-up CPU",
        "openblas 0.3.30",
        "0123456789ab",
        "Initial weights, SHA-256",
        "3.0e-02 (2e-04)",
        "37 s, error 0.8 %",
    ):
        assert fact in page


def test_markdown_has_the_same_tables(folder):
    text = (folder / "report.md").read_text("utf-8")
    assert f"| {COLUMNS} |" in text
    assert "**Do they reach the same model?**" in text
    blocks = re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE)
    assert len(blocks) == (folder / "report.html").read_text("utf-8").count("<table ")
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.strip().splitlines()}) == 1


def test_a_sweep_shows_where_the_device_wins(sweep):
    report.write(sweep)
    page = (sweep / "report.html").read_text("utf-8")
    assert "Throughput by batch size" in page
    wins = r"portanet on PyTorch \(GPU\) trains more samples a second than portanet on PyTorch from batch size (\d+)"
    found = re.search(wins, page)
    assert 16 < int(found[1]) < 128
    assert "portanet on PyTorch (GPU), batch size 1024" in page


def test_a_stand_in_for_real_data_is_called_one(tmp_path):
    head = made_run.header([])
    made_run.write(tmp_path, [made_run.contestant("numpy")], data={**head.data, "real": False}, repeats=1, epochs=2)
    assert "seeded stand-in" in table.text(summarize(tmp_path))


@pytest.mark.parametrize("engines", [[], ["numpy"]])
def test_few_or_no_figures_make_a_report_as_well(tmp_path, engines):
    gone = made_run.contestant("cntk", absent="not here")
    made_run.write(tmp_path, [gone, *map(made_run.contestant, engines)], repeats=1, epochs=2)
    report.write(tmp_path)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert Page(page).open == []
    assert "not here" in page
    wanted = {0: "None of 1 contestant has figures", 1: "alone has figures"}
    assert wanted[len(engines)] in page


def test_losses_that_are_not_finite_are_drawn_around(tmp_path):
    made_run.write(tmp_path, [made_run.contestant("numpy"), made_run.contestant("torch")], repeats=2, epochs=3)
    for path in (tmp_path / "measurements").glob("torch-*.json"):
        one = records.read(path, Measurement)
        for epoch in one.epochs:
            epoch.train_loss = float("nan")
        records.write(path, one)
    report.write(tmp_path)
    assert "NaN" not in (tmp_path / "report.json").read_text("utf-8")
    assert Page((tmp_path / "report.html").read_text("utf-8")).open == []


def test_unstable_rows_are_marked_and_told(tmp_path):
    made_run.write(tmp_path, [made_run.contestant("numpy"), made_run.contestant("torch")], epochs=2)
    for path in sorted((tmp_path / "measurements").glob("torch-*.json"))[:2]:
        one = records.read(path, Measurement)
        one.build += 40
        records.write(path, one)
    text, rows = lines_of(summarize(tmp_path))
    marks = {row[0]: row[1].endswith("(!)") for row in rows[1:]}
    assert marks == {"portanet on PyTorch": True, "portanet on NumPy": False}
    assert "(!) Unstable:" in text
