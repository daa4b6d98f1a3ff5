//! Registers with a fixed form: accounts, recipes, lists, citations, sums, web addresses and JSON.

use std::sync::LazyLock;

use super::concept::Concept;
use super::lexicon::{LEXICON, Templates, templates};
use super::scene::Scene;

static LEDGER_LINES: Templates = LazyLock::new(|| templates(include_str!("templates/ledger.txt"), "\n"));
static FIRST_STEPS: Templates = LazyLock::new(|| templates(include_str!("templates/first_steps.txt"), ""));
static NEXT_STEPS: Templates = LazyLock::new(|| templates(include_str!("templates/next_steps.txt"), ""));
static HEADINGS: Templates = LazyLock::new(|| templates(include_str!("templates/headings.txt"), "\n"));
static ADDRESSES: Templates = LazyLock::new(|| templates(include_str!("templates/addresses.txt"), "\n"));
static CITATIONS: Templates = LazyLock::new(|| templates(include_str!("templates/citations.txt"), " "));
static TITLES: Templates = LazyLock::new(|| templates(include_str!("templates/titles.txt"), ""));
static ITEMS: Templates = LazyLock::new(|| templates(include_str!("templates/items.txt"), ""));

/// Ingredients with their units.
static INGREDIENTS: LazyLock<Vec<(&str, &str)>> =
    LazyLock::new(|| pairs(include_str!("templates/ingredients.txt")));
/// Names and values of JSON fields.
static FIELDS: LazyLock<Vec<(&str, &str)>> = LazyLock::new(|| pairs(include_str!("templates/fields.txt")));

/// Lines of a text file, split at the first space.
fn pairs(file: &'static str) -> Vec<(&'static str, &'static str)> {
    file.lines().filter_map(|line| line.split_once(' ')).collect()
}

fn dollars(cents: usize) -> String {
    format!("${}.{:02}", cents / 100, cents % 100)
}

/// Writes accounts: purchases with dates, prices and correct totals.
pub(super) fn ledger(scene: &mut Scene, words: usize) {
    scene.expand(
        "<Invoice|Receipt|Account> for {A}, {A.city}\nDate: {weekday#d}, {month#m} {day#e}, {year#y}\n\n",
    );
    while scene.writer.words() + 30 < words {
        match scene.stream.below(3) {
            0 => items(scene),
            _ => scene.tell_between(0, 1, &LEDGER_LINES),
        }
    }
    scene.expand("Please pay <before|by> {month#m} {day}, {year#y}.");
}

fn items(scene: &mut Scene) {
    let mut total = 0;
    for _ in 0..2 + scene.stream.below(3) {
        let (count, cents) = (2 + scene.stream.below(8), 25 * (1 + scene.stream.below(30)));
        total += count * cents;
        scene.push(&format!("{count} "), &[Concept::NUMBER]);
        scene.expand("{noun.s} at ");
        scene.push(&dollars(cents), &[Concept::PRICE]);
        scene.push(" each: ", &[]);
        scene.push(&dollars(count * cents), &[Concept::PRICE, Concept::RESULT]);
        scene.push("\n", &[]);
    }
    scene.push("Total: ", &[]);
    scene.push(&dollars(total), &[Concept::PRICE, Concept::PRICE_TOTAL]);
    scene.push("\n\n", &[]);
}

/// Writes recipes: ingredients, then steps that use them.
pub(super) fn recipe(scene: &mut Scene, words: usize) {
    loop {
        one_recipe(scene);
        if scene.writer.words() >= 110 && scene.writer.words() + 60 > words {
            return;
        }
        scene.push("\n\n", &[]);
    }
}

