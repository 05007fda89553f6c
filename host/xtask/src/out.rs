//! What the tool says. The only place that writes to the terminal; colour only where a person looks.

use std::{
    fmt::Display,
    io::{IsTerminal, Write, stderr, stdout},
    time::Duration,
};

/// A result: one line on standard output.
pub(crate) fn line(text: impl Display) {
    // A reader that went away is no error of ours.
    let _ = writeln!(stdout().lock(), "{text}");
}

/// Text on standard output as it is, at once.
pub(crate) fn raw(text: &str) {
    let mut out = stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// What is going on: one line on standard error.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(stderr().lock(), "{text}");
}

/// The beginning of a step, and why it is done.
pub(crate) fn step(name: &str, why: &str) {
    note(format!("{} {why}", bold(&format!("[{name}]"), stderr().is_terminal())));
}

/// Something that is wrong.
pub(crate) fn fault(text: impl Display) {
    note(format!("{} {text}", paint("error:", "1;31", stderr().is_terminal())));
}

/// The text in an ANSI style where `colour` is set.
pub(crate) fn paint(text: &str, style: &str, colour: bool) -> String {
    if colour { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
}

/// The text in bold where `colour` is set.
pub(crate) fn bold(text: &str, colour: bool) -> String {
    paint(text, "1", colour)
}

/// A duration as people say it: `830 µs`, `12.4 ms`, `3.2 s`, `4 min 10 s`.
pub(crate) fn duration(time: Duration) -> String {
    let micros = time.as_micros();
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        1_000_000..60_000_000 => format!("{:.1} s", time.as_secs_f64()),
        _ => format!("{} min {} s", time.as_secs() / 60, time.as_secs() % 60),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::duration;

    #[test]
    fn durations_read_well() {
        let read = |micros| duration(Duration::from_micros(micros));
        assert_eq!(
            [read(830), read(12_400), read(3_200_000), read(250_000_000)],
            ["830 µs", "12.4 ms", "3.2 s", "4 min 10 s"]
        );
    }
}
