//! Registers with a form of their own: accounts, recipes, lists, citations, sums, addresses and JSON.

use super::concept::Concept;
use super::scene::Scene;

fn dollars(cents: usize) -> String {
    format!("${}.{:02}", cents / 100, cents % 100)
}

/// Dates and prices: what was bought, what it cost, and totals that add up.
pub(super) fn ledger(scene: &mut Scene<'_>, words: usize) {
    scene.expand(
        "<Invoice|Receipt|Account> for {A}, {A.city}\nDate: {weekday#d}, {month#m} {day#e}, {year#y}\n\n",
    );
    while scene.writer.words() + 30 < words {
        match scene.stream.below(3) {
            0 => items(scene),
            _ => scene.tell_between(0, 1, LEDGER_LINES),
        }
    }
    scene.expand("Please pay <before|by> {month#m} {day}, {year#y}.");
}

const LEDGER_LINES: &[&str] = &[
    "On {month#m} {day}, {year#y}, {A} paid {price#p} for {a x.adj} {x}.\n",
    "The {x} cost {price#p} in {month#m}, but only {price#q} in {month#n}.\n",
    "{B} <sold|bought> {count} {y.s} for {price#q} each on {weekday}.\n",
    "The {place#p} is open from {clock#t} to {clock#u} on {weekday#d} and {weekday}.\n",
    "The meeting on {weekday#d}, {month#m} {day#e}, starts at {clock#t} and ends at {clock#u}.\n",
    "Rent for the {place#p} in {A.city}: {price#r} per month since {month#n} {year#y}.\n",
    "{A} still owes {B} {price#p} for the {x}, due on {month} {day}.\n",
    "Tickets cost {price#r}; children under {int#i} pay {price}.\n",
    "The price of the {y} rose from {price#q} to {price#p} between {year#y} and {year}.\n",
];

