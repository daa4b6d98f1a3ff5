//! File names made from names that somebody else chose.

use std::fmt;
use std::path::Path;

use super::Digester;
use super::atomic::DAMAGED;

/// Marks an escape.
const MARK: char = '@';

/// Longest name without an escape of its capitals, in bytes. Longer ones get a digest.
const LONGEST: usize = 112;

/// Bytes of a long name that stay in front of its digest.
const KEPT: usize = 60;

/// Hex digits of the digest of a long name.
const DIGITS: usize = 32;

/// Names that Windows reserves, whatever extension follows. Superscript digits are escaped anyway.
const RESERVED: [&str; 4] = ["con", "prn", "aux", "nul"];

/// The name of one file or folder, made from any text: a method, a hook point, a suite.
///
/// It is one path component on every system: letters, digits, `.`, `_`, `-`, `=` and `@`, at most 142 bytes. It is not
/// empty, neither begins nor ends with a dot, and is no reserved name. No character needs an escape in an address.
///
/// | text | name |
/// |---|---|
/// | lower-case letters, digits, `.`, `_`, `-`, `=` | the text itself |
/// | any other byte; a dot at either end; the first byte of a reserved name, the last of `….damaged` | `@2f` |
/// | capitals | as they are, and at the end `@u` with a number in hex: bit *i* is set if the *i*-th ASCII letter is a capital |
/// | the empty text | `@` |
/// | longer than 112 bytes | its first 60 bytes, `@h`, and 32 hex digits of its digest |
///
/// Different texts have different names, also on a file system that takes capitals for small letters or normalises
/// Unicode: names are ASCII, and from a name in small letters the text can be read back. `u` and `h` are no hex digits,
/// so an escape is never ambiguous. Only long texts rely on the digest.
///
/// ```
/// use autointerp::base::FileName;
///
/// for (text, name) in [("pca_topk", "pca_topk"), ("TopK", "TopK@u9"), ("topk", "topk"), ("../x", "@2e.@2fx")] {
///     assert_eq!(FileName::of(text).as_str(), name);
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(String);

impl FileName {
    /// The name of a text.
    pub fn of(text: &str) -> Self {
        Self::joined(&[text], "")
    }

