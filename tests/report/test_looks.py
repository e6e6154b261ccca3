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


#: Of every control in tables, which may lie under their head or first column: those that do, when
#: the focus comes to them from below or from the right.
COVERED = """
(() => {
  const controls = [...document.querySelectorAll("tbody :is(a, button, summary)")]
    .filter((control) => control.checkVisibility());
  const covered = [];
  for (const control of controls.reverse()) {
    control.focus();
    const box = control.getClientRects()[0];
    const at = document.elementFromPoint(box.left + Math.min(box.width / 2, 12), box.top + 3);
    if (!control.contains(at)) covered.push(control.textContent.trim());
  }
  return [controls.length, covered];
})()
"""


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_covers_what_has_the_focus(browser, written, width):
    with browser.page(written, width=width) as page:
        count, covered = page.js(COVERED)
        assert count > 60
        assert covered == []


@pytest.mark.parametrize("width", [390, 1280])
def test_the_keyboard_goes_back_through_runs_that_are_seen(browser, written, width):
    with browser.page(written, width=width, height=700) as page:
        page.js("[...document.querySelectorAll('.toggle')].at(-1).focus()")
        for _ in range(30):
            page.press("Tab", shift=True)
            assert page.js("document.activeElement.className") == "toggle"
            below = (
                "document.activeElement.getBoundingClientRect().top"
                " - document.querySelector('#run-table th').getBoundingClientRect().bottom"
            )
            assert page.js(below) >= -1


def test_a_long_table_can_be_skipped(page):
    skips = page.js(
        "[...document.querySelectorAll('.past')].map(a => a.textContent + ' ' + a.hash.slice(1))"
    )
    assert len(skips) == len(set(skips)) > 5
    long = page.js(
        "[...document.querySelectorAll('.scroll')].filter(s => s.querySelectorAll("
        "'a, button, summary').length > 12 && !s.closest('.table-block').querySelector('.past'))"
        ".map(s => s.textContent)"
    )
    assert long == []
    for label in ("of runs", "of verdicts"):
        page.js(
            "[...document.querySelectorAll('.past')]"
            f".find(a => a.textContent.endsWith({label!r})).focus()"
        )
        box = page.js("(r => [r.width, r.height])(document.activeElement.getBoundingClientRect())")
        assert box[0] > 60
        assert box[1] >= 24
        page.press("Enter")
        page.press("Tab")
        assert page.js("document.activeElement.closest('table')") is None


def test_heads_are_named_by_their_words_alone(page):
    page.click("#run-table th:nth-child(5) button")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    names = [
        node["name"]["value"]
        for node in nodes
        if node.get("role", {}).get("value") in ("columnheader", "button") and "name" in node
    ]
    assert "seed" in names
    assert len(names) > 60
    assert [name for name in names if set(name) & set("↕▲▼▸▾")] == []
    content = "getComputedStyle(document.querySelector('#run-table th button'), '::after').content"
    assert "↕" in page.js(content), "it is still drawn"


@pytest.mark.parametrize("width", [390, 1280])
def test_what_is_pressed_is_large_enough(browser, written, width):
    with browser.page(written, width=width) as page:
        pressed = page.js(
            "[...document.querySelectorAll('button, summary, .csv, select, input')]"
            ".filter(e => e.checkVisibility()).map(e => [e, e.getBoundingClientRect()])"
            ".map(([e, r]) => [e.textContent, r.width, r.height])"
        )
        assert len(pressed) > 60
        assert [each for each in pressed if min(each[1:]) < 24] == []


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_a_models_name_is_on_one_line(browser, written, width):
    with browser.page(written, width=width) as page:
        heights = page.js(
            "[...document.querySelectorAll('tbody th')].filter(h => h.innerText.trim() ==="
            " 'transformer++').map(h => { const range = document.createRange();"
            " range.selectNodeContents(h); return range.getBoundingClientRect().height; })"
        )
        assert heights
        assert max(heights) < 24


@pytest.mark.parametrize("width", [390, 1280])
def test_long_labels_wrap(browser, odd, width):
    with browser.page(odd, width=width) as page:
        widths = page.js(
            "[...document.querySelectorAll('.scroll th, .scroll td')].filter(c => c.textContent"
            ".includes('longlong')).map(c => Math.max(c.offsetWidth, c.scrollWidth))"
        )
        assert len(widths) > 3
        assert max(widths) < 450
        assert page.call("Page.getLayoutMetrics")["cssContentSize"]["width"] <= width


def test_a_title_turns_only_itself_around(browser, odd):
    html = odd.read_text()
    assert "\u202e" not in html
    assert "\ufffdturned" in html, "it is seen"
    with browser.page(odd) as page:
        beside = page.js(
            "[...document.querySelectorAll('caption bdi, figcaption bdi')]"
            ".filter(e => /[א-ת]/.test(e.textContent)).map(e => {"
            " const [title, range] = [document.createRange(), document.createRange()];"
            " title.selectNodeContents(e);"
            " const next = e.nextElementSibling; const walk = document.createTreeWalker(next, 4);"
            " range.setStart(walk.nextNode(), 0); range.setEnd(walk.currentNode, 1);"
            " return range.getBoundingClientRect().left - title.getBoundingClientRect().right; })"
        )
        assert len(beside) > 2
        assert min(beside) >= 0


INK = "getComputedStyle(document.body).color"


@pytest.mark.parametrize("chosen", [False, True])
def test_print_is_dark_on_light_whatever_the_theme(browser, written, chosen):
    with browser.page(written, dark=not chosen) as page:
        page.js(
            f"document.documentElement.{'setAttribute' if chosen else 'removeAttribute'}"
            "('data-theme', 'dark')"
        )
        assert page.js(INK) == "rgb(231, 233, 235)"
        page.media(dark=not chosen, print_=True)
        assert page.js(INK) == "rgb(0, 0, 0)"
        assert page.js("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.js("getComputedStyle(document.documentElement).colorScheme") == "light"
        assert page.js(CONTRAST) == []


def test_printed_tables_are_as_wide_as_the_paper(browser, written):
    with browser.page(written, width=1030) as page:
        page.media(print_=True)
        page.js("dispatchEvent(new Event('beforeprint'))")
        wide = page.js(
            "[...document.querySelectorAll('table')].filter(t => t.checkVisibility() &&"
            " t.offsetWidth > t.closest('.scroll').offsetWidth).map(t => t.caption.innerText)"
        )
        assert wide == []
        assert page.js("document.querySelectorAll('details.links[open]').length") == 0


def test_print_hides_what_is_pressed(page):
    page.media(print_=True)
    assert page.js("getComputedStyle(document.querySelector('#run-filters')).display") == "none"
    assert page.js("getComputedStyle(document.querySelector('.scroll.tall')).maxHeight") == "none"


def test_it_glides_but_for_those_who_ask_it_not_to(page):
    behavior = "getComputedStyle(document.documentElement).scrollBehavior"
    assert page.js(behavior) == "auto"
    page.media(still=False)
    assert page.js(behavior) == "smooth"
