//! Which features a list shows: a part of `HOOK/METHOD/FEATURE`, exact or with `*`.

use crate::report::ScoreLine;

/// Consecutive parts of `HOOK/METHOD/FEATURE`. Each is exact; `*` stands for any characters.
#[derive(Debug)]
pub struct Filter<'a>(Vec<&'a str>);

impl<'a> Filter<'a> {
    /// Splits the text at slashes. An empty text matches every line.
    pub fn new(text: &'a str) -> Self {
        Self(text.split('/').filter(|part| !part.is_empty()).collect())
    }

    /// Whether consecutive parts of the line's place match. A method matches its trainings too.
    pub fn matches(&self, line: &ScoreLine) -> bool {
        let feature = line.feature.to_string();
        let dictionary = line.dictionary();
        [dictionary.as_str(), line.method.as_str()].iter().any(|method| {
            let place = [line.hook.as_str(), method, &feature];
            self.0.len() <= place.len()
                && (0..=place.len() - self.0.len())
                    .any(|start| self.0.iter().zip(&place[start..]).all(|(part, name)| fits(part, name)))
        })
    }
}

/// Whether a name fits a pattern in which `*` stands for any characters.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let Some((middle, last)) = rest.rsplit_once('*') else { return name.ends_with(rest) };
    for part in middle.split('*') {
        let Some((_, after)) = name.split_once(part) else { return false };
        name = after;
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::super::tests::line;
    use super::*;

    #[test]
    fn parts_are_exact_and_a_star_stands_for_any_characters() {
        let line = ScoreLine { method: "pca_topk".into(), training: Some(1), ..line(17, None, "a") };
        for text in [
            "",
            "/",
            "pca_topk",
            "/pca_topk/",
            "pca_topk.seed2",
            "17",
            "pca_topk/17",
            "blocks.2.hook_resid_post",
            "blocks.2.hook_resid_post/pca_topk.seed2/17",
            "*topk*",
            "*topk",
            "p*a*o*k",
            "*",
            "*/*/*",
            "blocks.*/p*",
            "blocks.2.*/pca_topk",
            "**",
            "pca_topk*",
        ] {
            assert!(Filter::new(text).matches(&line), "{text}");
        }
        for text in [
            "topk",
            "topk*",
            "pca",
            "7",
            "1",
            "blocks.2",
            "17/pca_topk",
            "pca_topk.seed3",
            "*/*/*/*",
            "*x*",
            "p*ca*ca*",
        ] {
            assert!(!Filter::new(text).matches(&line), "{text}");
        }
    }
}
