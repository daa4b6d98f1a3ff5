//! Smaller SVG for pages: shorter numbers, and the stroke of a mark given once.

/// Numbers with this many decimals or more are rounding artefacts of the backend. No text shows so many.
const JUNK_DECIMALS: usize = 8;

/// Rounds coordinates that are rounding artefacts to two decimals.
pub fn compact(svg: &str) -> String {
    let mut short = String::with_capacity(svg.len());
    let mut rest = svg;
    while let Some(from) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, number) = rest.split_at(from);
        let to = number.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(number.len());
        let (number, after) = number.split_at(to);
        short.push_str(before);
        let decimals = number.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        match number.parse::<f64>() {
            Ok(value) if decimals >= JUNK_DECIMALS => {
                let rounded = format!("{value:.2}");
                short.push_str(rounded.trim_end_matches('0').trim_end_matches('.'));
            }
            _ => short.push_str(number),
        }
        rest = after;
    }
    short + rest
}

/// Moves the stroke that all elements of a mark's group share to the group.
pub fn shared_strokes(svg: &str) -> String {
    let mut parts = svg.split("<g data-tip=");
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |short, part| {
        short + &share_stroke(part).unwrap_or_else(|| format!("<g data-tip={part}"))
    })
}

/// The same for the text after one `<g data-tip=`; none if the elements of the group differ.
fn share_stroke(part: &str) -> Option<String> {
    let (tip, rest) = part.split_once('>')?;
    let (marks, after) = rest.split_once("</g>")?;
    let (_, stroke) = marks.split_once(" stroke=\"")?;
    let shared = format!(" stroke=\"{}\"", stroke.split_once('"')?.0);
    let elements = marks.matches("/>").count();
    (elements > 1 && marks.matches(&shared).count() == elements)
        .then(|| format!("<g data-tip={tip}{shared}>{}</g>{after}", marks.replace(&shared, "")))
}
