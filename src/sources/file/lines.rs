//! Cuts bytes into lines: pure, bounded, and exact about where each line begins and ends.
//!
//! A line counts when its newline has come; until then it is not in the position, so that a restart reads it again.

use crate::model::limits;

/// One line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) start: u64,
    pub(super) payload: Vec<u8>,
}

#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Where the line in hand begins.
    start: u64,
    /// Where the next byte lies.
    end: u64,
    /// The line in hand, cut one byte behind the limit: enough for the decoder to see that it was too long.
    partial: Vec<u8>,
    /// Reading began in the middle of a line: its rest is no record.
    skipping: bool,
}

impl Lines {
    pub(super) fn at(offset: u64) -> Self {
        Self {
            start: offset,
            end: offset,
            ..Self::default()
        }
    }

    /// Begins with the first line that starts after `offset`.
    pub(super) fn after_line_at(offset: u64) -> Self {
        Self {
            skipping: true,
            ..Self::at(offset)
        }
    }

    /// Where reading goes on after a restart: the first line that has not been given out.
    pub(super) fn position(&self) -> u64 {
        self.start
    }

    /// Where the next bytes are to be read.
    pub(super) fn next_byte(&self) -> u64 {
        self.end
    }

    pub(super) fn feed(&mut self, bytes: &[u8], lines: &mut Vec<Line>) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.end += piece.len() as u64;
            match piece.strip_suffix(b"\n") {
                Some(piece) => {
                    self.keep(piece);
                    lines.extend(self.finish());
                }
                None => self.keep(piece),
            }
        }
    }

    /// Ends the line in hand: by its newline, or because no more can come (the file was rotated away).
    pub(super) fn finish(&mut self) -> Option<Line> {
        let start = std::mem::replace(&mut self.start, self.end);
        let mut payload = std::mem::take(&mut self.partial);
        if payload.last() == Some(&b'\r') {
            payload.pop();
        }
        let skipped = std::mem::take(&mut self.skipping);
        (!skipped && !payload.is_empty()).then_some(Line { start, payload })
    }

    fn keep(&mut self, piece: &[u8]) {
        let room = (limits::RECORD_BYTES_MAX + 1).saturating_sub(self.partial.len());
        if !self.skipping {
            self.partial.extend_from_slice(&piece[..piece.len().min(room)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn feed(lines: &mut Lines, bytes: &[u8]) -> Vec<(u64, String)> {
        let mut found = Vec::new();
        lines.feed(bytes, &mut found);
        found
            .into_iter()
            .map(|line| (line.start, String::from_utf8(line.payload).unwrap()))
            .collect()
    }

    #[test]
    fn a_partial_line_waits_for_its_newline() {
        let mut lines = Lines::at(10);
        assert_eq!(feed(&mut lines, b"one\ntw"), [(10, "one".into())]);
        assert_eq!((lines.position(), lines.next_byte()), (14, 16));
        assert_eq!(feed(&mut lines, b"o\r\n\n"), [(14, "two".into())]);
        assert_eq!(lines.position(), 20);
    }

    #[test]
    fn an_endless_line_takes_no_more_than_its_bound() {
        let mut lines = Lines::at(0);
        for _ in 0..10 {
            assert!(feed(&mut lines, &vec![b'x'; limits::RECORD_BYTES_MAX]).is_empty());
            assert!(lines.partial.len() <= limits::RECORD_BYTES_MAX + 1);
        }
        let mut found = Vec::new();
        lines.feed(b"\nok\n", &mut found);
        assert_eq!(found[0].payload.len(), limits::RECORD_BYTES_MAX + 1);
        assert_eq!(found[1].payload, b"ok");
    }

    #[test]
    fn the_rest_of_a_line_begun_before_us_is_skipped() {
        let mut lines = Lines::after_line_at(3);
        assert_eq!(feed(&mut lines, b"rest\nnext\n"), [(8, "next".into())]);
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_is_no_matter(
            text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'a'), Just(b'b')], 0..60),
            cut in 0usize..60,
        ) {
            let cut = cut.min(text.len());
            let (mut whole, mut parts) = (Vec::new(), Vec::new());
            let (mut one, mut two) = (Lines::at(0), Lines::at(0));
            one.feed(&text, &mut whole);
            two.feed(&text[..cut], &mut parts);
            two.feed(&text[cut..], &mut parts);
            prop_assert_eq!(whole, parts);
            prop_assert_eq!(one.position(), two.position());
        }
    }
}
