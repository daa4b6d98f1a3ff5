//! One document while it is written: its people, things and repeated choices, and the template language.

use crate::base::Stream;

use super::concept::Concept;
use super::inflect;
use super::lexicon::{LEXICON, Topic};
use super::writer::Writer;

/// A person of a document. Role and city stay the same throughout.
struct Person {
    name: &'static str,
    feminine: bool,
    role: &'static str,
    city: &'static str,
    mentions: usize,
}

/// A thing of a document. Its attributes stay the same throughout.
struct Thing {
    noun: &'static str,
    adjective: &'static str,
    place: &'static str,
    verb: &'static str,
}

/// One document being written.
///
/// Templates are text with slots. `{kind}` draws a word of a kind, `{kind.form}` inflects it, `{kind#key}`
/// draws it once and repeats it, `{a kind}` puts the article before it, `{^kind}` capitalises it.
/// `<one|two>` takes one of its alternatives. `\` takes the next character literally.
///
/// - People: `{A}` `{B}` `{C}` are fixed, `{S}` is the current subject, `{O}` another person. Forms: `he`, `him`,
///   `his`, `self`, `role`, `city`.
/// - Things: `{x}` `{y}` `{z}`. Forms: `s`, `adj`, `place`, `v`, `vs`, `ved`, `ven`, `ving`.
pub(super) struct Scene {
    pub stream: Stream,
    pub writer: Writer,
    topic: &'static Topic,
    people: Vec<Person>,
    things: Vec<Thing>,
    /// Words drawn for slots with a key.
    memory: Vec<(String, String)>,
    subject: usize,
    other: usize,
    pronoun_due: bool,
    /// People named since the subject last changed. A pronoun must not fit two of them.
    recent: Vec<usize>,
    /// Templates used so far.
    used: Vec<String>,
}

impl Scene {
    /// Starts a document of a register. Topic, people and things are drawn from `stream`.
    pub fn new(mut stream: Stream, register: Concept) -> Self {
        let topic = stream.pick(&LEXICON.topics);
        let mut people: Vec<Person> = Vec::new();
        while people.len() < 3 {
            let (name, feminine) = any_name(&mut stream);
            if people.iter().all(|person| person.name != name) {
                let (role, city) = (*stream.pick(topic.words("role")), *stream.pick(topic.words("city")));
                people.push(Person { name, feminine, role, city, mentions: 0 });
            }
        }
        let mut things: Vec<Thing> = Vec::new();
        while things.len() < 3 {
            let noun = *stream.pick(topic.words("noun"));
            if things.iter().all(|thing| thing.noun != noun) {
                let verb = preferred_verb(topic, noun, &mut stream);
                let (adjective, place) =
                    (*stream.pick(topic.words("adj")), *stream.pick(topic.words("place")));
                things.push(Thing { noun, adjective, place, verb });
            }
        }
        let about_topic = !matches!(register, Concept::FRENCH | Concept::ARITHMETIC | Concept::IOI);
        let scope = if about_topic { vec![register, topic.concept] } else { vec![register] };
        Self {
            stream,
            writer: Writer::new(scope),
            topic,
            people,
            things,
            memory: Vec::new(),
            subject: 0,
            other: 1,
            pronoun_due: false,
            recent: Vec::new(),
            used: Vec::new(),
        }
    }

    /// Writes one of `templates` about a newly drawn subject, which may be the same as before.
    pub fn tell<T: AsRef<str>>(&mut self, templates: &[T]) {
        let last = self.subject;
        self.subject = self.stream.below(self.people.len());
        let step = 1 + self.stream.below(self.people.len() - 1);
        self.other = (self.subject + step) % self.people.len();
        let feminine = self.people[last].feminine;
        let ambiguous = self.recent.iter().any(|&at| at != last && self.people[at].feminine == feminine);
        let named = self.recent.contains(&last) && !self.writer.at_line_start();
        self.pronoun_due = self.subject == last && named && !ambiguous;
        self.write_one(templates);
    }

    /// Writes one of `templates` with the given subject and other person.
    pub fn tell_between<T: AsRef<str>>(&mut self, subject: usize, other: usize, templates: &[T]) {
        (self.subject, self.other, self.pronoun_due) = (subject, other, false);
        self.write_one(templates);
    }

    /// Draws a template up to 13 times until it finds one that the document has not used yet.
    fn write_one<T: AsRef<str>>(&mut self, templates: &[T]) {
        if !self.pronoun_due {
            self.recent.clear();
        }
        let mut template = self.stream.pick(templates).as_ref();
        for _ in 0..12 {
            if self.used.iter().all(|used| used != template) {
                break;
            }
            template = self.stream.pick(templates).as_ref();
        }
        self.used.push(template.to_owned());
        self.expand(template);
    }

    pub fn push(&mut self, text: &str, concepts: &[Concept]) {
        self.writer.push(text, concepts);
    }

