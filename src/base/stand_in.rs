//! Files that stand where another file should be: pointers of large-file stores and pages of web servers.

/// Bytes from the beginning of a file that [`stand_in`] needs.
pub const STAND_IN_BYTES: usize = 512;

/// First words of files that a program leaves in the place of a large file, with what they are and what gets the file.
const POINTERS: [(&str, &str, &str); 4] = [
    ("version https://git-lfs.github.com/spec/", "a pointer of git-lfs", "`git lfs pull` gets the file"),
    ("version https://hawser.github.com/spec/", "a pointer of git-lfs", "`git lfs pull` gets the file"),
    ("# xet version ", "a pointer of git-xet", "`git xet pull` gets the file, or download it from its page"),
    ("/annex/objects/", "a pointer of git-annex", "`git annex get` gets the file"),
];

/// How the pages of web servers begin, in lower case.
const PAGES: [&str; 3] = ["<!doctype html", "<html", "<head"];

/// Answers of model hubs that have no such file, or want a login. A file holds nothing else.
const REFUSALS: [&str; 5] = [
    "Entry not found",
    "Repository not found",
    "Not Found",
    "404: Not Found",
    "Invalid username or password.",
];

/// What a file is in place of the file that should be there, and what to do; none if its first bytes look like neither
/// a pointer nor a web page. The sentence goes on after the file's name: "`model.safetensors` is …".
pub fn stand_in(first_bytes: &[u8]) -> Option<String> {
    let bytes = first_bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(first_bytes);
    let text = &bytes.trim_ascii_start()[..bytes.trim_ascii_start().len().min(STAND_IN_BYTES)];
    if let Some((_, what, advice)) = POINTERS.iter().find(|(start, ..)| text.starts_with(start.as_bytes())) {
        return Some(format!("is {what} and not the file itself; {advice}"));
    }
    let begins = |page: &str| {
        let start = text.get(..page.len());
        let ended = text.get(page.len()).is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'-');
        ended && start.is_some_and(|start| start.eq_ignore_ascii_case(page.as_bytes()))
    };
    if PAGES.iter().any(|page| begins(page)) {
        return Some(
            "is an HTML page and not the file itself: the address gave a web page, often one that asks for a login; \
             download the file again"
                .into(),
        );
    }
    let answer = REFUSALS.iter().find(|answer| text.trim_ascii_end() == answer.as_bytes())?;
    Some(format!(
        "holds only a server's answer, `{answer}`, and not the file itself; download the file again"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_and_pages_are_told_from_files() {
        for (bytes, named) in [
            (&b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n"[..], "`git lfs pull`"),
            (b"/annex/objects/SHA256E-s12--ab.safetensors\n", "`git annex get`"),
            (b"\xEF\xBB\xBF\n  <!DOCTYPE html>\n<html lang=\"en\">", "an HTML page"),
            (b"<HTML><body>", "an HTML page"),
            (b"<html>", "an HTML page"),
            (b"Entry not found", "`Entry not found`"),
            (b"404: Not Found\n", "`404: Not Found`"),
        ] {
            let told = stand_in(bytes).expect(named);
            assert!(told.contains(named), "{named}: {told}");
        }
        for file in [
            &b""[..],
            b"{}",
            b"GGUF\x03\0\0\0",
            b"<header>",
            b"<htmlish",
            b"\x10\0\0\0\0\0\0\0{}",
            b"Entry not found in the list",
            b"version https://example.org",
        ] {
            assert_eq!(stand_in(file), None, "{:?}", String::from_utf8_lossy(file));
        }
    }
}