fn items(scene: &mut Scene<'_>) {
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

/// Ingredients with the unit they are measured in.
const INGREDIENTS: &[(&str, &str)] = &[
    ("flour", "cups of"),
    ("sugar", "spoons of"),
    ("salt", "spoons of"),
    ("milk", "cups of"),
    ("butter", "grams of"),
    ("rice", "cups of"),
    ("water", "cups of"),
    ("oil", "spoons of"),
    ("honey", "spoons of"),
    ("cream", "cups of"),
    ("cheese", "slices of"),
    ("garlic", "cloves of"),
    ("beans", "pounds of"),
    ("pasta", "pounds of"),
    ("onions", "large"),
    ("carrots", "large"),
    ("potatoes", "pounds of"),
    ("tomatoes", "ripe"),
    ("eggs", "fresh"),
    ("lemons", "ripe"),
    ("mushrooms", "grams of"),
    ("almonds", "grams of"),
    ("spinach", "pounds of"),
    ("vinegar", "spoons of"),
];
const FIRST_STEPS: &[&str] = &[
    "Mix the {1} with the {2} in a large bowl. ",
    "Heat the {1} in a pan until it is hot. ",
    "Wash and chop the {1}. ",
    "Put the {1} and the {2} into a pot. ",
    "Melt the {1} over a low heat and add the {2}. ",
    "Stir the {1} slowly into the {2}. ",
];
const NEXT_STEPS: &[&str] = &[
    "Then add the {1} and stir for {N} minutes. ",
    "Cover the pan and cook the {1} for {N} minutes. ",
    "Sprinkle the {1} over the {2}. ",
    "Pour the {1} into the pan with the {2}. ",
    "Bake at {T} degrees for {N} minutes. ",
    "Do not stir the {1} before adding the {2}. ",
    "When the {1} {I} soft, add the {2}. ",
    "Let the {D} rest for {N} minutes. ",
    "Taste the {D} and add more {1}. ",
    "If the {D} is too dry, add some {1}. ",
    "Remove the {1} from the heat and add the {2}. ",
];

/// Recipes: ingredients, then steps that use them.
pub(super) fn recipe(scene: &mut Scene<'_>, words: usize) {
    loop {
        one_recipe(scene);
        if scene.writer.words() >= 110 && scene.writer.words() + 60 > words {
            return;
        }
        scene.push("\n\n", &[]);
    }
}

fn one_recipe(scene: &mut Scene<'_>) {
    let key = scene.writer.words();
    let dish = format!("{{food#{key}}}");
    let n_ingredients = 4 + scene.stream.below(3);
    let order = scene.stream.permutation(INGREDIENTS.len());
    let ingredients = &order[..n_ingredients];
    let chosen: Vec<&str> = ingredients.iter().map(|&at| INGREDIENTS[at].0).collect();
    let main = chosen[0];
    scene.expand(&format!(
        "<Recipe|How to cook|{{A}}'s recipe>: {dish} with {main} (serves {{count}})\n\nIngredients:\n"
    ));
    for &at in ingredients {
        let (ingredient, unit) = INGREDIENTS[at];
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
        let steps = if step == 0 { FIRST_STEPS } else { NEXT_STEPS };
        let template = *scene.stream.pick(steps);
        write_step(scene, template, &chosen, &dish);
        scene.push("\n", &[]);
    }
    scene.expand(&format!("Serve the {dish} <hot|cold|warm> with {main}."));
}

fn write_step(scene: &mut Scene<'_>, template: &str, chosen: &[&str], dish: &str) {
    let first = scene.stream.below(chosen.len());
    let second = (first + 1 + scene.stream.below(chosen.len() - 1)) % chosen.len();
    let mut rest = template.trim_end();
    while let Some(at) = rest.find('{') {
        scene.push(&rest[..at], &[]);
        match &rest[at..at + 3] {
            "{1}" => scene.push(chosen[first], &[Concept::FOOD, Concept::REPEATED]),
            "{2}" => scene.push(chosen[second], &[Concept::FOOD, Concept::REPEATED]),
            "{I}" => scene.push(if chosen[first].ends_with('s') { "are" } else { "is" }, &[]),
            "{D}" => scene.expand(dish),
            "{T}" => {
                let degrees = 150 + 10 * scene.stream.below(10);
                scene.push(&degrees.to_string(), &[Concept::NUMBER]);
            }
            _ => {
                let minutes = 5 * (1 + scene.stream.below(9));
                scene.push(&minutes.to_string(), &[Concept::NUMBER]);
            }
        }
        rest = &rest[at + 3..];
    }
    scene.push(rest, &[]);
}

/// Lists: numbered, bulleted, to do; headings and items of one topic.
pub(super) fn list(scene: &mut Scene<'_>, words: usize) {
    while scene.writer.words() + 20 < words {
        scene.tell_between(
            0,
            1,
            &[
                "{A}'s list for the {place}:\n",
                "Things to {verb#l} before {weekday}:\n",
                "What {A} packed for {city}:\n",
                "{^adj} {noun.s} in the {place}:\n",
                "To do on {weekday} ({B}):\n",
                "Rules of the {place}:\n",
            ],
        );
        let (style, template) = (scene.stream.below(3), *scene.stream.pick(ITEMS));
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

const ITEMS: &[&str] = &[
    "{a adj} {noun}",
    "{count} {noun.s}",
    "{verb} the {noun}",
    "do not {verb} the {noun.s}",
    "{noun.s} (<{colour}|{adj}>)",
    "{colour} {noun}, {price}",
    "{verb} the {x} with {a noun}",
    "{role}: {verb} the {noun} before {clock}",
    "never {verb} {a noun} in the {place}",
];

/// References and text that cites them; a mark keeps its author and year.
pub(super) fn citation(scene: &mut Scene<'_>, words: usize) {
    let n_sources = 3 + scene.stream.below(3);
    let mut sources = Vec::new();
    while sources.len() < n_sources {
        let surname = *scene.stream.pick(&scene.lexicon.surnames);
        let year = 1950 + scene.stream.below(76);
        if sources.iter().all(|(other, _)| *other != surname) {
            sources.push((surname, year));
        }
    }
    while scene.writer.words() + 20 + 17 * n_sources < words {
        let (surname, year) = *scene.stream.pick(&sources);
        let parts: (&str, &str) = *scene.stream.pick(&[
            ("In a study of {x.s}, ", " found that {role.s} {x.v} {a x.adj} {x}. "),
            ("According to ", ", most {x.s} are {adj} and few {y.s} are {y.adj}. "),
            ("", " showed that the {y} is not {y.adj}. "),
            ("The {z} was first {z.ven} by ", ", who called it {adj}. "),
            ("However, ", " argued that the {x.s} were {x.adj}. "),
            ("Both the {x} and the {y} were described by ", ". "),
            ("As ", " noted, {noun.s} in {city} are {adj}. "),
        ]);
        scene.expand(parts.0);
        cite(scene, surname, year);
        scene.expand(parts.1);
    }
    scene.push("\n\nReferences\n", &[]);
    sources.sort_unstable();
    for (at, (surname, year)) in sources.iter().enumerate() {
        scene.push(&format!("[{}] ", at + 1), &[Concept::CITATION_MARK]);
        scene.push(surname, &[Concept::SURNAME]);
        let initial = initial(scene);
        scene.push(&format!(", {initial}. "), &[]);
        scene.push(&format!("({year})"), &[Concept::YEAR, Concept::CITATION_MARK]);
        scene.push(". ", &[]);
        title(scene);
        scene.expand(". {city}: {^place} Press, pp. ");
        let page = 1 + scene.stream.below(200);
        let last = page + 5 + scene.stream.below(30);
        scene.push(&format!("{page}-{last}"), &[Concept::NUMBER]);
        scene.push(".\n", &[]);
    }
}

fn initial(scene: &mut Scene<'_>) -> char {
    char::from(b'A' + u8::try_from(scene.stream.below(20)).unwrap_or(0))
}

fn cite(scene: &mut Scene<'_>, surname: &str, year: usize) {
    scene.push(surname, &[Concept::SURNAME, Concept::CITATION_MARK]);
    scene.push(&format!(" ({year})"), &[Concept::YEAR, Concept::CITATION_MARK]);
}

fn title(scene: &mut Scene<'_>) {
    let template = *scene.stream.pick(&[
        "The {adj} {noun}",
        "On {noun.s} and {noun.s}",
        "{^noun.s} in the {place}",
        "A history of {noun.s}",
        "How to {verb} {noun.s}",
    ]);
    let before = scene.writer.mark();
    scene.expand(template);
    scene.writer.add_since(before, Concept::CITATION_TITLE);
}

/// Sums and word problems, all of them right.
pub(super) fn arithmetic(scene: &mut Scene<'_>, words: usize) {
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

fn sum(scene: &mut Scene<'_>) {
    let (a, b) = (scene.stream.below(60), scene.stream.below(40));
    let (a, operator, b, result) = match scene.stream.below(4) {
        0 | 1 => (a, "+", b, a + b),
        2 => (a + b, "-", b, a),
        _ => (a % 10, "*", b % 10, (a % 10) * (b % 10)),
    };
    scene.push(&a.to_string(), &[Concept::NUMBER]);
    scene.push(&format!(" {operator} "), &[Concept::OPERATOR]);
    scene.push(&b.to_string(), &[Concept::NUMBER]);
    scene.push(" = ", &[Concept::OPERATOR]);
    scene.push(&result.to_string(), &[Concept::NUMBER, Concept::RESULT]);
    scene.push("\n", &[]);
}

fn problem(scene: &mut Scene<'_>) {
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
    scene.push(if gain { " + " } else { " - " }, &[Concept::OPERATOR]);
    scene.push(&more.to_string(), &[Concept::NUMBER]);
    scene.push(" = ", &[Concept::OPERATOR]);
    scene.push(&now.to_string(), &[Concept::NUMBER, Concept::RESULT]);
    scene.expand(", so {S} has ");
    scene.push(&now.to_string(), &[Concept::NUMBER, Concept::RESULT]);
    scene.expand(&format!(" {{object#{key}.s}}.\n"));
}

/// Web addresses and JSON records of the things of a topic.
pub(super) fn data(scene: &mut Scene<'_>, words: usize) {
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

fn address(scene: &mut Scene<'_>) {
    let before = scene.writer.mark();
    let template = *scene.stream.pick(&[
        "https://www.{noun#site}.<com|org|net>/{place}/{noun.s}?id={int}&page={int}\n",
        "https://{noun#site}.example.org/{year}/{noun#path}.html\n",
        "http://{city#host}-{place#host}.net/{noun#path}/{verb}#{noun}\n",
        "https://www.{surname#host}.com/images/{colour}_{noun}.png\n",
        "Contact {A} <at|via> {role}@{noun#site}.com or visit www.{noun#site}.com.\n",
    ]);
    scene.expand(template);
    scene.writer.add_since(before, Concept::URL);
}

fn key(scene: &mut Scene<'_>, indent: usize, name: &str) {
    scene.push(&" ".repeat(indent), &[]);
    scene.push("\"", &[]);
    scene.push(name, &[Concept::JSON_KEY]);
    scene.push("\": ", &[]);
}

fn value(scene: &mut Scene<'_>, template: &str) {
    let before = scene.writer.mark();
    scene.expand(template);
    scene.writer.add_since(before, Concept::JSON_VALUE);
}

fn record(scene: &mut Scene<'_>) {
    const FIELDS: &[(&str, &str)] = &[
        ("name", "\"{A}\""),
        ("owner", "\"{B}\""),
        ("city", "\"{A.city}\""),
        ("type", "\"{x}\""),
        ("color", "\"{colour}\""),
        ("price", "{int}.<25|50|75|99>"),
        ("count", "{int}"),
        ("role", "\"{A.role}\""),
        ("date", "\"{year}-0<1|2|3|4|5|6|7|8|9>-1<0|1|2|3|4|5|6|7|8>\""),
        ("active", "<true|false>"),
        ("parent", "<null|\"{noun}\">"),
        ("tags", "[\"{noun}\", \"{adj}\", \"{noun}\"]"),
        ("size", "\\{\"width\": {int}, \"height\": {int}}"),
        ("status", "\"{x.adj}\""),
        ("place", "\"{x.place}\""),
        ("items", "[{int}, {int}, {int}]"),
        ("email", "\"{A.role}@{noun#site}.com\""),
        ("day", "\"{weekday}\""),
    ];
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
        key(scene, indent, FIELDS[field].0);
        value(scene, FIELDS[field].1);
    }
    scene.push(if indent > 0 { "\n}\n" } else { "}\n" }, &[]);
}
