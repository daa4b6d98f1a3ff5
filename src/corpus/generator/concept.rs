//! The concepts that generated text is labelled with.

/// A ground-truth label of generated text, such as `name.first_mention`.
///
/// Concepts of the text ([`Concept::OF_TEXT`]) hold for [`Span`]s, for every tokenizer. Concepts of tokens
/// ([`Concept::OF_TOKENS`]) also depend on where a tokenizer cuts; [`super::label`] adds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Concept(u8);

impl Concept {
    /// The stable name: lower case, parts joined by dots, the general part first.
    pub fn name(self) -> &'static str {
        WORDS[usize::from(self.0)].0
    }

    /// The meaning as an explanation words it: "inside a quotation".
    pub fn words(self) -> &'static str {
        WORDS[usize::from(self.0)].1
    }

    /// Its index in [`Concept::all`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The concept at an index of [`Concept::all`].
    pub fn at(index: usize) -> Option<Self> {
        u8::try_from(index).ok().filter(|_| index < WORDS.len()).map(Self)
    }

    /// Every concept: those of the text, then those of tokens.
    pub fn all() -> impl Iterator<Item = Concept> {
        (0..WORDS.len()).filter_map(Self::at)
    }
}

impl std::fmt::Display for Concept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of concepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ConceptSet(u128);

// One bit per concept.
const _: () = assert!(WORDS.len() <= 128);

impl ConceptSet {
    /// Adds a concept.
    pub fn insert(&mut self, concept: Concept) {
        self.0 |= 1 << concept.0;
    }

    /// Adds another set's concepts.
    pub fn extend(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether a concept is in it.
    pub fn contains(self, concept: Concept) -> bool {
        self.0 >> concept.0 & 1 == 1
    }

    /// The concepts in it, in the order of [`Concept::all`].
    pub fn iter(self) -> impl Iterator<Item = Concept> {
        Concept::all().filter(move |concept| self.contains(*concept))
    }
}

impl<'a> FromIterator<&'a Concept> for ConceptSet {
    fn from_iter<T: IntoIterator<Item = &'a Concept>>(concepts: T) -> Self {
        let mut set = Self::default();
        concepts.into_iter().for_each(|concept| set.insert(*concept));
        set
    }
}

/// A piece of text and its concepts. A word includes the space before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The text. The spans of a document, joined, are its text.
    pub text: String,
    /// Concepts of this piece, each once. The order has no meaning.
    pub concepts: Vec<Concept>,
}

macro_rules! concepts {
    (text { $($of_text:ident = $text_name:literal, $text_words:literal;)* }
     tokens { $($of_token:ident = $token_name:literal, $token_words:literal;)* }) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        enum Index { $($of_text,)* $($of_token,)* }

        const WORDS: &[(&str, &str)] =
            &[$(($text_name, $text_words),)* $(($token_name, $token_words),)*];

        impl Concept {
            $(#[doc = concat!("`", $text_name, "`: ", $text_words)]
              pub const $of_text: Concept = Concept(Index::$of_text as u8);)*
            $(#[doc = concat!("`", $token_name, "`: ", $token_words)]
              pub const $of_token: Concept = Concept(Index::$of_token as u8);)*
            /// Every concept of the text.
            pub const OF_TEXT: &'static [Concept] = &[$(Concept::$of_text,)*];
            /// Every concept that also depends on where a tokenizer cuts.
            pub const OF_TOKENS: &'static [Concept] = &[$(Concept::$of_token,)*];
        }
    };
}