    /// Writes a template whose slots `{name}` are written by `slot`.
    pub fn fill(&mut self, template: &str, mut slot: impl FnMut(&mut Self, &str)) {
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            self.push(before, &[]);
            let (name, tail) = after.split_once('}').unwrap_or((after, ""));
            slot(self, name);
            rest = tail;
        }
        self.push(rest, &[]);
    }

    pub fn expand(&mut self, template: &str) {
        let mut rest = template;
        while let Some(at) = rest.find(['{', '<', '\\']) {
            self.writer.push(&rest[..at], &[]);
            let opened = &rest[at + 1..];
            match rest.as_bytes()[at] {
                b'\\' => {
                    self.writer.push(&opened[..1], &[]);
                    rest = &opened[1..];
                }
                b'{' => {
                    let end = opened.find('}').unwrap_or(opened.len());
                    self.slot(&opened[..end]);
                    rest = opened.get(end + 1..).unwrap_or("");
                }
                _ => {
                    let (options, after) = alternatives(opened);
                    let chosen = options[self.stream.below(options.len())];
                    self.expand(chosen);
                    rest = after;
                }
            }
        }
        self.writer.push(rest, &[]);
    }

    fn slot(&mut self, slot: &str) {
        let (capital, slot) = slot.strip_prefix('^').map_or((false, slot), |rest| (true, rest));
        let (with_article, slot) = slot.strip_prefix("a ").map_or((false, slot), |rest| (true, rest));
        let (slot, form) = slot.split_once('.').unwrap_or((slot, ""));
        let (kind, key) = slot.split_once('#').unwrap_or((slot, ""));
        let is_person = matches!(kind, "A" | "B" | "C" | "S" | "O");
        if is_person && !matches!(form, "role" | "city") {
            return self.person(kind, form, capital);
        }
        let (text, mut concepts) = match kind {
            _ if is_person => {
                let person = &self.people[self.index(kind)];
                let word = if form == "role" { person.role } else { person.city };
                inflected(form, "", word.to_owned(), self.topic.concept)
            }
            "x" | "y" | "z" => self.thing(kind, form),
            _ => self.drawn(kind, key, form),
        };
        let content = concepts.iter().any(|concept| !is_closed_class(*concept));
        if content && self.writer.repeats(&text) {
            concepts.push(Concept::REPEATED);
        }
        let capitalised = |text: &str| if capital { inflect::capital(text) } else { text.to_owned() };
        if with_article {
            self.writer.push(&capitalised(inflect::article(&text)), &[]);
            self.writer.push(" ", &[]);
            self.writer.push(&text, &concepts);
        } else {
            self.writer.push(&capitalised(&text), &concepts);
        }
    }

    /// Index of a person: `A`, `B`, `C`, the subject `S`, or the other person `O`.
    fn index(&self, who: &str) -> usize {
        let current = if who == "S" { self.subject } else { self.other };
        "ABC".find(who).unwrap_or(current)
    }

    fn person(&mut self, who: &str, form: &str, capital: bool) {
        let index = self.index(who);
        let person = &mut self.people[index];
        let gender = if person.feminine { Concept::PRONOUN_FEMININE } else { Concept::PRONOUN_MASCULINE };
        let by_gender = |she, he| if person.feminine { she } else { he };
        let pronoun = match form {
            "he" => by_gender("she", "he"),
            "him" => by_gender("her", "him"),
            "his" => by_gender("her", "his"),
            "self" => by_gender("herself", "himself"),
            "il" => by_gender("elle", "il"),
            _ if who == "S" && std::mem::take(&mut self.pronoun_due) => by_gender("she", "he"),
            _ => {
                let sex = if person.feminine { Concept::NAME_FEMININE } else { Concept::NAME_MASCULINE };
                let mention = match person.mentions {
                    0 => &[Concept::NAME_FIRST_MENTION][..],
                    1 => &[Concept::NAME_LATER_MENTION, Concept::NAME_SECOND_MENTION],
                    _ => &[Concept::NAME_LATER_MENTION],
                };
                person.mentions += 1;
                self.recent.push(index);
                return self.writer.push(person.name, &[&[Concept::NAME, sex], mention].concat());
            }
        };
        let start = capital || form.is_empty() && self.writer.after_sentence();
        let text = if start { inflect::capital(pronoun) } else { pronoun.to_owned() };
        self.writer.push(&text, &[Concept::PRONOUN, gender]);
    }

    fn thing(&self, which: &str, form: &str) -> (String, Vec<Concept>) {
        let thing = &self.things["xyz".find(which).unwrap_or(0)];
        let (kind, form, word) = match form {
            "adj" => ("adj", "", thing.adjective),
            "place" => ("place", "", thing.place),
            "v" | "vs" | "ved" | "ven" | "ving" => ("verb", &form[1..], thing.verb),
            _ => ("noun", form, thing.noun),
        };
        inflected(kind, form, word.to_owned(), self.topic.concept)
    }

    fn drawn(&mut self, kind: &str, key: &str, form: &str) -> (String, Vec<Concept>) {
        let slot = format!("{kind}#{key}");
        let known = self.memory.iter().find(|(name, _)| *name == slot).map(|(_, word)| word.clone());
        let base = known.unwrap_or_else(|| {
            let word = self.draw(kind);
            if !key.is_empty() {
                self.memory.push((slot, word.clone()));
            }
            word
        });
        inflected(kind, form, base, self.topic.concept)
    }

    fn draw(&mut self, kind: &str) -> String {
        match self.topic.words(kind) {
            [] => draw_number(kind, &mut self.stream),
            words => (*self.stream.pick(words)).to_owned(),
        }
    }
}

