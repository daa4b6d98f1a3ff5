use crate::base::Stream;

use super::concept::Concept;
use super::inflect;
use super::lexicon::{self, Lexicon, Topic};
use super::writer::Writer;

/// A person of a document: what is said once about them stays true to its end.
struct Person {
    name: &'static str,
    feminine: bool,
    role: &'static str,
    city: &'static str,
    mentions: usize,
}

/// A thing of a document, with the attributes that stay the same in it.
struct Thing {
    noun: &'static str,
    adjective: &'static str,
    place: &'static str,
    verb: &'static str,
}

/// One document being written: its people, things and remembered choices, and the writer.
///
/// Templates are text with slots. `{kind}` draws a word of a kind, `{kind.form}` inflects it, `{kind#key}`
/// draws it once and repeats it, `{a kind}` puts the article before it, `{^kind}` capitalises it.
/// `<one|two>` takes one of its alternatives. `\` takes the next character literally.
/// People: `{A}` `{B}` `{C}` fixed, `{S}` and `{O}` the current subject and another person, with forms `he`,
/// `him`, `his`, `self`, `role`, `city`. Things: `{x}` `{y}` `{z}` with forms `s`, `adj`, `place`, `v`, `vs`,
/// `ved`, `ven`, `ving`.
pub(super) struct Scene<'l> {
    pub lexicon: &'l Lexicon,
    pub stream: Stream,
    pub writer: Writer,
    topic: &'l Topic,
    people: Vec<Person>,
    things: Vec<Thing>,
    memory: Vec<(String, String)>,
    subject: usize,
    other: usize,
    pronoun_due: bool,
    /// People named since the subject last changed: a pronoun must not be taken for another of them.
    recent: Vec<usize>,
    used: Vec<String>,
}

impl<'l> Scene<'l> {
    /// A document of a register about a topic drawn from `stream`.
    pub fn new(lexicon: &'l Lexicon, mut stream: Stream, register: Concept) -> Self {
        let topic = &lexicon.topics[stream.below(lexicon.topics.len())];
        let mut people: Vec<Person> = Vec::new();
        while people.len() < 3 {
            let (name, feminine) = any_name(&mut stream);
            if people.iter().all(|person| person.name != name) {
                let (role, city) = (*stream.pick(&topic.roles), *stream.pick(&lexicon.cities));
                people.push(Person { name, feminine, role, city, mentions: 0 });
            }
        }
        let mut things: Vec<Thing> = Vec::new();
        while things.len() < 3 {
            let noun = *stream.pick(&topic.nouns);
            if things.iter().all(|thing| thing.noun != noun) {
                let verb = preferred_verb(topic, noun, &mut stream);
                let (adjective, place) = (*stream.pick(&topic.adjectives), *stream.pick(&topic.places));
                things.push(Thing { noun, adjective, place, verb });
            }
        }
        let about_topic = !matches!(register, Concept::FRENCH | Concept::ARITHMETIC | Concept::IOI);
        let scope = if about_topic { vec![register, topic.concept] } else { vec![register] };
        let writer = Writer::new(scope);
        let memory = Vec::new();
        Self {
            lexicon,
            stream,
            writer,
            topic,
            people,
            things,
            memory,
            subject: 0,
            other: 1,
            pronoun_due: false,
            recent: Vec::new(),
            used: Vec::new(),
        }
    }

    /// Writes one of `templates`, about a subject drawn anew or, now and then, still the last one.
    pub fn tell(&mut self, templates: &[&str]) {
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

    /// Writes one of `templates` with speaker and listener as given.
    pub fn tell_between(&mut self, subject: usize, other: usize, templates: &[&str]) {
        (self.subject, self.other, self.pronoun_due) = (subject, other, false);
        self.write_one(templates);
    }

    /// Prefers templates that the document has not used yet, so that sentences seldom repeat word for word.
    fn write_one(&mut self, templates: &[&str]) {
        if !self.pronoun_due {
            self.recent.clear();
        }
        let mut template = *self.stream.pick(templates);
        for _ in 0..12 {
            if self.used.iter().all(|used| used != template) {
                break;
            }
            template = *self.stream.pick(templates);
        }
        self.used.push(template.to_owned());
        self.expand(template);
    }

    /// Writes text that no template stands for.
    pub fn push(&mut self, text: &str, concepts: &[Concept]) {
        self.writer.push(text, concepts);
    }

    /// Writes a template.
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
        match kind {
            "A" | "B" | "C" | "S" | "O" if !matches!(form, "role" | "city") => {
                self.person(kind, form, capital)
            }
            _ => {
                let (text, mut concepts) = match kind {
                    "A" | "B" | "C" | "S" | "O" => self.fact(kind, form),
                    "x" | "y" | "z" => self.thing(kind, form),
                    _ => self.drawn(kind, key, form),
                };
                let content = concepts.iter().any(|concept| !is_closed_class(*concept));
                if content && self.writer.repeats(&text) {
                    concepts.push(Concept::REPEATED);
                }
                if with_article {
                    let article = inflect::article(&text);
                    self.writer
                        .push(&if capital { inflect::capital(article) } else { article.to_owned() }, &[]);
                    self.writer.push(" ", &[]);
                    self.writer.push(&text, &concepts);
                } else {
                    let text = if capital { inflect::capital(&text) } else { text };
                    self.writer.push(&text, &concepts);
                }
            }
        }
    }

