//! The tags `{% generation %}` and `{% endgeneration %}`. In training they mark the assistant's text for transformers;
//! here they have no effect.

use std::borrow::Cow;

/// Replaces the tags by `{% if true %}` and `{% endif %}`, which trim the space around them in the same way.
pub fn without_tags(source: &str) -> Cow<'_, str> {
    if !source.contains("generation") {
        return Cow::Borrowed(source);
    }
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        // Behind the opening: in `{%}` one sign cannot be both.
        let Some(inside) = tag[2..].find("%}").map(|end| &tag[2..2 + end]) else {
            rest = tag;
            break;
        };
        let (tag, after) = tag.split_at(inside.len() + 4);
        let (first, inside) = mark(inside, str::strip_prefix);
        let (last, inside) = mark(inside, str::strip_suffix);
        match inside.trim() {
            "generation" => out.push_str(&format!("{{%{first} if true {last}%}}")),
            "endgeneration" => out.push_str(&format!("{{%{first} endif {last}%}}")),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The whitespace control sign of a tag, and the rest of the tag.
fn mark<'a>(
    inside: &'a str,
    strip: impl Fn(&'a str, &'static str) -> Option<&'a str>,
) -> (&'static str, &'a str) {
    ["-", "+"].into_iter().find_map(|sign| Some((sign, strip(inside, sign)?))).unwrap_or(("", inside))
}
