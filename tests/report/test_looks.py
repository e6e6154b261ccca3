"""The page in a real browser: how it looks at each width, in the dark, in print, and to a reader of
screens.
"""

from __future__ import annotations

import pytest

from tests.report.reading import RUNS

pytestmark = pytest.mark.browser

WIDTHS = (320, 390, 1280)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scripts", [True, False])
def test_the_page_does_not_scroll_sideways(browser, written, width, scripts):
    with browser.page(written, width=width, scripts=scripts) as page:
        if scripts:
            page.click("#run-table .toggle")
            page.until("document.querySelector('tr.detail')")
            page.js("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        metrics = page.call("Page.getLayoutMetrics")
        assert metrics["cssContentSize"]["width"] <= width


def test_without_scripts_all_can_be_read(browser, written):
    with browser.page(written, scripts=False) as page:
        text = page.call(
            "Runtime.evaluate", expression="document.body.innerText", returnByValue=True
        )["result"]["value"]
        assert "Scripts are off" in text
        assert "Every run once" in text
        assert "Search" not in text
        assert "Theme" not in text
        rows = page.call(
            "Runtime.evaluate",
            expression=f"document.querySelectorAll('{RUNS}').length",
            returnByValue=True,
        )["result"]["value"]
        assert rows == 32


def test_the_theme_follows_the_system_until_it_is_chosen(browser, written):
    background = "getComputedStyle(document.body).backgroundColor"
    with browser.page(written, dark=True) as page:
        dark = page.js(background)
        page.media(dark=False)
        light = page.js(background)
        assert (light, dark) == ("rgb(255, 255, 255)", "rgb(21, 24, 27)")
        page.click("#theme")
        page.click("#theme")
        assert page.js("document.querySelector('#theme').textContent") == "Theme: dark"
        assert page.js(background) == dark
    with browser.page(written) as page:
        assert page.js(background) == dark, "it is remembered"
        assert (
            page.js("getComputedStyle(document.querySelector('.plate')).backgroundColor") == light
        )
        page.click("#theme")
        assert page.js(background) == light


CONTRAST = """
(() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => {
    const part = [r, g, b].map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
  };
  const behind = (node) => {
    for (let up = node; up; up = up.parentElement) {
      const color = parse(getComputedStyle(up).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const seen = new Set();
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !node.checkVisibility()) continue;
    if (["SCRIPT", "OPTION"].includes(node.tagName)) continue;
    const [a, b] = [luminance(parse(getComputedStyle(node).color)), luminance(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) seen.add(`${node.tagName}.${node.className} ${ratio.toFixed(2)}`);
  }
  return [...seen];
})()
"""


@pytest.mark.parametrize("dark", [False, True])
def test_words_stand_out_from_what_is_behind_them(browser, written, dark):
    with browser.page(written, dark=dark) as page:
        page.js("localStorage.clear()")
        page.js("document.documentElement.removeAttribute('data-theme')")
        page.click("#run-table .toggle")
        page.until("document.querySelector('tr.detail')")
        page.js("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        assert page.js(CONTRAST) == []


def test_controls_have_names(page):
    tree = page.call("Accessibility.getFullAXTree")["nodes"]
    wanted = {
        "button",
        "link",
        "searchbox",
        "combobox",
        "textbox",
        "image",
        "table",
        "navigation",
        "search",
    }
    for node in tree:
        role = node.get("role", {}).get("value")
        if role in wanted and not node.get("ignored"):
            assert node.get("name", {}).get("value"), node
    assert page.js(
        "[...document.querySelectorAll('[role=group]')].every(g => g.getAttribute('aria-label')"
        " || document.getElementById(g.getAttribute('aria-labelledby')).textContent.trim())"
    )
    roles = [node.get("role", {}).get("value") for node in tree if not node.get("ignored")]
    for landmark in ("banner", "navigation", "main", "contentinfo", "search"):
        assert roles.count(landmark) == 1, landmark


def test_the_focus_goes_through_the_page_in_order_and_is_seen(page):
    page.press("Tab")
    assert page.js("document.activeElement.className") == "skip"
    assert page.js("document.activeElement.getBoundingClientRect().top") >= 0
    page.press("Enter")
    page.until("location.hash === '#main'")
    page.press("Tab")
    place = "document.activeElement.getBoundingClientRect().top + scrollY"
    tops = []
    for _ in range(12):
        assert page.js("document.activeElement.closest('main') !== null")
        style = "getComputedStyle(document.activeElement)"
        assert page.js(f"parseFloat({style}.outlineWidth)") >= 2
        assert page.js(f"{style}.outlineStyle") == "solid"
        tops.append(page.js(place))
        page.press("Tab")
    assert tops == sorted(tops)


def test_print_hides_what_is_pressed(page):
    page.media(print_=True)
    assert page.js("getComputedStyle(document.querySelector('#run-filters')).display") == "none"
    assert page.js("getComputedStyle(document.querySelector('.scroll.tall')).maxHeight") == "none"


def test_it_glides_but_for_those_who_ask_it_not_to(page):
    behavior = "getComputedStyle(document.documentElement).scrollBehavior"
    assert page.js(behavior) == "auto"
    page.media(still=False)
    assert page.js(behavior) == "smooth"
