"""The HTML page."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

from tests.blobs import needs
from wpack.report.page import page
from wpack.report.stats import StatsReport
from wpack.stats import FileStats, TensorStats


class Elements(HTMLParser):
    """Every element of a page, its attributes and its texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember it."""
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data: str) -> None:
        """Remember it."""
        self.texts.append(data)


def test_self_contained(packed: FileStats, plain: FileStats) -> None:
    """The page needs no script, no other file and no network."""
    text = page(StatsReport((packed, plain)))
    found = Elements(text)

    assert {"script", "link", "img", "iframe"}.isdisjoint(found.tags)
    assert {"src", "href", "onload", "onclick"}.isdisjoint(found.attributes)
    assert "http" not in text.replace("http-equiv", "")
    assert text.endswith("</body></html>\n")


def test_has_everything(packed: FileStats, plain: FileStats) -> None:
    """Both files, every pool with its map, every tensor, the totals."""
    found = Elements(page(StatsReport((packed, plain))))

    assert found.tags.count("svg") == 2
    assert found.tags.count("h2") == 2
    assert found.texts.count("blocks.1.fc.bias") == 1
    assert found.texts.count("408") == 3
    assert "copied, crosses the end of its pool: blocks.1.fc.weight" in found.texts


def test_what_is_computed(packed: FileStats, computed: FileStats) -> None:
    """The counts and the load of a file that needs work, a sentence for another."""
    found = Elements(page(StatsReport((packed, computed)))).texts

    assert found.count("random accesses") == found.count("2,401") - 1 == 1
    assert "loaded by mmap" in found
    assert (
        found.count(
            "no multiplication, no random access: pools are read in order of storage"
        )
        == 1
    )


def test_no_tensors(packed: FileStats) -> None:
    """Without the tensors' table the maps still name them."""
    found = Elements(page(StatsReport((packed,), tensors=False)))

    assert "blocks.1.fc.bias" not in found.texts
    assert "blocks.1.fc.weight: 0 to 32" in found.texts


def test_hostile_names(plain: FileStats) -> None:
    """A name is text and nothing else."""
    name = "<img src=x onerror=alert(1)>&\x1b\u202e"
    tensor = TensorStats(name, (1,), "float32", "kept", (), 3_999_904, True)
    found = Elements(page(StatsReport((replace(plain, path=name, tensors=(tensor,)),))))

    assert "img" not in found.tags
    assert "<img src=x onerror=alert(1)>&\\x1b\\u202e" in found.texts


@needs("prune, int, bfloat16, zstd")
def test_stages(coded: FileStats) -> None:
    """What codecs made of each pool stands on the page, too."""
    found = Elements(page(StatsReport((coded,)))).texts
    at = found.index("stored")

    assert ["stored", "values", "prune", "int"] == found[at : at + 4]
    assert ["mlp", "128", "90", "50", "41", "40", "2.5 %"] == found[at + 8 : at + 15]
    assert sum(text.startswith("entropy: the least") for text in found) == 1
