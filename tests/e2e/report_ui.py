"""The report of a campaign in a real browser, from the file system, with the network off.

    $ tests/e2e/install.sh python && python -m tests.e2e.report_ui report.png

A headless Chromium opens the file; any request beside it, an error on its console or an exception in it is a
difference, and so is a table, a matrix or a timeline that does not show what the run holds. Ends with 1 if there is
one, or if none is seen in a page that was spoilt on purpose.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Dialog, Page, Request, sync_playwright

from cpugpu.report import write_report
from cpugpu.report.words import clean
from tests.e2e.perfetto_ui import BROWSERS
from tests.e2e.report_sample import (
    BAD,
    EVERY,
    HOSTILE,
    NASTY,
    before,
    lanes,
    matrix_rows,
    outcome_rows,
    sample,
    write_matrix,
)

PATIENCE_MS = 20_000
#: What is spoilt, and what has to be seen then.
SPOILT = {
    ">146<": (">147<", "outcome tables"),
    ">not tried<": (">killed<", "matrix"),
    'class="step"': ('class="gone"', "timeline"),
    "<h3>&lt;script&gt;alert(1)&lt;/script&gt;": ("<h3><script>alert(1)</script>", "what could load or run"),
    "</footer>": ('<img src="picture.png"></footer>', "console: error"),
}

OUTCOMES = """() => Object.fromEntries([...document.querySelectorAll('table.outcome-table')].map((table) => [
    table.dataset.item, [...table.tBodies[0].rows].map((row) =>
        [...row.cells].map((cell) => cell.textContent.trim()))]))"""
MATRIX = """() => [...document.querySelector('.mutant-table').tBodies[0].rows].map((row) =>
    [...row.cells].map((cell) => [...cell.childNodes].map((it) => it.textContent.trim()).filter(Boolean).join(' ')))"""
#: The bars that are drawn: the label, or else the title, of each that has a size.
LANES = """(nodeid) => {
    const item = [...document.querySelectorAll('details.item')].find((it) => it.dataset.item === nodeid);
    return [...item.querySelectorAll('.timeline .lane')].map((lane) => [lane.dataset.lane,
        [...lane.querySelectorAll('.step')].filter((step) => {
            const box = step.querySelector('rect').getBoundingClientRect();
            return box.width > 0 && box.height > 0;
        }).map((step) => step.querySelector(':scope > text')?.textContent ?? step.querySelector('title').textContent)]);
}"""
UNFINISHED = "() => [...document.querySelectorAll('.step.unfinished title')].map((it) => it.textContent)"
#: Everything that could load, run or send something.
ACTIVE = """() => document.querySelectorAll(
    'script, img, iframe, object, embed, form, link, base, [src], ' +
    '[onclick], [onerror], [onload], a[href]:not([href^="#"])'
).length"""
#: Labels of one timeline that lie on each other.
OVERLAPS = """() => [...document.querySelectorAll('.timeline svg')].flatMap((svg) => {
    const boxes = [...svg.querySelectorAll('.step > text')].map((it) => [it.textContent, it.getBoundingClientRect()]);
    return boxes.flatMap(([one, a], number) => boxes.slice(number + 1).filter(([, b]) =>
        a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 4 && b.top < a.bottom - 4
    ).map(([other]) => [one, other]));
})"""


def opened(browser: Browser, address: str, trouble: list[str]) -> Page:
    """The page, of a browser without a network. What it asks for, complains of or runs becomes `trouble`."""
    context = browser.new_context(viewport={"width": 1180, "height": 1000})
    context.set_offline(True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)

    def requested(request: Request) -> None:
        if request.url.partition("#")[0] != address:
            trouble.append(f"request for {request.url}")

    def refused(dialog: Dialog) -> None:
        trouble.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("request", requested)
    page.on("console", lambda message: trouble.append(f"console: {message.type} {message.text}"))
    page.on("pageerror", lambda error: trouble.append(f"exception: {error}"))
    page.on("dialog", refused)
    page.goto(address)
    return page


def check(browser: Browser, index: Path, picture: str = "") -> list[str]:
    """What the page shows otherwise than the run has it. Leaves a picture of it at the path `picture`."""
    trouble: list[str] = []
    page = opened(browser, index.as_uri(), trouble)
    run = sample()
    differences = []

    def compare(what: str, found: Any, wanted: Any) -> None:
        print(f"{'same' if found == wanted else 'DIFFERENT'}: {what}: {str(found)[:160]}")
        if found != wanted:
            differences.append(f"{what}: the page has {found}, the run {wanted}")

    compare("outcome tables", page.evaluate(OUTCOMES), outcome_rows(run))
    compare("matrix", page.evaluate(MATRIX), matrix_rows())
    for target in (BAD, HOSTILE):
        drawn = page.evaluate(LANES, clean(target.nodeid))
        compare("timeline", drawn, [[lane, whats] for lane, whats in lanes().items()])
    compare(
        "unfinished steps",
        page.evaluate(UNFINISHED),
        ["wait <script>alert(1)</script>: began 70.0 µs, never ended"] * 2,
    )
    compare("labels on each other", page.evaluate(OVERLAPS), [])
    titles = page.locator("details.item h3").all_text_contents()
    compare("scenarios", sorted(titles), sorted(clean(target.title) for target in EVERY))
    compare("titles as text", page.get_by_text(clean(NASTY) + "[CpuGpuEvent]", exact=True).first.is_visible(), True)
    compare("what could load or run", page.evaluate(ACTIVE), 0)

    def shown() -> int:
        return page.locator("details.item:visible").count()

    compare("shown", shown(), len(EVERY))
    page.get_by_label("all but passed").check()
    compare("shown of those that did not pass", shown(), 10)
    page.get_by_label("passed", exact=True).check()
    compare("shown of those that passed", shown(), 2)
    page.get_by_label("all", exact=True).check()
    page.get_by_role("link", name="hand_off").click()
    compare("a link opens what it leads to", page.get_by_text("A device event hands the work").is_visible(), True)
    page.set_viewport_size({"width": 380, "height": 800})
    compare("width on a phone", page.evaluate("() => document.documentElement.scrollWidth"), 380)
    page.set_viewport_size({"width": 1180, "height": 1000})
    compare("errors and requests", trouble, [])
    if picture:
        page.get_by_role("link", name="bare_event").click()
        Path(picture).parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=picture, full_page=True)
        print(f"picture: {picture}")
    return differences


def main() -> int:
    """Write a report, open it, compare, and leave a picture."""
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        raise SystemExit(f"no browser ({', '.join(BROWSERS)}): run tests/e2e/install.sh")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        write_matrix(folder)
        index = write_report(sample(), folder, previous=before())
        browser = playwright.chromium.launch(
            executable_path=browser_path, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        differences = check(browser, index, picture=sys.argv[1] if len(sys.argv) > 1 else "")
        print("now a page in which that is spoilt")
        text = index.read_text()
        for right, (wrong, _) in SPOILT.items():
            assert right in text
            text = text.replace(right, wrong)
        index.write_text(text)
        found = " ".join(check(browser, index))
        differences += [f"spoilt, and not seen: {what}" for _, what in SPOILT.values() if what not in found]
        browser.close()
    for difference in differences:
        print(difference)
    print("FAILED" if differences else "passed: the browser shows what the run holds")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
