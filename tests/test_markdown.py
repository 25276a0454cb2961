"""Texts of users stay texts, in Markdown and in HTML."""

import html.parser

import pytest
from markdown_it import MarkdownIt

from keras_mma import markdown, packing

TEXTS = [
    "golden_retriever_2",
    "_a_ __b__ c_d_ _e_f (_g) _",
    "a \\| b \\\\| c",
    "a *b* **c** `d` ~~e~~",
    "<script>alert(1)</script> &amp; [link](http://x) ![picture](y.png)",
    r"back\slash C:\new_folder\*",
    "one|two | three",
    "``` two `` ticks",
    "$x_1$ and $y$",
]


class Text(html.parser.HTMLParser):
    """The visible text and the tags of a page."""

    def __init__(self, page):
        super().__init__()
        self.text, self.tags = "", []
        self.feed(page)

    def handle_data(self, data):
        self.text += data

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)


def render(text):
    return Text(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text))


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_shown_as_it_is(text):
    for shown, tags in ((markdown.escape(text), ["p"]), (markdown.code(text), ["p", "code"])):
        page = render(shown)
        assert page.text.strip() == text and page.tags == tags
    page = render(markdown.table(["a"], [[markdown.escape(text)], [markdown.code(text)]]))
    assert page.text.count(text) == 2 and page.tags.count("td") == 2
    assert set(page.tags) == {"table", "thead", "tr", "th", "tbody", "td", "code"}


def test_names_of_arguments_in_a_sentence_are_code():
    assert markdown.sentence("use `image_size` of a_b") == "use `image_size` of a_b"
    assert markdown.sentence("`a b` <i>") == r"\`a b\` \<i\>"


def test_lines_are_joined():
    assert markdown.escape("a\n# b") == "a # b" and markdown.code("a\n\nb") == "`a b`"


def test_correct_images_are_packed():
    correct = [True, False, True, True, False, False, True, False, True]
    assert packing.unpack(packing.pack(correct), 9).tolist() == correct
    with pytest.raises(ValueError, match="17 values must have 3 bytes. Received: 2"):
        packing.unpack(packing.pack(correct), 17)
