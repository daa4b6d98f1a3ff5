//! Words of a command line, quoted for a shell.

use std::ffi::OsStr;

use super::is_invisible;

/// Quotes a word of a command line if a shell would not take it as one literal word. Bytes that are no UTF-8, and
/// characters that a terminal obeys or hides, are octal escapes in `$'…'`.
pub fn shell_word(word: &OsStr) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-:+@=,%".contains(c) || (cfg!(windows) && c == '\\');
    let is_hidden = |c: char| c != '\n' && c != '\t' && is_invisible(c);
    match word.to_str() {
        None => escaped(word.as_encoded_bytes()),
        Some(text) if text.contains(is_hidden) => escaped(text.as_bytes()),
        Some(text) if !text.is_empty() && text.chars().all(is_plain) => text.to_string(),
        Some(text) => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// POSIX (2024), bash, zsh and ksh read `$'…'`.
fn escaped(bytes: &[u8]) -> String {
    let escape = |&byte: &u8| match byte {
        b'\\' | b'\'' => format!("\\{}", char::from(byte)),
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("\\{byte:03o}"),
    };
    format!("$'{}'", bytes.iter().map(escape).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> String {
        shell_word(OsStr::new(text))
    }

    #[test]
    fn a_word_is_quoted_where_a_shell_would_read_it_otherwise() {
        for (text, quoted) in [
            ("results/residual", "results/residual"),
            ("features.per_cell=16", "features.per_cell=16"),
            ("my run", "'my run'"),
            ("it's", "'it'\\''s'"),
            ("$(reboot)", "'$(reboot)'"),
            ("~", "'~'"),
            ("a\\b", "'a\\b'"),
            ("{0,2}", "'{0,2}'"),
            ("über", "über"),
            ("two\nlines", "'two\nlines'"),
            ("", "''"),
            ("red\u{1b}[31m", "$'red\\033[31m'"),
            ("a\u{202e}'b", "$'a\\342\\200\\256\\'b'"),
        ] {
            assert_eq!(word(text), quoted);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_is_no_text_keeps_its_bytes() {
        use std::os::unix::ffi::OsStrExt;
        assert_eq!(shell_word(OsStr::from_bytes(b"run \xff1/\\x")), "$'run \\3771/\\\\x'");
    }
}
