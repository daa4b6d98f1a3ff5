//! Where a dictionary trained elsewhere lies: on this disk, or in a repository of the hub.

use std::fmt;
use std::path::PathBuf;

use crate::base::Digest;

/// What marks a place on the hub.
const HUB: &str = "hub:";

/// The form of a place on the hub, for messages.
const FORM: &str = "expected `hub:OWNER/NAME/FOLDER@REVISION`, where folder and revision may be left out";

/// The place of a dictionary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DictionaryPath {
    /// A folder or file on this disk.
    Local(PathBuf),
    /// A folder or file of a model repository on the hub.
    Hub(HubPath),
}

/// A folder or file of a model repository on the hub, printed as `hub:OWNER/NAME/FOLDER@REVISION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubPath {
    /// `OWNER/NAME`.
    pub id: String,
    /// Path inside the repository, with `/`; empty for its top.
    pub folder: String,
    /// Commit, branch or tag, if one is given.
    pub revision: Option<String>,
}

/// A dictionary trained elsewhere, found on this disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// Its folder or file.
    pub path: PathBuf,
    /// Digest of the files that its reader needs.
    pub digest: Digest,
    /// The commit of its hub repository, 40 hex digits.
    pub commit: Option<String>,
}

impl DictionaryPath {
    /// Reads a path as a suite gives it. `Err` says what is wrong with it. Nothing is looked up.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err(
                "is empty; expected the folder that holds the dictionary, or `hub:OWNER/NAME/FOLDER`".into(),
            );
        }
        if text.contains(char::is_control) {
            return Err(format!("holds a control character: \"{}\"", text.escape_debug()));
        }
        if let Some(place) = text.strip_prefix(HUB) {
            return HubPath::parse(place)
                .map(Self::Hub)
                .map_err(|why| format!("is `{text}`, which {why}; {FORM}"));
        }
        if ["http://", "https://", "hf:"].iter().any(|scheme| text.starts_with(scheme)) {
            return Err(format!("is the address `{text}`; {FORM}"));
        }
        Ok(Self::Local(PathBuf::from(text)))
    }
}

impl HubPath {
    fn parse(text: &str) -> Result<Self, String> {
        let (place, revision) = match text.rsplit_once('@') {
            Some((place, revision)) => (place, Some(revision)),
            None => (text, None),
        };
        let is_name =
            |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        let mut parts = place.split('/');
        let (Some(owner), Some(name)) = (parts.next(), parts.next()) else {
            return Err("names no repository".into());
        };
        let folder: Vec<&str> = parts.collect();
        for part in [owner, name].into_iter().chain(folder.iter().copied()) {
            match part {
                "" => return Err("has an empty part".into()),
                "." | ".." => return Err(format!("has the part `{part}`, which leads elsewhere")),
                _ if part.contains(['\\', ':']) => return Err(format!("has `\\` or `:` in `{part}`")),
                _ => {}
            }
        }
        if let Some(part) = [owner, name].into_iter().find(|part| !is_name(part)) {
            return Err(format!(
                "names a repository with `{part}`: only letters, digits, `-`, `_` and `.` are allowed"
            ));
        }
        if let Some(revision) = revision
            && !revision.split('/').all(|part| !matches!(part, "" | "." | "..") && is_name(part))
        {
            return Err(format!("has the revision `{revision}`, which is no commit, branch or tag"));
        }
        Ok(Self {
            id: format!("{owner}/{name}"),
            folder: folder.join("/"),
            revision: revision.map(str::to_string),
        })
    }
}

impl fmt::Display for DictionaryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => path.display().fmt(f),
            Self::Hub(place) => place.fmt(f),
        }
    }
}

impl fmt::Display for HubPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HUB}{}", self.id)?;
        if !self.folder.is_empty() {
            write!(f, "/{}", self.folder)?;
        }
        self.revision.as_ref().map_or(Ok(()), |revision| write!(f, "@{revision}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(text: &str) -> (String, String, Option<String>) {
        let DictionaryPath::Hub(found) = DictionaryPath::parse(text).expect(text) else {
            panic!("{text}: local")
        };
        assert_eq!(found.to_string(), text);
        (found.id, found.folder, found.revision)
    }

    #[test]
    fn a_place_on_the_hub_has_a_repository_a_folder_and_a_revision() {
        let scope = "google/gemma-scope-2b-pt-res".to_string();
        let folder = "layer_12/width_16k/average_l0_82".to_string();
        assert_eq!(hub(&format!("hub:{scope}/{folder}")), (scope.clone(), folder.clone(), None));
        assert_eq!(hub(&format!("hub:{scope}/{folder}@v1.0")), (scope.clone(), folder, Some("v1.0".into())));
        assert_eq!(hub(&format!("hub:{scope}")), (scope.clone(), String::new(), None));
        assert_eq!(hub(&format!("hub:{scope}@refs/pr/3")), (scope, String::new(), Some("refs/pr/3".into())));
        for local in ["./sae", "C:\\saes\\one", "/x/hub:y", "google/gemma-scope", "über/ordner", "-"] {
            assert_eq!(DictionaryPath::parse(local), Ok(DictionaryPath::Local(local.into())));
        }
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for (text, part) in [
            ("", "is empty"),
            ("  ", "is empty"),
            ("hub:", "names no repository"),
            ("hub:gpt2", "names no repository"),
            ("hub:/a/b", "an empty part"),
            ("hub:a/b/", "an empty part"),
            ("hub:a/b//c", "an empty part"),
            ("hub:a/../b", "leads elsewhere"),
            ("hub:a/b/../../c", "leads elsewhere"),
            ("hub:a/b/./c", "leads elsewhere"),
            ("hub:C:\\saes/x", "`\\` or `:`"),
            ("hub:a/b/c\\d", "`\\` or `:`"),
            ("hub:a/b c/d", "names a repository with `b c`"),
            ("hub:a/b@", "no commit, branch or tag"),
            ("hub:a/b/c@v1/../x", "no commit, branch or tag"),
            ("hub:a/b@v 1", "no commit, branch or tag"),
            ("hub:a/b/\u{1b}[31mc", "a control character"),
            ("sae\0", "a control character"),
            ("https://huggingface.co/a/b", "is the address"),
            ("hf://a/b", "is the address"),
        ] {
            let error = DictionaryPath::parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains('\u{1b}') && !error.contains('\0'), "{error:?}");
        }
    }
}
