//! What a panic says goes through the log, and through nothing else. Alone in its program: the log is the process's.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use nexus_signals::{LoggingService, LoggingSettings, Redactor};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_panic_is_one_line_without_secrets() {
    let redactor = Redactor::new(["correct horse battery".to_owned()]);
    let settings = LoggingSettings { redactor, ..LoggingSettings::default() };
    let lines = Lines::default();
    let made = lines.clone();
    LoggingService::new(settings).unwrap().install_on(move || made.clone()).unwrap();
    let panicked = std::thread::spawn(|| {
        let key = "nxs_0123secret";
        panic!("with {key} and\ncorrect horse battery, x-api-key: abcdef\u{1b}[2J");
    });
    assert!(panicked.join().is_err());
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("ERROR nexus::panic: panicked: with nxs_*** and\\n***, x-api-key: ***"), "{text}");
    assert!(text.contains("panic.rs:") && !text.contains('\u{1b}'), "{text}");
}
