"""What the tools do, without anything of WebAssembly."""


class LongWord(Exception):
    """The first word has more characters than asked for: `characters`."""

    def __init__(self, characters: int) -> None:
        super().__init__(characters)
        self.characters = characters


def count(text: str) -> tuple[int, int, int]:
    """Lines, words and characters."""
    return len(text.removesuffix("\n").split("\n")) if text else 0, len(text.split()), len(text)


def shorten(text: str, characters: int) -> str:
    """At most so many characters: whole words, with one space between them."""
    short = ""
    for word in text.split():
        longer = f"{short} {word}" if short else word
        if len(longer) > characters:
            if not short:
                raise LongWord(len(word))
            break
        short = longer
    return short
