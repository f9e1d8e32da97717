"""The report in a browser: every figure shows, nothing is complained of, nothing is asked of the network."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--host-resolver-rules=MAP * ~NOTFOUND",
]
PAINTED = "<style>figure svg { background: #ff00ff !important } figure svg * { visibility: hidden }</style></head>"
FIGURES = 11  # accuracy, losses, classes, two confusions, two t-SNE, shares, three layers of clusters

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")


@dataclass
class Shown:
    """A page's pixels, what it said on the console, and what it asked the network for."""

    pixels: NDArray[np.uint8]
    console: list[str]
    requests: list[str]


def show(page: Path, width: int, folder: Path, *flags: str) -> Shown:
    folder.mkdir()
    picture, log = folder / "page.png", folder / "net.json"
    where = [f"--screenshot={picture}", f"--log-net-log={log}", f"--user-data-dir={folder / 'user'}"]
    command = [str(CHROMIUM), *FLAGS, f"--window-size={width},12000", *where, *flags, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    events = log.read_text(encoding="utf-8", errors="replace").splitlines()
    requests = [event for event in events if re.search(r'"url":"(https?|wss?)://', event) and '"initiator":"' in event]
    of_page = [event for event in requests if '"initiator":"not an origin"' not in event]  # those are Chromium's own
    return Shown(np.asarray(Image.open(picture).convert("RGB")), console, of_page)


def test_what_a_page_says_and_asks_for_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<img src="http://example.invalid/x.png"><script>console.error("bad")</script>')
    shown = show(page, 500, tmp_path / "chromium")
    assert shown.requests
    assert len(shown.console) == 1


@pytest.fixture(scope="module")
def boxes(reported_run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[slice, slice]]:
    """Where the figures lie on the page, 1200 pixels wide."""
    folder = tmp_path_factory.mktemp("painted")
    painted = folder / "painted.html"
    painted.write_text((reported_run / "report.html").read_text(encoding="utf-8").replace("</head>", PAINTED, 1))
    pixels = show(painted, 1200, folder / "chromium").pixels
    found, _ = ndimage.label((pixels == [255, 0, 255]).all(2))
    return [box for box in ndimage.find_objects(found) if box is not None]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_figure_shows(reported_run: Path, tmp_path: Path, boxes: list[tuple[slice, slice]], scheme: str) -> None:
    flags = ["--force-dark-mode"] if scheme == "dark" else []
    shown = show(reported_run / "report.html", 1200, tmp_path / "chromium", *flags)
    pixels, paper = shown.pixels, shown.pixels[0, 0].astype(int)
    assert bool(paper.sum() < 150) is (scheme == "dark")
    assert len(boxes) == FIGURES
    for box in boxes:
        ink = (np.abs(pixels[box].astype(int) - paper).sum(2) > 60).mean()
        assert 0.005 < ink < 0.8, box
    assert not shown.console
    assert not shown.requests


def test_nothing_is_wider_than_a_phone(reported_run: Path, tmp_path: Path) -> None:
    frame = tmp_path / "phone.html"
    inside = (reported_run / "report.html").as_uri()
    style = "border:0;width:375px;height:11000px"
    frame.write_text(f'<body style="margin:0;background:#00f"><iframe src="{inside}" style="{style}"></iframe>')
    page = show(frame, 500, tmp_path / "chromium").pixels[:10000, :375].astype(int)
    ink = np.abs(page - page[0, 0]).sum(2) > 60
    assert ink[:, 12:363].any(1).mean() > 0.3
    assert not ink[:, 366:].any()  # the margin stays free: nothing sticks out, what is wider scrolls in itself
