//! Names from files in messages.

use crate::base::is_invisible;

/// A name from a file as shown in messages: one line, at most 80 characters, nothing invisible.
pub fn shown(name: &str) -> String {
    const LENGTH: usize = 80;
    let mut shown = String::new();
    for character in name.chars().take(LENGTH) {
        match is_invisible(character) {
            true => shown.extend(character.escape_unicode()),
            false => shown.push(character),
        }
    }
    if name.chars().nth(LENGTH).is_some() {
        shown.push('…');
    }
    shown
}

/// At most twenty names.
pub fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const MOST: usize = 20;
    let mut names = names.map(shown);
    let mut list: Vec<String> = names.by_ref().take(MOST).collect();
    match names.count() {
        0 => {}
        more => list.push(format!("… and {more} more")),
    }
    list.join(", ")
}
