"""The report of 10,000 utterances: time and memory to write it, and the speed of its page."""

import json
import subprocess
import sys
import time

import pytest
from chromium import browser, opened
from large_set import make_large

COUNT = 10_000
ACT = """async ([id, event, value]) => {
  const control = document.getElementById(id);
  if (event === "scroll") {
    control.scrollTop = value;
  } else {
    control.value = value;
    control.dispatchEvent(new Event(event, { bubbles: true }));
  }
  await new Promise(done => requestAnimationFrame(() => setTimeout(done, 20)));
}"""


@pytest.fixture(scope="module")
def written(tree, tmp_path_factory):
    """The page, and the seconds and bytes that the command took, in a process of its own."""
    root = make_large(tree, tmp_path_factory.mktemp("large"), "ko", COUNT)
    command = f"""
import resource, sys
from espnet_ext.bin import report
report.main({
        [
            *("--exp_dir", str(root / "exp"), "--dump_dir", str(root / "dump"), "--langs", "ko"),
            *("--systems", "so_surface so_meaning do", "--train_tag", "small"),
            *("--decode_tag", "decode", "--results", str(root / "RESULTS.md")),
            *("--html", str(root / "report.html")),
        ]!r
    })
usage = resource.getrusage(resource.RUSAGE_SELF)
# Not ru_maxrss, which a process inherits from the one that started it
peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))
print(usage.ru_utime + usage.ru_stime, peak.split()[1])
"""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", command], check=True, capture_output=True, text=True
    )
    cpu, kilobytes = map(float, done.stdout.split()[-2:])
    return root / "report.html", min(cpu, time.perf_counter() - start), 1024 * kilobytes


@pytest.mark.manual
def test_report_takes_20_seconds_and_300_megabytes_at_most(written):
    page, seconds, memory = written
    print(json.dumps({"seconds": round(seconds, 1), "megabytes": round(memory / 1e6)}))
    assert seconds <= 20 and memory <= 300e6
    assert page.stat().st_size < 20e6


def busy_seconds(session):
    """Return for how long the page's main thread has computed, without waiting for the CPU."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return next(one["value"] for one in metrics if one["name"] == "TaskDuration")


@pytest.mark.manual
def test_filters_and_scrolling_stay_fluid(written):
    actions = [
        *(("filter-text", "input", text) for text in ("시", "친구", "speaker-007", "가→나", "")),
        *(("filter-errors", "change", value) for value in ("wrong", "deletion", "right", "")),
        *(("filter-sort", "change", value) for value in ("errors", "rate", "spread", "")),
        *(("filter-output", "change", value) for value in ("meaning", "surface")),
        *(("filter-distance", "change", value) for value in (">=11", "")),
        *(("utterance-list", "scroll", y) for y in (5_000, 250_000, 500_000, 0)),
    ]
    with browser() as started, opened(started, written[0]) as page:
        assert page.locator("#browser-count").inner_text().startswith("10,000 of 10,000 ")
        page.wait_for_timeout(3000)  # the page prepares searches while it is idle
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        times = {}
        for action in actions * 3:  # the lowest of three times
            before = busy_seconds(session)
            page.evaluate(ACT, list(action))
            seconds = busy_seconds(session) - before
            name = f"{action[0]} {action[2]}"
            times[name] = min(round(1000 * seconds, 1), times.get(name, 1e9))
        assert page.locator("#utterance-list .row").count() < 40
    print(json.dumps(times, ensure_ascii=False))
    # 100 ms is the aim on an idle machine; processors differ, and other programs slow this one
    assert max(times.values()) <= 200, times
