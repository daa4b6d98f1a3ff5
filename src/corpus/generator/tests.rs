use std::collections::BTreeSet;

use super::*;

const N: u64 = 3_000;

fn documents() -> Vec<Document> {
    let generator = Generator::new(7);
    (0..N).map(|index| generator.document(index)).collect()
}

#[test]
fn a_document_depends_on_seed_and_index_only() {
    let (one, two) = (Generator::new(7), Generator::new(7));
    assert_eq!(one.document(40), two.document(40));
    let _ = two.document(3);
    assert_eq!(one.document(41), two.document(41));
    assert_ne!(one.document(40).text, Generator::new(8).document(40).text);
    assert_ne!(one.document(40).text, one.document(41).text);
}

#[test]
fn spans_make_up_the_text_and_name_known_concepts() {
    let known: BTreeSet<Concept> = Concept::OF_TEXT.iter().copied().collect();
    let mut seen = BTreeSet::new();
    for document in documents() {
        let joined: String = document.spans.iter().map(|span| span.text.as_str()).collect();
        assert_eq!(joined, document.text);
        for span in &document.spans {
            assert!(!span.text.is_empty() && span.concepts.contains(&document.register.concept()));
            seen.extend(span.concepts.iter().copied());
        }
    }
    let never: Vec<_> = known.difference(&seen).collect();
    assert!(never.is_empty(), "never emitted: {never:?}");
    assert!(seen.is_subset(&known));
}

#[test]
fn every_register_occurs_and_lengths_are_kept() {
    let documents = documents();
    let registers: BTreeSet<Register> = documents.iter().map(|document| document.register).collect();
    assert_eq!(registers.len(), Register::ALL.len());
    assert_eq!(Register::ALL.iter().map(|register| register.percent()).sum::<usize>(), 100);
    for document in &documents {
        let words = document.text.split_whitespace().count();
        assert!((100..=400).contains(&words), "{words} words in {:?}:\n{}", document.register, document.text);
    }
}

#[test]
fn the_vocabulary_is_large() {
    let mut words = BTreeSet::new();
    for document in documents() {
        for word in document.text.split(|c: char| !c.is_alphabetic()).filter(|word| word.len() > 1) {
            words.insert(word.to_lowercase());
        }
    }
    assert!(words.len() >= 1_500, "{}", words.len());
}

#[test]
fn brackets_and_quotes_close() {
    for document in documents() {
        let mut open = Vec::new();
        let mut quotes = 0;
        for c in document.text.chars() {
            match c {
                '(' | '[' | '{' => open.push(c),
                ')' => assert_eq!(open.pop(), Some('('), "{}", document.text),
                ']' => assert_eq!(open.pop(), Some('['), "{}", document.text),
                '}' => assert_eq!(open.pop(), Some('{'), "{}", document.text),
                '"' => quotes += 1,
                _ => {}
            }
        }
        assert!(open.is_empty() && quotes % 2 == 0, "{}", document.text);
    }
}

#[test]
fn no_slot_is_left_unfilled_and_articles_agree() {
    for document in documents() {
        let prose = matches!(document.register, Register::Narration | Register::Dialogue | Register::Ioi);
        assert!(!prose || !document.text.contains(['{', '}', '<', '>', '#', '\\']), "{}", document.text);
        for wrong in [" a apple", " a onion", " a old ", " a engine", " an dog", " a elephant", " a orange "]
        {
            assert!(
                document.register == Register::French || !document.text.contains(wrong),
                "{wrong}: {}",
                document.text
            );
        }
    }
}

#[test]
fn held_out_names_occur_but_never_in_indirect_object_sentences() {
    let held_out = Generator::names(true);
    assert!(held_out.len() >= 8 && Generator::names(false).len() >= 60);
    let mut met = BTreeSet::new();
    for document in documents() {
        for name in held_out.iter().filter(|name| document.text.contains(*name)) {
            assert_ne!(document.register, Register::Ioi);
            met.insert(*name);
        }
    }
    assert_eq!(met.len(), held_out.len());
}