/// Draws a first name, held-out ones included. Returns the name and whether it is a woman's.
fn any_name(stream: &mut Stream) -> (&'static str, bool) {
    let pools = ["woman", "held_out_woman", "man", "held_out_man"].map(|kind| LEXICON.words(kind));
    let mut at = stream.below(pools.iter().map(|pool| pool.len()).sum());
    for (index, pool) in pools.iter().enumerate() {
        match pool.get(at) {
            Some(name) => return (name, index < 2),
            None => at -= pool.len(),
        }
    }
    (pools[0][0], true)
}

fn is_closed_class(concept: Concept) -> bool {
    matches!(concept, Concept::NUMBER | Concept::DAY | Concept::PRICE)
}

/// Draws a verb for a noun. In four of five cases it is one of two verbs that are fixed for the noun.
fn preferred_verb(topic: &'static Topic, noun: &str, stream: &mut Stream) -> &'static str {
    let index: usize = noun.bytes().map(usize::from).sum();
    let verbs = topic.words("verb");
    let place = match stream.below(5) {
        0 => stream.below(verbs.len()),
        1 | 2 => index,
        _ => index * 7 + 3,
    };
    verbs[place % verbs.len()]
}

fn verb_form(verb: &str, form: &str) -> (String, Concept) {
    match form {
        "s" => (inflect::third_person(verb), Concept::VERB_PRESENT),
        "ed" => (inflect::past(verb), Concept::VERB_PAST),
        "en" => (inflect::participle(verb), Concept::VERB_PARTICIPLE),
        "ing" => (inflect::ing(verb), Concept::VERB_ING),
        _ => (verb.to_owned(), Concept::VERB_BASE),
    }
}

fn inflected(kind: &str, form: &str, base: String, topic: Concept) -> (String, Vec<Concept>) {
    let concept = match kind {
        "verb" => {
            let (text, concept) = verb_form(&base, form);
            return (text, vec![concept, topic]);
        }
        "noun" | "role" | "object" if form == "s" => {
            let concept = match kind {
                "noun" => topic,
                "role" => Concept::ROLE,
                _ => Concept::OBJECT,
            };
            return (inflect::plural(&base), vec![Concept::NOUN_PLURAL, concept]);
        }
        "noun" => return (base, vec![Concept::NOUN_SINGULAR, topic]),
        "adj" => return (base, vec![Concept::ADJECTIVE, topic]),
        "place" => return (base, vec![Concept::PLACE, topic]),
        "role" | "kin" => Concept::ROLE,
        "surname" => Concept::SURNAME,
        "city" => Concept::CITY,
        "colour" => Concept::COLOUR,
        "feeling" => Concept::FEELING,
        "adverb" => Concept::ADVERB,
        "object" => Concept::OBJECT,
        "food" => Concept::FOOD,
        "weekday" => Concept::WEEKDAY,
        "month" => Concept::MONTH,
        "count" => Concept::NUMBER_WORD,
        "day" => Concept::DAY,
        "year" => Concept::YEAR,
        "clock" => Concept::CLOCK,
        "price" => Concept::PRICE,
        _ => Concept::NUMBER,
    };
    (base, vec![concept])
}

fn draw_number(kind: &str, stream: &mut Stream) -> String {
    match kind {
        "day" => (1 + stream.below(28)).to_string(),
        "year" => (1950 + stream.below(76)).to_string(),
        "clock" => format!("{}:{:02}", 1 + stream.below(12), 5 * stream.below(12)),
        "price" => {
            format!("${}.{}", 1 + stream.below(60), stream.pick(&["00", "25", "50", "75", "95", "99"]))
        }
        _ => (2 + stream.below(60)).to_string(),
    }
}

/// Splits the text after `<` into its alternatives and the rest after the matching `>`.
fn alternatives(opened: &str) -> (Vec<&str>, &str) {
    let (mut depth, mut start, mut options) = (0usize, 0usize, Vec::new());
    for (at, byte) in opened.bytes().enumerate() {
        match byte {
            b'<' => depth += 1,
            b'>' if depth > 0 => depth -= 1,
            b'|' if depth == 0 => {
                options.push(&opened[start..at]);
                start = at + 1;
            }
            b'>' => {
                options.push(&opened[start..at]);
                return (options, &opened[at + 1..]);
            }
            _ => {}
        }
    }
    options.push(&opened[start..]);
    (options, "")
}
