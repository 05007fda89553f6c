//! From a segment's bytes to its records.

use super::record::LogRecord;

/// The whole lines of a segment: all but a last one that is not finished, or never will be.
pub(super) fn whole(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    &bytes[..end]
}

/// The records of whole lines, in order. What is no record, because a crash of the machine left other bytes there, is
/// passed over.
pub(super) fn records(lines: &[u8]) -> impl DoubleEndedIterator<Item = LogRecord> {
    lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{records, whole};
    use crate::{LogFormat, LogLevel, LogRecord};

    fn lines(texts: &[String]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (text, id) in texts.iter().zip(1..) {
            let mut record = LogRecord::now(LogLevel::Info, "t");
            (record.id, record.message) = (id, text.clone());
            bytes.extend_from_slice(record.line(LogFormat::Json, false).as_bytes());
        }
        bytes
    }

    proptest! {
        #[test]
        fn wherever_a_segment_is_torn_whole_records_are_read(
            texts in prop::collection::vec("(.|\n)*", 1..20), cut in 0.0_f64..=1.0,
        ) {
            let bytes = lines(&texts);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "small")]
            let torn = &bytes[..(bytes.len() as f64 * cut) as usize];
            let found: Vec<_> = records(whole(torn)).map(|record| record.message).collect();
            let complete = torn.split(|byte| *byte == b'\n').count() - 1;
            prop_assert_eq!(&found[..], &texts[..complete]);
        }

        #[test]
        fn noise_between_records_is_passed_over(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = lines(&["a".to_owned()]);
            bytes.extend(noise.iter().filter(|byte| **byte != b'\n'));
            bytes.push(b'\n');
            bytes.extend(lines(&["b".to_owned()]));
            let found: Vec<_> = records(whole(&bytes)).map(|record| record.message).collect();
            prop_assert_eq!(found, ["a", "b"]);
        }
    }
}
