"""The tools of the plugin; what they are says `wit/plugin.wit`."""

import wit_world
from componentize_py_types import Err
from wit_world import Counts, Fault_LongWord

import words


class WitWorld(wit_world.WitWorld):
    def count(self, text: str) -> Counts:
        return Counts(*words.count(text))

    def shorten(self, text: str, characters: int) -> str:
        try:
            return words.shorten(text, characters)
        except words.LongWord as long:
            # What is raised is the `err` of the result.
            raise Err(Fault_LongWord(long.characters)) from long
