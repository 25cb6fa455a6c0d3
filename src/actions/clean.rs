//! Makes text from outside harmless for mails and terminals.
//!
//! User agents, client names and ids are the attacker's own words, and the reader is tired: no line breaks, no terminal
//! escapes, no characters that reorder or hide text, nothing that a mail program turns into a link.

use crate::model::limits;

/// One line without anything invisible, not too long.
pub(super) fn line(text: &str) -> String {
    at_most(limits::MAIL_VALUE_CHARS_MAX, text)
}

/// What a rule's author wrote: longer than any value, and still one line.
pub(super) fn paragraph(text: &str) -> String {
    at_most(limits::MAIL_PARAGRAPH_CHARS_MAX, text)
}

fn at_most(chars_max: usize, text: &str) -> String {
    let mut clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .filter(|c| !is_invisible(*c))
        .take(chars_max + 1)
        .collect();
    clean = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    if clean.chars().count() > chars_max {
        clean.pop();
        clean.push('…');
    }
    clean
}

/// So many characters at most; what is left out is seen to be.
pub(super) fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some(_) => text.chars().take(chars_max - 1).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

/// A value from outside: besides, no link.
pub(super) fn value(text: &str) -> String {
    line(text).replace("://", "[:]//")
}

/// Format characters: direction overrides, zero-width joiners, tags, soft hyphens.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_becomes_one_plain_line() {
        assert_eq!(line("a\r\nBcc: x\u{1b}[31m\tb"), "a Bcc: x [31m b");
        assert_eq!(line("user\u{202e}gnp.exe\u{200b}"), "usergnp.exe");
        assert_eq!(
            value("see http://evil.example/"),
            "see http[:]//evil.example/"
        );
        let long = line(&"x".repeat(100_000));
        assert_eq!(long.chars().count(), limits::MAIL_VALUE_CHARS_MAX + 1);
        assert!(long.ends_with('…'));
    }
}