fn one_recipe(scene: &mut Scene) {
    let key = scene.writer.words();
    let dish = format!("{{food#{key}}}");
    let n_ingredients = 4 + scene.stream.below(3);
    let order = scene.stream.permutation(INGREDIENTS.len());
    let ingredients: Vec<(&str, &str)> = order[..n_ingredients].iter().map(|&at| INGREDIENTS[at]).collect();
    let chosen: Vec<&str> = ingredients.iter().map(|(ingredient, _)| *ingredient).collect();
    let main = chosen[0];
    scene.expand(&format!(
        "<Recipe|How to cook|{{A}}'s recipe>: {dish} with {main} (serves {{count}})\n\nIngredients:\n"
    ));
    for (ingredient, unit) in ingredients {
        let amount = (1 + scene.stream.below(9)) * if unit.starts_with("grams") { 50 } else { 1 };
        let before = scene.writer.mark();
        scene.push("- ", &[]);
        scene.push(&amount.to_string(), &[Concept::NUMBER]);
        scene.push(&format!(" {unit} "), &[Concept::UNIT]);
        scene.push(ingredient, &[Concept::FOOD]);
        scene.writer.add_since(before, Concept::LIST_ITEM);
        scene.push("\n", &[]);
    }
    scene.push("\n", &[]);
    for step in 0..4 + scene.stream.below(3) {
        scene.push(&format!("{}. ", step + 1), &[Concept::ORDINAL]);
        let steps = if step == 0 { &FIRST_STEPS } else { &NEXT_STEPS };
        let template = scene.stream.pick(steps);
        write_step(scene, template, &chosen, &dish);
        scene.push("\n", &[]);
    }
    scene.expand(&format!("Serve the {dish} <hot|cold|warm> with {main}."));
}

fn write_step(scene: &mut Scene, template: &str, chosen: &[&str], dish: &str) {
    let first = scene.stream.below(chosen.len());
    let second = (first + 1 + scene.stream.below(chosen.len() - 1)) % chosen.len();
    scene.fill(template, |scene, slot| match slot {
        "1" => scene.push(chosen[first], &[Concept::FOOD, Concept::REPEATED]),
        "2" => scene.push(chosen[second], &[Concept::FOOD, Concept::REPEATED]),
        "I" => scene.push(if chosen[first].ends_with('s') { "are" } else { "is" }, &[]),
        "D" => scene.expand(dish),
        _ => {
            let is_temperature = slot == "T";
            let number = if is_temperature {
                150 + 10 * scene.stream.below(10)
            } else {
                5 * (1 + scene.stream.below(9))
            };
            scene.push(&number.to_string(), &[Concept::NUMBER]);
        }
    });
}

/// Writes lists, numbered or bulleted, about one topic.
pub(super) fn list(scene: &mut Scene, words: usize) {
    while scene.writer.words() + 20 < words {
        scene.tell_between(0, 1, &HEADINGS);
        let (style, template) = (scene.stream.below(3), scene.stream.pick(&ITEMS));
        for item in 0..4 + scene.stream.below(5) {
            let before = scene.writer.mark();
            match style {
                0 => scene.push(&format!("{}. ", item + 1), &[Concept::ORDINAL]),
                1 => scene.push("- ", &[]),
                _ => scene.push("* ", &[]),
            }
            scene.expand(template);
            scene.writer.add_since(before, Concept::LIST_ITEM);
            scene.push("\n", &[]);
        }
        scene.push("\n", &[]);
    }
}

/// Writes text with citations, then the references. A source keeps its author and year.
pub(super) fn citation(scene: &mut Scene, words: usize) {
    let n_sources = 3 + scene.stream.below(3);
    let mut sources = Vec::new();
    while sources.len() < n_sources {
        let surname = *scene.stream.pick(LEXICON.words("surname"));
        let year = 1950 + scene.stream.below(76);
        if sources.iter().all(|(other, _)| *other != surname) {
            sources.push((surname, year));
        }
    }
    while scene.writer.words() + 20 + 17 * n_sources < words {
        let (surname, year) = *scene.stream.pick(&sources);
        let sentence = scene.stream.pick(&CITATIONS);
        let (before, after) = sentence.split_once("{source}").unwrap_or((sentence, ""));
        scene.expand(before);
        cite(scene, surname, year);
        scene.expand(after);
    }
    scene.push("\n\nReferences\n", &[]);
    sources.sort_unstable();
    for (at, (surname, year)) in sources.iter().enumerate() {
        scene.push(&format!("[{}] ", at + 1), &[Concept::CITATION_MARK]);
        scene.push(surname, &[Concept::SURNAME]);
        let initial = char::from(b'A' + scene.stream.below(20) as u8);
        scene.push(&format!(", {initial}. "), &[]);
        scene.push(&format!("({year})"), &[Concept::YEAR, Concept::CITATION_MARK]);
        scene.push(". ", &[]);
        let title = scene.stream.pick(&TITLES);
        expand_as(scene, title, Concept::CITATION_TITLE);
        scene.expand(". {city}: {^place} Press, pp. ");
        let page = 1 + scene.stream.below(200);
        let last = page + 5 + scene.stream.below(30);
        scene.push(&format!("{page}-{last}"), &[Concept::NUMBER]);
        scene.push(".\n", &[]);
    }
}