    fn index(&self, who: &str) -> usize {
        match who {
            "A" => 0,
            "B" => 1,
            "C" => 2,
            "S" => self.subject,
            _ => self.other,
        }
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

    fn fact(&self, who: &str, form: &str) -> (String, Vec<Concept>) {
        let person = &self.people[self.index(who)];
        match form {
            "role" => (person.role.to_owned(), vec![Concept::ROLE]),
            _ => (person.city.to_owned(), vec![Concept::CITY]),
        }
    }

    fn thing(&mut self, which: &str, form: &str) -> (String, Vec<Concept>) {
        let thing = &self.things[match which {
            "x" => 0,
            "y" => 1,
            _ => 2,
        }];
        let topic = self.topic.concept;
        match form {
            "s" => (inflect::plural(thing.noun), vec![Concept::NOUN_PLURAL, topic]),
            "adj" => (thing.adjective.to_owned(), vec![Concept::ADJECTIVE, topic]),
            "place" => (thing.place.to_owned(), vec![Concept::PLACE, topic]),
            "v" | "vs" | "ved" | "ven" | "ving" => {
                let (text, concept) = verb_form(thing.verb, &form[1..]);
                (text, vec![concept, topic])
            }
            _ => (thing.noun.to_owned(), vec![Concept::NOUN_SINGULAR, topic]),
        }
    }

    fn drawn(&mut self, kind: &str, key: &str, form: &str) -> (String, Vec<Concept>) {
        let memory_key = format!("{kind}#{key}");
        let known = self.memory.iter().find(|(name, _)| !key.is_empty() && *name == memory_key);
        let base = match known {
            Some((_, value)) => value.clone(),
            None => self.draw(kind),
        };
        if !key.is_empty() && known_is_new(&self.memory, &memory_key) {
            self.memory.push((memory_key, base.clone()));
        }
        inflected(kind, form, base, self.topic.concept)
    }

    fn draw(&mut self, kind: &str) -> String {
        let (lexicon, topic, stream) = (self.lexicon, self.topic, &mut self.stream);
        let words: &[&'static str] = match kind {
            "noun" => &topic.nouns,
            "verb" => &topic.verbs,
            "adj" => &topic.adjectives,
            "place" => &topic.places,
            "role" => &topic.roles,
            "surname" => &lexicon.surnames,
            "city" => &lexicon.cities,
            "colour" => &lexicon.colours,
            "feeling" => &lexicon.feelings,
            "adverb" => &lexicon.adverbs,
            "object" => &lexicon.objects,
            "food" => &lexicon.foods,
            "kin" => &lexicon.kin,
            "weekday" => lexicon::WEEKDAYS,
            "month" => lexicon::MONTHS,
            "count" => lexicon::COUNTS,
            _ => return draw_number(kind, stream),
        };
        (*stream.pick(words)).to_owned()
    }
}

/// Any first name, held-out ones included, with whether it is a woman's.
pub(super) fn any_name(stream: &mut Stream) -> (&'static str, bool) {
    let pools = [lexicon::WOMEN, lexicon::HELD_OUT_WOMEN, lexicon::MEN, lexicon::HELD_OUT_MEN];
    let mut at = stream.below(pools.iter().map(|pool| pool.len()).sum());
    for (index, pool) in pools.iter().enumerate() {
        match pool.get(at) {
            Some(name) => return (name, index < 2),
            None => at -= pool.len(),
        }
    }
    (pools[0][0], true)
}

fn known_is_new(memory: &[(String, String)], key: &str) -> bool {
    memory.iter().all(|(name, _)| name != key)
}

fn is_closed_class(concept: Concept) -> bool {
    matches!(concept, Concept::NUMBER | Concept::DAY | Concept::PRICE)
}

/// What is done with a thing is mostly one of two verbs, the same in every document.
fn preferred_verb(topic: &Topic, noun: &str, stream: &mut Stream) -> &'static str {
    let index: usize = noun.bytes().map(usize::from).sum();
    let n = topic.verbs.len();
    match stream.below(5) {
        0 => topic.verbs[stream.below(n)],
        1 | 2 => topic.verbs[index % n],
        _ => topic.verbs[(index * 7 + 3) % n],
    }
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
            let kind_concept = match kind {
                "noun" => topic,
                "role" => Concept::ROLE,
                _ => Concept::OBJECT,
            };
            return (inflect::plural(&base), vec![Concept::NOUN_PLURAL, kind_concept]);
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

/// The alternatives up to the closing `>` of their level, and what follows it.
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