#[test]
fn prompts_name_the_subject_twice_and_the_indirect_object_once() {
    let generator = Generator::new(7);
    for held_out in [HeldOut::Nothing, HeldOut::Names, HeldOut::Templates, HeldOut::NamesAndTemplates] {
        let prompts = generator.ioi_prompts(200, held_out);
        for prompt in &prompts {
            assert_eq!(prompt.prompt.matches(&prompt.subject).count(), 2, "{prompt:?}");
            assert_eq!(prompt.prompt.matches(&prompt.indirect_object).count(), 1, "{prompt:?}");
            assert!(!prompt.prompt.ends_with(' '));
            let names = Generator::names(matches!(held_out, HeldOut::Names | HeldOut::NamesAndTemplates));
            assert!(
                names.contains(&prompt.subject.as_str()) && names.contains(&prompt.indirect_object.as_str())
            );
            let first = prompt.prompt.find(&prompt.subject) < prompt.prompt.find(&prompt.indirect_object);
            assert_eq!(first, prompt.subject_first);
        }
        let first = prompts.iter().filter(|prompt| prompt.subject_first).count();
        assert!((60..=140).contains(&first));
    }
}

#[test]
fn sums_are_right() {
    for document in documents().iter().filter(|document| document.register == Register::Arithmetic) {
        for line in document.text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())) {
            let parts: Vec<&str> = line.split(' ').collect();
            let number = |at: usize| parts[at].parse::<i64>().expect("a number");
            let expected = match parts[1] {
                "+" => number(0) + number(2),
                "-" => number(0) - number(2),
                _ => number(0) * number(2),
            };
            assert_eq!(expected, number(4), "{line}");
        }
    }
}

#[test]
fn text_is_what_it_was() {
    // The embedded model was trained on this text, so the text must not change.
    let mut digester = crate::base::Digester::new("generated text");
    for document in documents() {
        digester.text(&document.text);
    }
    assert_eq!(digester.finish().short(), "f322c1be4b4b2d51");
}

#[test]
fn concepts_have_names_and_words_of_their_own() {
    let all: Vec<Concept> = Concept::all().collect();
    assert_eq!(all.len(), Concept::OF_TEXT.len() + Concept::OF_TOKENS.len());
    assert!(all.len() >= 60);
    let names: BTreeSet<&str> = all.iter().map(|concept| concept.name()).collect();
    let words: BTreeSet<&str> = all.iter().map(|concept| concept.words()).collect();
    assert_eq!((names.len(), words.len()), (all.len(), all.len()));
    for (index, concept) in all.iter().enumerate() {
        assert_eq!((concept.index(), Concept::at(index)), (index, Some(*concept)));
        assert_eq!([*concept].iter().collect::<ConceptSet>().iter().collect::<Vec<_>>(), [*concept]);
    }
    assert_eq!(Concept::at(all.len()), None);
}

/// The concepts of every token of a text, without the concept of the document.
fn labelled(spans: &[Span], tokens: &[&str]) -> Vec<Vec<Concept>> {
    let text: String = spans.iter().map(|span| span.text.as_str()).collect();
    assert_eq!(tokens.concat(), text);
    let ends: Vec<usize> = tokens
        .iter()
        .scan(0, |end, token| {
            *end += token.len();
            Some(*end)
        })
        .collect();
    let besides = |concept: &Concept| *concept != Concept::NARRATION;
    label(spans, &ends).iter().map(|set| set.iter().filter(besides).collect()).collect()
}

