//! Who is to be forgotten, and where a text names somebody.

use super::{Text, Timestamp};

/// A person as events name one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Person {
    pub user_id: Text,
}

/// That somebody asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Erasing {
    pub person: Person,
    /// A later wish about the same person is another.
    pub asked_at: Timestamp,
}

/// In place of a name.
pub const ERASED: &str = "(erased)";
/// Shorter ids are not looked for inside texts: they would be found in other words.
pub const NAME_IN_TEXT_BYTES_MIN: usize = 6;

/// A text without the name where it stands as a word of its own; nothing where it does not.
pub fn without_name(text: &str, name: &str) -> Option<String> {
    if name.len() < NAME_IN_TEXT_BYTES_MIN {
        return None;
    }
    let mut done = String::new();
    let mut copied_to = 0;
    for at in words(text, name) {
        done.push_str(text.get(copied_to..at).unwrap_or_default());
        done.push_str(ERASED);
        copied_to = at + name.len();
    }
    (copied_to > 0).then(|| done + text.get(copied_to..).unwrap_or_default())
}

/// Where the name stands as a word of its own.
fn words<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    text.match_indices(name).filter_map(move |(at, _)| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        let after = text.get(at + name.len()..);
        let after = after.and_then(|after| after.chars().next());
        (!before.is_some_and(part) && !after.is_some_and(part)).then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_as_a_word_and_not_in_another() {
        let without = |text, name| without_name(text, name);
        let alice = "alice@example.com";
        let told = without("of alice@example.com, malice@example.com", alice);
        assert_eq!(told.as_deref(), Some("of (erased), malice@example.com"));
        assert_eq!(without("of malice@example.com", alice), None);
        assert_eq!(without("see u1", "u1"), None, "too short");
    }
}
