import unittest

from words import LongWord, count, shorten


class Words(unittest.TestCase):
    def test_a_text_is_counted(self) -> None:
        self.assertEqual(count("one two\nthrée"), (2, 3, 13))

    def test_a_text_is_shortened_between_words(self) -> None:
        text = "one  two\nthree"
        self.assertEqual(shorten(text, 7), "one two")
        self.assertEqual(shorten(text, 12), "one two")
        self.assertEqual(shorten(text, 100), "one two three")
        with self.assertRaises(LongWord) as long:
            shorten(text, 2)
        self.assertEqual(long.exception.characters, 3)


if __name__ == "__main__":
    unittest.main()