    /// The name of several texts, with a separator of dots or dashes between them. A separator inside a text is
    /// escaped, so different lists have different names.
    pub fn joined(texts: &[&str], separator: &str) -> Self {
        let parts: Vec<String> = texts.iter().map(|text| escaped(text, separator)).collect();
        let name = without_special_ends(parts.join(separator));
        if name.len() > LONGEST {
            let mut digester = Digester::new("file name");
            for text in texts {
                digester.text(text);
            }
            let digest = digester.finish().hex();
            return Self(format!("{}{MARK}h{}", &name[..KEPT], &digest[..DIGITS]));
        }
        let letters = texts.iter().flat_map(|text| text.bytes()).filter(u8::is_ascii_alphabetic);
        let capitals = letters.enumerate().filter(|(_, letter)| letter.is_ascii_uppercase());
        // A name of 112 bytes has fewer letters than the number has bits.
        match capitals.fold(0u128, |bits, (nth, _)| bits | 1 << nth) {
            0 => Self(name),
            bits => Self(format!("{name}{MARK}u{bits:x}")),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name with an extension: `.jsonl`.
    pub fn with(&self, extension: &'static str) -> String {
        format!("{}{extension}", self.0)
    }
}

impl AsRef<Path> for FileName {
    fn as_ref(&self) -> &Path {
        self.0.as_ref()
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text with all but plain characters escaped, and nothing in it that looks like the separator.
fn escaped(text: &str, separator: &str) -> String {
    if text.is_empty() {
        return MARK.to_string();
    }
    let bytes = text.as_bytes();
    let separates = |place: Option<usize>| {
        place.and_then(|place| bytes.get(place)).is_none_or(|byte| separator.as_bytes().contains(byte))
    };
    let escape = |(place, &byte): (usize, &u8)| {
        let beside = separator.len() == 1 || separates(place.checked_sub(1)) || separates(Some(place + 1));
        let plain = byte.is_ascii_alphanumeric() || b"._-=".contains(&byte);
        match plain && !(separates(Some(place)) && beside) {
            true => char::from(byte).to_string(),
            false => code(byte),
        }
    };
    bytes.iter().enumerate().map(escape).collect()
}

/// A name whose first and last character mean nothing to an operating system or to this program.
fn without_special_ends(mut name: String) -> String {
    let small = name.to_ascii_lowercase();
    let stem = small.split('.').next().unwrap_or_default();
    let is_port = |port: &str| {
        let number = stem.strip_prefix(port);
        number.is_some_and(|number| number.len() == 1 && number.as_bytes()[0].is_ascii_digit())
    };
    if name.ends_with('.') || small.ends_with(DAMAGED) {
        let last = name.pop().unwrap_or_default();
        name.push_str(&code(last as u8));
    }
    // Files that begin with a dot are hidden, and temporary files of this program are.
    if name.starts_with('.') || RESERVED.contains(&stem) || is_port("com") || is_port("lpt") {
        let first = name.remove(0);
        name.insert_str(0, &code(first as u8));
    }
    name
}

fn code(byte: u8) -> String {
    format!("{MARK}{byte:02x}")
}

/// Whether a path that a downloaded file or a server names stays inside the folder it is joined to, on every system:
/// names with `/` between them, none of them empty, `.` or `..`, nor these with what Windows strips from their ends.
pub fn is_inside(path: &str) -> bool {
    let plain = |part: &str| !part.trim_matches(['.', ' ']).is_empty();
    !path.contains(['\\', ':', '\0']) && path.split('/').all(plain)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::Component;

    use proptest::prelude::*;

    use super::*;

    /// The text of a short name in small letters: proof that no two have the same.
    fn text_of(small: &str) -> String {
        let (name, capitals) = small.split_once("@u").unwrap_or((small, "0"));
        let capitals = u128::from_str_radix(capitals, 16).expect("hex digits");
        let (mut bytes, mut rest) = (Vec::new(), name.as_bytes());
        while let Some((&byte, tail)) = rest.split_first() {
            rest = tail;
            if byte == b'@' && !tail.is_empty() {
                bytes.push(
                    u8::from_str_radix(&small[name.len() - tail.len()..][..2], 16).expect("two digits"),
                );
                rest = &tail[2..];
            } else if byte != b'@' {
                bytes.push(byte);
            }
        }
        for (nth, byte) in bytes.iter_mut().filter(|byte| byte.is_ascii_alphabetic()).enumerate() {
            byte.make_ascii_lowercase();
            if capitals >> nth & 1 == 1 {
                byte.make_ascii_uppercase();
            }
        }
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn usual_names_are_themselves() {
        for name in [
            "sae",
            "blocks.0.hook_resid_post",
            "blocks.11.attn.hook_z",
            "topk_0.001.seed2",
            "paper-residual",
            "k=12",
            "console",
            "com10",
            "v1.0",
        ] {
            assert_eq!(FileName::of(name).as_str(), name);
        }
        let page = FileName::joined(&["blocks.0.hook_resid_post", "my-sae", "random_weights"], "--");
        assert_eq!(page.as_str(), "blocks.0.hook_resid_post--my-sae--random_weights");
    }

    #[test]
    fn unusual_names_are_readable_and_mean_nothing_to_a_system() {
        for (text, name) in [
            ("", "@"),
            (".", "@2e"),
            ("..", "@2e@2e"),
            ("../../x", "@2e.@2f..@2fx"),
            ("/tmp/x", "@2ftmp@2fx"),
            ("a/b", "a@2fb"),
            ("a\\b", "a@5cb"),
            ("c:", "c@3a"),
            (".hidden", "@2ehidden"),
            ("dot.", "dot@2e"),
            ("space ", "space@20"),
            ("con", "@63on"),
            ("Nul.txt", "@4eul.txt@u1"),
            ("com1", "@63om1"),
            ("topk.damaged", "topk.damage@64"),
            ("A", "A@u1"),
            ("TopK", "TopK@u9"),
            ("a@2fb", "a@402fb"),
            ("é", "@c3@a9"),
            ("e\u{301}", "e@cc@81"),
            ("\0\n", "@00@0a"),
        ] {
            assert_eq!(FileName::of(text).as_str(), name, "{text:?}");
        }
        let long = FileName::of(&"long/".repeat(100));
        assert!(long.as_str().starts_with("long@2flong") && long.as_str().contains("@h"), "{long}");
    }

    #[test]
    fn lists_of_names_stay_apart() {
        let lists: [&[&str]; 10] = [
            &["a", "b", "c"],
            &["a--b", "c"],
            &["a", "b--c"],
            &["a--b--c"],
            &["a-", "b--c"],
            &["a", "-b", "c"],
            &["a", "", "b", "c"],
            &["a", "b", "c", ""],
            &["a.b", "c"],
            &["a", "b.c"],
        ];
        for separator in ["--", "."] {
            let names: Vec<FileName> = lists.iter().map(|list| FileName::joined(list, separator)).collect();
            for (nth, name) in names.iter().enumerate() {
                assert!(!names[..nth].contains(name), "{name} stands for two lists");
            }
        }
    }

    #[test]
    fn paths_that_leave_a_folder_are_told() {
        for name in ["/etc/passwd", "a/../b", "a//b", "c:\\x", "..", ".. /x", "", "a/", "a\0b"] {
            assert!(!is_inside(name), "{name:?}");
        }
        assert!(is_inside("data/train.jsonl") && is_inside("..model") && is_inside("a b"));
    }

    /// Names with everything that has a meaning somewhere.
    fn names() -> impl Strategy<Value = String> {
        let word = prop_oneof![
            Just("..".to_string()),
            Just("/".to_string()),
            Just("con".to_string()),
            Just(".damaged".to_string()),
            Just("@u1".to_string()),
            Just("@h".to_string()),
            Just("--".to_string()),
            Just("\0".to_string()),
            Just("é".to_string()),
            Just("e\u{301}".to_string()),
            Just("\u{212A}".to_string()),
            Just("long".repeat(30)),
            "[aAbB.@/ ]{0,3}",
            any::<String>(),
        ];
        proptest::collection::vec(word, 0..4).prop_map(|words| words.concat())
    }

    proptest! {
        #[test]
        fn a_name_is_one_component_and_tells_its_text(text in names()) {
            let name = FileName::of(&text);
            prop_assert_eq!(&name, &FileName::of(&text), "the same text gives the same name");
            let name = name.as_str();
            prop_assert!(name.len() <= 142 && name.is_ascii() && !name.is_empty());
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-=@".contains(&byte)));
            prop_assert!(!name.starts_with('.') && !name.ends_with('.') && !name.ends_with(DAMAGED));
            let components: Vec<Component<'_>> = Path::new(name).components().collect();
            prop_assert!(matches!(components.as_slice(), [Component::Normal(_)]), "{}", name);
            let stem = name.to_ascii_lowercase().split('.').next().unwrap_or_default().to_string();
            prop_assert!(!["con", "prn", "aux", "nul", "com1", "lpt9"].contains(&stem.as_str()));
            if !name.contains("@h") {
                prop_assert_eq!(text_of(&name.to_lowercase()), text);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn different_names_are_different_files_below_the_folder(texts in proptest::collection::vec(names(), 1..20)) {
            let folder = tempfile::tempdir().expect("temporary folder");
            let inside = folder.path().join("deep").join("run");
            let mut files: HashMap<String, String> = HashMap::new();
            for text in &texts {
                let name = FileName::of(text);
                let path = inside.join(&name).join(name.with(".jsonl"));
                super::super::write_atomic(&path, text.as_bytes()).expect("written");
                let other = files.entry(name.as_str().to_lowercase()).or_insert_with(|| text.clone());
                prop_assert_eq!(other, text, "two texts share {}", name);
            }
            for text in &texts {
                let name = FileName::of(text);
                let content = super::super::read(&inside.join(&name).join(name.with(".jsonl"))).expect("read");
                prop_assert_eq!(content, text.as_bytes());
            }
            let entries = |path: &Path| std::fs::read_dir(path).expect("a folder").count();
            prop_assert_eq!((entries(folder.path()), entries(&folder.path().join("deep"))), (1, 1));
            prop_assert_eq!(entries(&inside), files.len());
        }
    }
}
