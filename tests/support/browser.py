"""Debian's chromium over selenium: what a page asked for, said, and whether it can be read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SECONDS = 90  # waited at most, on a busy machine
# text that is seen with less contrast to what is behind it than WCAG's AA asks for: [ratio, text, colour, ground]
CONTRAST = """
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const rgba = text => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data].map((v, i) => i < 3 ? v : v / 255); };
const over = (top, under) => under.map((v, i) => i < 3 ? top[i] * top[3] + v * (1 - top[3]) : 1);
const light = c => { const [r, g, b] = c.slice(0, 3).map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const ground = at => { const layers = [];
  for (; at; at = at.parentElement) { const c = rgba(getComputedStyle(at).backgroundColor); if (c[3]) layers.push(c); if (c[3] == 1) break; }
  return layers.reverse().reduce((under, top) => over(top, under), rgba(getComputedStyle(document.documentElement).colorScheme.includes('dark')
    && matchMedia('(prefers-color-scheme: dark)').matches ? '#121212' : '#ffffff')); };
// numbers in the cells of a heat map: what is behind them are pixels, which nothing here can read
const overPixels = at => { const own = at.getBoundingClientRect(), x = own.left + own.width / 2, y = own.top + own.height / 2;
  return at instanceof SVGElement && [...at.closest('svg').querySelectorAll('image')].map(i => i.getBoundingClientRect()).some(
    of => x >= of.left && x <= of.right && y >= of.top && y <= of.bottom); };
const found = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const text = walk.currentNode.textContent.trim(), at = walk.currentNode.parentElement;
  if (!text || !at.checkVisibility({visibilityProperty: true, opacityProperty: true}) || at.closest('title, script, style, [disabled]')) continue;
  const style = getComputedStyle(at), size = parseFloat(style.fontSize);
  if (!at.getClientRects().length || overPixels(at)) continue;
  const under = ground(at), own = over(rgba(at instanceof SVGElement ? style.fill : style.color), under);
  const [a, b] = [light(own), light(under)].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
  if (ratio < (size >= 24 || size >= 18.66 && style.fontWeight >= 700 ? 3 : 4.5))
    found.push([Math.round(ratio * 100) / 100, text.slice(0, 40), style.color, under.map(Math.round).join(' '), at.outerHTML.slice(0, 80)]);
}
return found;
"""


@contextmanager
def browser(width: int = 1280, height: int = 900, dark: bool = False) -> Iterator[Any]:
    """A browser of its own for the block, as wide as asked for (a phone below 600); skips where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium and chromium-driver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--window-size={width},{height}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        if width < 600:
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": True}
            opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        yield opened
    finally:
        opened.quit()


def until(opened: Any, what: Callable[[Any], Any]) -> Any:
    """What the condition gives once it is true."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(opened, SECONDS, ignored_exceptions=[Exception]).until(what)


def asked_for(opened: Any) -> set[str]:
    """Addresses that the page has asked for since it was opened, or since this was last called."""
    events = (json.loads(entry["message"])["message"] for entry in opened.get_log("performance"))
    sent = (event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent")
    return {address for address in sent if not address.startswith(("data:", "blob:"))}


def faults(opened: Any) -> list[str]:
    """What is wrong with the page as it stands: console errors, images without words, text that cannot be read, width."""
    said = [f"console: {entry['message']}" for entry in opened.get_log("browser") if entry["level"] == "SEVERE"]
    mute = opened.execute_script(
        "return [...document.images].filter(i => !i.hasAttribute('alt') || (!i.alt && !i.closest('button')))"
        ".map(i => i.outerHTML.slice(0, 80))"
    )
    wide = opened.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    faint = opened.execute_script(CONTRAST)
    sideways = [f"{wide[0]} px wide in a window of {wide[1]}"] if wide[0] > wide[1] else []
    return [*said, *(f"no words: {image}" for image in mute), *(f"contrast {f}" for f in faint), *sideways]
