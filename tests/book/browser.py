"""A built site looked at in a real browser: Debian's Chromium, driven by Playwright.

    python tests/book/browser.py HTML_FOLDER

prints what it found: console errors, requests off this machine, broken links and images, the
widest page at 390 px, contrast of figures and text, page weights.
"""

import io
import os
import re
import shutil
import sys
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

PHONE = {"width": 390, "height": 844}
WIDE = {"width": 1300, "height": 900}
THEMES = ("light", "dark")


def chromium():
    """The path of Debian's Chromium, None if it is not installed."""
    return shutil.which("chromium")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def served(folder):
    """The address of a server of this folder, on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def launched():
    with sync_playwright() as playwright:
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        found = playwright.chromium.launch(executable_path=chromium(), args=flags)
        yield found
        found.close()


def pages(folder):
    """Addresses of the site's pages; the root's own, which leads to the front page, left out."""
    found = (path.relative_to(folder) for path in Path(folder).rglob("*.html"))
    return sorted(path.as_posix() for path in found
                  if path.parts[0] != "_static"
                  and str(path) not in {"index.html", "genindex.html"})


@contextmanager
def opened(browser, address, name, *, theme="light", size=WIDE, scripts=True):
    """A page, and what it complained of and asked for: page.errors, page.asked (address, bytes)."""
    context = browser.new_context(viewport=size, color_scheme=theme, java_script_enabled=scripts)
    page = context.new_page()
    page.errors, page.asked = [], []
    page.on("console", lambda said: said.type == "error" and page.errors.append(said.text))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("requestfailed", lambda request: page.errors.append(f"failed: {request.url}"))
    # Playwright takes no method of a built-in type
    page.on("response", lambda answer: page.asked.append(answer))  # noqa: PLW0108
    page.route(lambda url: not url.startswith((address, "data:", "blob:")),
               lambda route: (page.errors.append(f"off this machine: {route.request.url}"),
                              route.abort()))
    page.goto(f"{address}/{name}", wait_until="load")
    yield page
    context.close()


def load_images(page):
    """Have every image that is shown loaded, wherever it stands; the addresses of broken ones."""
    page.evaluate("""() => Promise.all([...document.images].map((image) => {
        image.loading = "eager";
        return image.decode().catch(() => {});
    }))""")
    return page.evaluate("""() => [...document.images]
        .filter((image) => image.offsetParent && !image.naturalWidth).map((image) => image.src)""")


def links(page, address):
    """Places inside the site that the page leads to: (path, fragment)."""
    found = page.evaluate("() => [...document.links].map((link) => link.href)")
    inside = [urlsplit(link) for link in found if link.startswith(address)]
    return {(unquote(link.path), unquote(link.fragment)) for link in inside}


def ids(page):
    return set(page.evaluate("() => [...document.querySelectorAll('[id]')].map((of) => of.id)"))


def width(page):
    """CSS pixels that the page takes, and of the widest table that nothing clips."""
    return page.evaluate("""() => {
        const clipped = (of) => of.closest(".tablewrap, .output, .bookfig-scroll, "
            + ".pst-scrollable-table-container");
        const ends = [...document.querySelectorAll("table")].filter((of) => of.offsetParent)
            .map((of) => (clipped(of) ?? of).getBoundingClientRect().right);
        return Math.ceil(Math.max(document.scrollingElement.scrollWidth, ...ends, 0));
    }""")


def weight(page):
    """Bytes that the page and all it asked for have."""
    return sum(len(answer.body()) for answer in page.asked if answer.ok)


def _luminance(rgb):
    """WCAG 2 relative luminance of colours from 0 to 1."""
    rgb = np.asarray(rgb, dtype=float)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


def ratio(a, b):
    """WCAG 2 contrast of two luminances."""
    low, high = np.minimum(a, b), np.maximum(a, b)
    return (high + 0.05) / (low + 0.05)


def figure_contrast(page):
    """Of every figure that is shown: the contrast of its ink with the page behind it, as drawn."""
    found = {}
    for image in page.locator("figure.bookfig img, ol.findings img").all():
        if not image.is_visible():
            continue
        image.scroll_into_view_if_needed()
        pixels = np.asarray(Image.open(io.BytesIO(image.screenshot())).convert("RGB")) / 255
        light = _luminance(pixels).ravel()
        # the most common colour is the page; the ink is what differs most on at least 20 pixels
        values, counts = np.unique(light.round(3), return_counts=True)
        behind = values[counts.argmax()]
        contrast = ratio(values[counts >= 20], behind)
        found[image.get_attribute("src").rsplit("/", maxsplit=1)[-1]] = float(contrast.max())
    return found


def text_contrast(page, selector):
    """The least contrast of any text that the selector finds with what stands behind it."""
    pairs = page.evaluate("""(selector) => {
        const solid = (colour) => !/, 0\\)$|transparent/.test(colour);
        const shown = [...document.querySelectorAll(selector)].filter((of) => of.offsetParent);
        return shown.map((of) => {
            let behind = of;
            while (behind && !solid(getComputedStyle(behind).backgroundColor)) {
                behind = behind.parentElement;
            }
            return [getComputedStyle(of).color,
                    behind ? getComputedStyle(behind).backgroundColor : "rgb(255, 255, 255)"];
        });
    }""", selector)
    def shade(text):
        return _luminance([float(x) / 255 for x in re.findall(r"[\d.]+", text)[:3]])
    return min((float(ratio(shade(ink), shade(behind))) for ink, behind in pairs), default=21.0)


def survey(folder):
    """Everything that `main` prints, as a dictionary."""
    found = {"errors": {}, "images": {}, "links": {}, "widths": {}, "weights": {}, "contrast": {}}
    anchors, wanted = {}, {}
    with served(folder) as address, launched() as browser:
        for name in pages(folder):
            with opened(browser, address, name) as page:
                found["images"][name] = load_images(page)
                page.wait_for_load_state("networkidle")
                found["errors"][name] = page.errors
                found["weights"][name] = weight(page)
                anchors[f"/{name}"], wanted[name] = ids(page), links(page, address)
            for theme in THEMES:
                with opened(browser, address, name, theme=theme, size=PHONE) as page:
                    load_images(page)
                    found["widths"][name, theme] = width(page)
                    if name != "book/print.html":  # the same figures once more
                        found["contrast"].update({(name, theme, image): contrast for image, contrast
                                                  in figure_contrast(page).items()})
    for name, targets in wanted.items():
        found["links"][name] = [
            f"{path}#{fragment}" for path, fragment in sorted(targets)
            if not (Path(folder) / path.lstrip("/")).is_file()
            or (fragment and path in anchors and fragment not in anchors[path])]
    return found


def main(folder):
    found = survey(folder)
    for what in ("errors", "images", "links"):
        broken = {name: of for name, of in found[what].items() if of}
        print(f"{what}: {broken or 'none'} on {len(found[what])} pages")
    widest = max(found["widths"], key=found["widths"].get)
    print(f"widest page at {PHONE['width']} px: {found['widths'][widest]} px, {widest}")
    for theme in THEMES:
        least = min((contrast, name, image) for (name, of, image), contrast
                    in found["contrast"].items() if of == theme)
        print(f"least contrast of a figure's ink, {theme}: {least[0]:.1f}, {least[1:]}")
    heavy = sorted(found["weights"].items(), key=lambda of: -of[1])
    for name, size in (*heavy[:3], ("book/index.html", found["weights"]["book/index.html"])):
        print(f"weight of {name}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(sys.argv[1])