concepts! {
text {
    NARRATION = "register.narration", "in a story";
    DIALOGUE = "register.dialogue", "in a dialogue";
    LETTER = "register.letter", "in a letter";
    EXPOSITION = "register.exposition", "in an explanatory text";
    LEDGER = "register.ledger", "in accounts";
    RECIPE = "register.recipe", "in a recipe";
    LIST = "register.list", "in a document of lists";
    CODE = "register.code", "in code";
    DATA = "register.data", "in JSON or web addresses";
    CITATION = "register.citation", "in text with citations";
    FRENCH = "register.french", "in second-language text";
    ARITHMETIC = "register.arithmetic", "in arithmetic";
    IOI = "register.ioi", "in an indirect-object document";
    TOPIC_KITCHEN = "topic.kitchen", "about kitchen";
    TOPIC_ANIMALS = "topic.animals", "about animals";
    TOPIC_WEATHER = "topic.weather", "about weather";
    TOPIC_OFFICE = "topic.office", "about office";
    TOPIC_TRAVEL = "topic.travel", "about travel";
    TOPIC_MONEY = "topic.money", "about money";
    TOPIC_LAW = "topic.law", "about law";
    TOPIC_MEDICINE = "topic.medicine", "about medicine";
    TOPIC_MUSIC = "topic.music", "about music";
    TOPIC_SPORT = "topic.sport", "about sport";
    TOPIC_SCHOOL = "topic.school", "about school";
    TOPIC_MACHINES = "topic.machines", "about machines";
    TOPIC_GARDEN = "topic.garden", "about garden";
    TOPIC_SEA = "topic.sea", "about sea";
    TOPIC_HOUSE = "topic.house", "about house";
    TOPIC_THEATRE = "topic.theatre", "about theatre";
    TOPIC_FARM = "topic.farm", "about farm";
    TOPIC_COMPUTING = "topic.computing", "about computing";
    NAME = "name", "name of a person";
    NAME_FEMININE = "name.feminine", "woman's name";
    NAME_MASCULINE = "name.masculine", "man's name";
    NAME_FIRST_MENTION = "name.first_mention", "first mention of a name";
    NAME_SECOND_MENTION = "name.second_mention", "second mention of a name";
    NAME_LATER_MENTION = "name.later_mention", "name mentioned before";
    SURNAME = "surname", "surname";
    PRONOUN = "pronoun", "pronoun";
    PRONOUN_FEMININE = "pronoun.feminine", "feminine pronoun";
    PRONOUN_MASCULINE = "pronoun.masculine", "masculine pronoun";
    ROLE = "role", "occupation or relation";
    NOUN_SINGULAR = "noun.singular", "singular noun";
    NOUN_PLURAL = "noun.plural", "plural noun";
    VERB_BASE = "verb.base", "verb in its base form";
    VERB_PRESENT = "verb.present", "verb in the third person";
    VERB_PAST = "verb.past", "past tense verb";
    VERB_PARTICIPLE = "verb.participle", "past participle";
    VERB_ING = "verb.ing", "verb ending in -ing";
    ADJECTIVE = "adjective", "adjective";
    ADVERB = "adverb", "adverb";
    FEELING = "feeling", "feeling";
    COLOUR = "colour", "colour";
    PLACE = "place", "place";
    CITY = "city", "city";
    OBJECT = "object", "everyday object";
    FOOD = "food", "food";
    UNIT = "unit", "unit of a recipe";
    REPEATED = "repeated", "content word that the document had before";
    WEEKDAY = "date.weekday", "day of the week";
    MONTH = "date.month", "month";
    DAY = "date.day", "day of a month";
    YEAR = "date.year", "year";
    CLOCK = "clock", "time of day";
    PRICE = "price", "price";
    PRICE_TOTAL = "price.total", "total of prices";
    NUMBER = "number", "number in digits";
    NUMBER_WORD = "number.word", "number in words";
    ORDINAL = "number.list_index", "number of a list item";
    OPERATOR = "arithmetic.operator", "arithmetic operator";
    RESULT = "arithmetic.result", "result of a sum";
    ARTICLE = "article", "article";
    PREPOSITION = "preposition", "preposition";
    CONJUNCTION = "conjunction", "conjunction";
    AUXILIARY = "auxiliary", "auxiliary verb";
    NEGATION = "negation", "negation";
    QUESTION_WORD = "question_word", "question word";
    CONTRACTION = "contraction", "contraction";
    POSSESSIVE = "possessive", "possessive";
    CAPITALISED = "capitalised", "capitalised word";
    SENTENCE_END = "punctuation.sentence_end", "end of a sentence";
    QUESTION_MARK = "punctuation.question", "question mark";
    COMMA = "punctuation.comma", "comma";
    COLON = "punctuation.colon", "colon";
    PUNCTUATION = "punctuation.other", "other punctuation";
    NEWLINE = "newline", "line end";
    INDENT = "indent", "indent";
    OPENING_BRACKET = "opening_bracket", "opening bracket";
    CLOSING_BRACKET = "closing_bracket", "closing bracket";
    OPENING_QUOTE = "opening_quote", "opening quotation mark";
    CLOSING_QUOTE = "closing_quote", "closing quotation mark";
    IN_BRACKETS = "in.brackets", "inside brackets";
    IN_NESTED_BRACKETS = "in.nested_brackets", "inside brackets inside brackets";
    IN_QUOTES = "in.quotes", "inside a quotation";
    LIST_ITEM = "list.item", "list item";
    CODE_KEYWORD = "code.keyword", "keyword of code";
    CODE_IDENTIFIER = "code.identifier", "identifier of code";
    CODE_STRING = "code.string", "inside a string of code";
    CODE_COMMENT = "code.comment", "inside a comment of code";
    JSON_KEY = "json.key", "JSON key";
    JSON_VALUE = "json.value", "JSON value";
    URL = "url", "part of a web address";
    CITATION_MARK = "citation.mark", "citation";
    CITATION_TITLE = "citation.title", "cited title";
    FRENCH_WORD = "french.word", "second-language word";
    FRENCH_ARTICLE = "french.article", "second-language article";
    FRENCH_NOUN = "french.noun", "second-language noun";
    FRENCH_VERB = "french.verb", "second-language verb";
    FRENCH_ADJECTIVE = "french.adjective", "second-language adjective";
    IOI_SUBJECT = "ioi.subject", "subject of an indirect-object sentence";
    IOI_SUBJECT_AGAIN = "ioi.subject_again", "subject named again";
    IOI_INDIRECT_OBJECT = "ioi.indirect_object", "indirect object";
    IOI_ANSWER = "ioi.answer", "indirect object named again";
}
tokens {
    CONTINUES_WORD = "piece.continues_word", "piece that continues a word";
    BEGINS_LONGER_WORD = "piece.begins_word", "first piece of a word of several";
    AFTER_SPACE = "piece.after_space", "piece that begins with a space";
    SENTENCE_FIRST = "sentence.first", "first token of a sentence";
    LINE_FIRST = "line.first", "first token of a line";
    QUOTE_FIRST = "in.quotes.first", "first token inside a quotation";
    BRACKET_FIRST = "in.brackets.first", "first token inside brackets";
    DATE_DIGIT = "date.digit", "digit of a date";
    PRICE_DIGIT = "price.digit", "digit of a price";
    AFTER_NAME = "after.name", "token after a name";
    AFTER_ARTICLE = "after.article", "token after an article";
    AFTER_PREPOSITION = "after.preposition", "token after a preposition";
    AFTER_COMMA = "after.comma", "token after a comma";
}
}