fn cite(scene: &mut Scene, surname: &str, year: usize) {
    scene.push(surname, &[Concept::SURNAME, Concept::CITATION_MARK]);
    scene.push(&format!(" ({year})"), &[Concept::YEAR, Concept::CITATION_MARK]);
}

/// Writes sums and word problems with correct results.
pub(super) fn arithmetic(scene: &mut Scene, words: usize) {
    while scene.writer.words() + 30 < words {
        if scene.stream.chance(0.5) {
            for _ in 0..3 + scene.stream.below(4) {
                sum(scene);
            }
        } else {
            problem(scene);
        }
    }
}

fn sum(scene: &mut Scene) {
    let (a, b) = (scene.stream.below(60), scene.stream.below(40));
    let (a, operator, b, result) = match scene.stream.below(4) {
        0 | 1 => (a, "+", b, a + b),
        2 => (a + b, "-", b, a),
        _ => (a % 10, "*", b % 10, (a % 10) * (b % 10)),
    };
    scene.push(&a.to_string(), &[Concept::NUMBER]);
    equation(scene, operator, b, result);
    scene.push("\n", &[]);
}

/// Writes `operator b = result`.
fn equation(scene: &mut Scene, operator: &str, b: usize, result: usize) {
    scene.push(&format!(" {operator} "), &[Concept::OPERATOR]);
    scene.push(&b.to_string(), &[Concept::NUMBER]);
    scene.push(" = ", &[Concept::OPERATOR]);
    scene.push(&result.to_string(), &[Concept::NUMBER, Concept::RESULT]);
}

fn problem(scene: &mut Scene) {
    let (had, more) = (3 + scene.stream.below(40), 1 + scene.stream.below(20));
    let key = scene.writer.words();
    let gain = scene.stream.chance(0.5);
    let (had, now) = if gain { (had, had + more) } else { (had + more, had) };
    let verb = if gain { "bought" } else { "lost" };
    let person = scene.stream.below(3);
    scene.tell_between(person, (person + 1) % 3, &["{S} had "]);
    scene.push(&had.to_string(), &[Concept::NUMBER]);
    scene.expand(&format!(" {{object#{key}.s}}. {{^S.he}} {verb} "));
    scene.push(&more.to_string(), &[Concept::NUMBER]);
    let more_word = if gain { " more" } else { " of them" };
    scene.expand(&format!("{more_word}. How many {{object#{key}.s}} does {{S}} have now? {had}"));
    equation(scene, if gain { "+" } else { "-" }, more, now);
    scene.expand(", so {S} has ");
    scene.push(&now.to_string(), &[Concept::NUMBER, Concept::RESULT]);
    scene.expand(&format!(" {{object#{key}.s}}.\n"));
}

/// Writes web addresses and JSON records about a topic.
pub(super) fn data(scene: &mut Scene, words: usize) {
    while scene.writer.words() + 25 < words {
        if scene.stream.chance(0.4) {
            address(scene);
        } else {
            record(scene);
        }
    }
    scene.expand("See ");
    address(scene);
}

fn address(scene: &mut Scene) {
    let template = scene.stream.pick(&ADDRESSES);
    expand_as(scene, template, Concept::URL);
}

/// Writes a template; every span of it gets the concept.
fn expand_as(scene: &mut Scene, template: &str, concept: Concept) {
    let before = scene.writer.mark();
    scene.expand(template);
    scene.writer.add_since(before, concept);
}

fn record(scene: &mut Scene) {
    let indent = if scene.stream.chance(0.6) { 2 } else { 0 };
    let order = scene.stream.permutation(FIELDS.len());
    let n_fields = 4 + scene.stream.below(4);
    scene.push("{", &[]);
    for (at, &field) in order[..n_fields].iter().enumerate() {
        if at > 0 {
            scene.push(",", &[]);
        }
        match indent {
            0 if at == 0 => {}
            0 => scene.push(" ", &[]),
            _ => scene.push("\n", &[]),
        }
        let (name, template) = FIELDS[field];
        scene.push(&" ".repeat(indent), &[]);
        scene.push("\"", &[]);
        scene.push(name, &[Concept::JSON_KEY]);
        scene.push("\": ", &[]);
        expand_as(scene, template, Concept::JSON_VALUE);
    }
    scene.push(if indent > 0 { "\n}\n" } else { "}\n" }, &[]);
}
