import assert from "node:assert/strict";
import test from "node:test";
import { count, shorten } from "./plugin.js";

test("a text is counted", () => {
    assert.deepEqual(count("one two\nthrée"), { lines: 2, words: 3, characters: 13 });
});

test("a text is shortened between words", () => {
    const text = "one  two\nthree";
    assert.equal(shorten(text, 7), "one two");
    assert.equal(shorten(text, 12), "one two");
    assert.equal(shorten(text, 100), "one two three");
    assert.throws(() => shorten(text, 2), { tag: "long-word", val: 3 });
});
