"""The page of a statement: whole, escaped, without anything that runs or comes from outside."""

import re
from html.parser import HTMLParser

import pytest

from api.exports.statement_html import statement_html
from scheduler.contract.statement import Statement
from scheduler.domain.reasons import Language
from tests.exports.statements import EVIL, november


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def made() -> Statement:
    return november()


@pytest.mark.parametrize("language", ["zh", "en"])
def test_what_tenants_and_operators_wrote_is_text_and_nothing_else(made: Statement, language: Language) -> None:
    page = Page(statement_html(made, language))
    assert {tag for tag, _ in page.tags} <= {
        *("html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "section", "table", "thead", "tbody"),
        *("tr", "th", "td", "div", "span"),
    }
    assert {name for _, attributes in page.tags for name in attributes} <= {"lang", "charset", "class"}
    assert any(EVIL in text for text in page.text)


def test_nothing_runs_and_nothing_is_fetched(made: Statement) -> None:
    html = statement_html(made, "zh")
    assert not re.search(r"<script|<link|<img|<iframe|javascript:|url\(|@import|https?://|\son\w+=", html)


@pytest.mark.parametrize(
    ("language", "words"), [("zh", ("应付金额", "深圳市训力券", "冲正")), ("en", ("To be paid", "taken back"))]
)
def test_it_says_who_owes_what_in_either_language(made: Statement, language: Language, words: tuple[str, ...]) -> None:
    html = statement_html(made, language)
    text = "\n".join(Page(html).text)
    assert f'lang="{"zh-CN" if language == "zh" else "en"}"' in html
    for word in (*words, "2026-11", "1,780.000196", "1,780.00", "C-1", made.journal.records_sha256, made.journal.head_hash):
        assert word in text
    assert "2026-10" in text


def test_it_prints_page_by_page(made: Statement) -> None:
    html = statement_html(made, "en")
    assert "size: A4 landscape" in html
    assert html.count('<section class="account">') == len(made.accounts) == 2
    assert ".account { break-before: page; }" in html
    assert "thead { display: table-header-group; }" in html
