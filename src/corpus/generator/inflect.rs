//! English word forms: the regular rules, and the irregular words of the word lists.

/// Irregular plurals.
const PLURALS: &str = "\
    knife:knives leaf:leaves loaf:loaves wolf:wolves sheep:sheep mouse:mice goose:geese tooth:teeth \
    potato:potatoes tomato:tomatoes shelf:shelves thief:thieves calf:calves hero:heroes deer:deer \
    salesman:salesmen fisherman:fishermen foreman:foremen quiz:quizzes stomach:stomachs \
    diagnosis:diagnoses tornado:tornadoes fish:fish";

/// Past participles that differ from an irregular past tense.
const PARTICIPLES: &str = "\
    write:written forget:forgotten sing:sung draw:drawn choose:chosen withdraw:withdrawn throw:thrown \
    beat:beaten hide:hidden grow:grown sink:sunk show:shown give:given take:taken";

/// Irregular past tenses.
const PASTS: &str = "\
    burn:burned hang:hung build:built read:read write:wrote forget:forgot teach:taught hear:heard \
    sing:sang draw:drew buy:bought send:sent lose:lost find:found catch:caught choose:chose pay:paid \
    spend:spent lend:lent sell:sold withdraw:withdrew throw:threw win:won hit:hit beat:beat feed:fed \
    hide:hid forecast:forecast dig:dug grow:grew cut:cut sink:sank lead:led show:showed bend:bent \
    give:gave take:took tell:told bring:brought";

fn is_vowel(c: u8) -> bool {
    matches!(c, b'a' | b'e' | b'i' | b'o' | b'u')
}

fn sibilant(word: &str) -> bool {
    ["s", "x", "z", "ch", "sh"].iter().any(|end| word.ends_with(end))
}

fn consonant_y(word: &str) -> bool {
    let bytes = word.as_bytes();
    bytes.len() > 1 && bytes[bytes.len() - 1] == b'y' && !is_vowel(bytes[bytes.len() - 2])
}

/// Whether the last letter doubles before `-ed` and `-ing`: one syllable that ends in consonant, vowel, consonant
/// (`chop`), or one of the listed verbs.
fn doubles(word: &str) -> bool {
    let bytes = word.as_bytes();
    let n = bytes.len();
    if matches!(word, "forget" | "submit" | "compel" | "debug" | "transfer") {
        return true;
    }
    let groups = (0..n).filter(|&i| is_vowel(bytes[i]) && (i == 0 || !is_vowel(bytes[i - 1]))).count();
    n >= 3
        && groups == 1
        && !is_vowel(bytes[n - 1])
        && !matches!(bytes[n - 1], b'w' | b'x' | b'y')
        && is_vowel(bytes[n - 2])
        && !is_vowel(bytes[n - 3])
}

/// The form of `word` in a table of `base:form` pairs.
fn irregular(table: &'static str, word: &str) -> Option<&'static str> {
    let mut pairs = table.split_whitespace().filter_map(|pair| pair.split_once(':'));
    pairs.find(|(base, _)| *base == word).map(|(_, form)| form)
}

pub(super) fn plural(noun: &str) -> String {
    irregular(PLURALS, noun).map_or_else(|| third_person(noun), str::to_owned)
}

/// Third person singular of a verb, and the regular plural of a noun.
pub(super) fn third_person(word: &str) -> String {
    if consonant_y(word) {
        format!("{}ies", &word[..word.len() - 1])
    } else if sibilant(word) {
        format!("{word}es")
    } else {
        format!("{word}s")
    }
}

pub(super) fn past(verb: &str) -> String {
    if let Some(form) = irregular(PASTS, verb) {
        return form.to_owned();
    }
    if consonant_y(verb) {
        format!("{}ied", &verb[..verb.len() - 1])
    } else if verb.ends_with('e') {
        format!("{verb}d")
    } else if doubles(verb) {
        format!("{verb}{}ed", &verb[verb.len() - 1..])
    } else {
        format!("{verb}ed")
    }
}

pub(super) fn participle(verb: &str) -> String {
    irregular(PARTICIPLES, verb).map_or_else(|| past(verb), str::to_owned)
}

pub(super) fn ing(verb: &str) -> String {
    if let Some(stem) = verb.strip_suffix("ie") {
        format!("{stem}ying")
    } else if verb.ends_with('e') && !verb.ends_with("ee") {
        format!("{}ing", &verb[..verb.len() - 1])
    } else if doubles(verb) {
        format!("{verb}{}ing", &verb[verb.len() - 1..])
    } else {
        format!("{verb}ing")
    }
}

/// `a` or `an` before `word`.
pub(super) fn article(word: &str) -> &'static str {
    let first = word.as_bytes().first().map(u8::to_ascii_lowercase).unwrap_or(b'x');
    let sounds_consonant = ["uni", "use", "one", "eu"].iter().any(|start| word.starts_with(start));
    let silent_h = ["hour", "honest"].iter().any(|start| word.starts_with(start));
    if silent_h || (is_vowel(first) && !sounds_consonant) { "an" } else { "a" }
}

/// The word with a capital first letter.
pub(super) fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
