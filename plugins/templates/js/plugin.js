// The tools of the plugin; what they are says `wit/plugin.wit`.

const words = (text) => text.split(/\s+/u).filter((word) => word !== "");
const length = (text) => [...text].length;

export function count(text) {
    const lines = text === "" ? 0 : text.replace(/\n$/u, "").split("\n").length;
    return { lines, words: words(text).length, characters: length(text) };
}

export function shorten(text, characters) {
    let short = "";
    for (const word of words(text)) {
        const longer = short === "" ? word : `${short} ${word}`;
        if (length(longer) > characters) {
            if (short === "") {
                // What is thrown is the `err` of the result: a case of the variant, and what it carries.
                throw { tag: "long-word", val: length(word) };
            }
            break;
        }
        short = longer;
    }
    return short;
}
