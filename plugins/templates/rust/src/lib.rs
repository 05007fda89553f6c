//! The tools of the plugin; what they are says `wit/plugin.wit`.

wit_bindgen::generate!({ path: "wit", additional_derives: [PartialEq] });

struct Plugin;

impl Guest for Plugin {
    fn count(text: String) -> Counts {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Counts {
            lines: number(text.lines().count()),
            words: number(text.split_whitespace().count()),
            characters: number(text.chars().count()),
        }
    }

    fn shorten(text: String, characters: u32) -> Result<String, Fault> {
        let mut short = String::new();
        let mut left = characters as usize;
        for word in text.split_whitespace() {
            let length = word.chars().count() + usize::from(!short.is_empty());
            if length > left {
                if short.is_empty() {
                    return Err(Fault::LongWord(length as u32));
                }
                break;
            }
            if !short.is_empty() {
                short.push(' ');
            }
            short.push_str(word);
            left -= length;
        }
        Ok(short)
    }
}

// Tests run on this machine, where the names of a component's exports mean nothing.
#[cfg(target_arch = "wasm32")]
export!(Plugin);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_counted() {
        let counts = Plugin::count("one two\nthrée".to_owned());
        assert_eq!(counts, Counts { lines: 2, words: 3, characters: 13 });
    }

    #[test]
    fn a_text_is_shortened_between_words() {
        let shorten = |characters| Plugin::shorten("one  two\nthree".to_owned(), characters);
        assert_eq!(shorten(7), Ok("one two".to_owned()));
        assert_eq!(shorten(12), Ok("one two".to_owned()));
        assert_eq!(shorten(100), Ok("one two three".to_owned()));
        assert_eq!(shorten(2), Err(Fault::LongWord(3)));
    }
}