#[test]
fn tokens_have_the_concepts_of_what_they_cover() {
    let mut writer = writer::Writer::new(vec![Concept::NARRATION]);
    writer.push("Anna", &[Concept::NAME]);
    writer.push(" left (for Rome) on ", &[]);
    writer.push("12", &[Concept::DAY]);
    writer.push(" ", &[]);
    writer.push("May", &[Concept::MONTH]);
    writer.push(". \"Été!\" ", &[]);
    writer.push("$3.50", &[Concept::PRICE]);
    let (_, spans) = writer.finish();
    let tokens = [
        "An",
        "na",
        " left",
        " (",
        "for",
        " Ro",
        "me",
        ")",
        " on",
        " 1",
        "2",
        " May",
        ".",
        " \"",
        "\u{c9}t",
        "\u{e9}!\"",
        " $",
        "3.",
        "50",
    ];
    let found = labelled(&spans, &tokens);
    let of = |token: &str| &found[tokens.iter().position(|other| *other == token).expect("a token")];
    let expect = |token: &str, concepts: &[Concept]| {
        let concepts: BTreeSet<Concept> = concepts.iter().copied().collect();
        assert_eq!(of(token).iter().copied().collect::<BTreeSet<_>>(), concepts, "{token:?}");
    };
    use Concept as C;
    let name = [C::NAME, C::CAPITALISED];
    expect("An", &[&name[..], &[C::BEGINS_LONGER_WORD, C::SENTENCE_FIRST, C::LINE_FIRST]].concat());
    expect("na", &[&name[..], &[C::CONTINUES_WORD]].concat());
    expect(" left", &[C::AFTER_NAME, C::AFTER_SPACE]);
    expect(" (", &[C::OPENING_BRACKET, C::AFTER_SPACE]);
    expect("for", &[C::IN_BRACKETS, C::BRACKET_FIRST, C::PREPOSITION]);
    let rome = [C::IN_BRACKETS, C::CAPITALISED];
    expect(" Ro", &[&rome[..], &[C::AFTER_PREPOSITION, C::AFTER_SPACE, C::BEGINS_LONGER_WORD]].concat());
    expect("me", &[&rome[..], &[C::CONTINUES_WORD]].concat());
    expect(")", &[C::CLOSING_BRACKET]);
    expect(" 1", &[C::DAY, C::NUMBER, C::DATE_DIGIT, C::AFTER_PREPOSITION, C::AFTER_SPACE]);
    expect("2", &[C::DAY, C::NUMBER, C::DATE_DIGIT]);
    expect(" May", &[C::MONTH, C::CAPITALISED, C::AFTER_SPACE]);
    expect(" \"", &[C::OPENING_QUOTE, C::SENTENCE_FIRST, C::AFTER_SPACE]);
    expect("\u{c9}t", &[C::IN_QUOTES, C::QUOTE_FIRST, C::CAPITALISED, C::BEGINS_LONGER_WORD]);
    // This token covers the end of a word, a mark and the end of the quotation.
    expect(
        "\u{e9}!\"",
        &[C::IN_QUOTES, C::CAPITALISED, C::CONTINUES_WORD, C::SENTENCE_END, C::CLOSING_QUOTE],
    );
    expect(" $", &[C::PRICE, C::PUNCTUATION, C::SENTENCE_FIRST, C::AFTER_SPACE]);
    expect("50", &[C::PRICE, C::NUMBER, C::PRICE_DIGIT]);
}

#[test]
fn a_token_that_cuts_a_character_has_the_concepts_of_the_character() {
    let spans = [Span { text: " \u{e9}t\u{e9}".into(), concepts: vec![Concept::FRENCH_NOUN] }];
    let sets = label(&spans, &[2, 3, 3, 6]);
    assert!(sets[..2].iter().all(|set| set.contains(Concept::FRENCH_NOUN)));
    assert!(sets[1].contains(Concept::CONTINUES_WORD) && !sets[0].contains(Concept::CONTINUES_WORD));
    assert_eq!(sets[2], ConceptSet::default(), "a token without bytes has no concept");
    assert!(sets[3].contains(Concept::FRENCH_NOUN));
}

#[test]
fn two_prompts_of_a_pair_differ_in_the_indirect_object_alone() {
    let generator = Generator::new(5);
    for held_out in [HeldOut::Nothing, HeldOut::NamesAndTemplates] {
        for index in 0..50 {
            let pair = generator.ioi_pair(index, held_out);
            let (base, other) = (&pair.base, &pair.other_indirect_object);
            assert!(*other != base.indirect_object && *other != base.subject);
            let words = |text: &str| text.split(' ').map(String::from).collect::<Vec<_>>();
            let (left, right) = (words(&base.prompt), words(&pair.target));
            assert_eq!(left.len(), right.len(), "{pair:?}");
            let changed: Vec<usize> = (0..left.len()).filter(|&nth| left[nth] != right[nth]).collect();
            let [place] = changed[..] else { panic!("{pair:?}") };
            assert_eq!(left[place].replace(&base.indirect_object, other), right[place], "{pair:?}");
            assert_eq!(pair, generator.ioi_pair(index, held_out));
        }
    }
    assert_ne!(generator.ioi_pair(0, HeldOut::Nothing), Generator::new(6).ioi_pair(0, HeldOut::Nothing));
}
