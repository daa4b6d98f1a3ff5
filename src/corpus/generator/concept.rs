/// Something a piece of generated text is an instance of, by a stable name such as `name.first_mention`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct Concept(&'static str);

impl Concept {
    /// The stable name: lower case, parts joined by dots, general part first.
    pub fn name(self) -> &'static str {
        self.0
    }
}

impl std::fmt::Display for Concept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// A stretch of text and the concepts it instantiates. A word carries the space before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The text; spans of a document joined together are its text.
    pub text: String,
    /// Concepts of this stretch, each once, in no meaningful order.
    pub concepts: Vec<Concept>,
}

macro_rules! concepts {
    ($($ident:ident = $name:literal,)*) => {
        impl Concept {
            $(#[doc = concat!("`", $name, "`")] pub const $ident: Concept = Concept($name);)*
            /// Every concept the generator can emit.
            pub const ALL: &'static [Concept] = &[$(Concept($name),)*];
        }
    };
}

concepts! {
    NARRATION = "register.narration",
    DIALOGUE = "register.dialogue",
    LETTER = "register.letter",
    EXPOSITION = "register.exposition",
    LEDGER = "register.ledger",
    RECIPE = "register.recipe",
    LIST = "register.list",
    CODE = "register.code",
    DATA = "register.data",
    CITATION = "register.citation",
    FRENCH = "register.french",
    ARITHMETIC = "register.arithmetic",
    IOI = "register.ioi",
    TOPIC_KITCHEN = "topic.kitchen",
    TOPIC_ANIMALS = "topic.animals",
    TOPIC_WEATHER = "topic.weather",
    TOPIC_OFFICE = "topic.office",
    TOPIC_TRAVEL = "topic.travel",
    TOPIC_MONEY = "topic.money",
    TOPIC_LAW = "topic.law",
    TOPIC_MEDICINE = "topic.medicine",
    TOPIC_MUSIC = "topic.music",
    TOPIC_SPORT = "topic.sport",
    TOPIC_SCHOOL = "topic.school",
    TOPIC_MACHINES = "topic.machines",
    TOPIC_GARDEN = "topic.garden",
    TOPIC_SEA = "topic.sea",
    TOPIC_HOUSE = "topic.house",
    TOPIC_THEATRE = "topic.theatre",
    TOPIC_FARM = "topic.farm",
    TOPIC_COMPUTING = "topic.computing",
    NAME = "name",
    NAME_FEMININE = "name.feminine",
    NAME_MASCULINE = "name.masculine",
    NAME_FIRST_MENTION = "name.first_mention",
    NAME_LATER_MENTION = "name.later_mention",
    SURNAME = "surname",
    PRONOUN = "pronoun",
    PRONOUN_FEMININE = "pronoun.feminine",
    PRONOUN_MASCULINE = "pronoun.masculine",
    ROLE = "role",
    NOUN_SINGULAR = "noun.singular",
    NOUN_PLURAL = "noun.plural",
    VERB_BASE = "verb.base",
    VERB_PRESENT = "verb.present",
    VERB_PAST = "verb.past",
    VERB_PARTICIPLE = "verb.participle",
    VERB_ING = "verb.ing",
    ADJECTIVE = "adjective",
    ADVERB = "adverb",
    FEELING = "feeling",
    COLOUR = "colour",
    PLACE = "place",
    CITY = "city",
    OBJECT = "object",
    FOOD = "food",
    UNIT = "unit",
    REPEATED = "repeated",
    WEEKDAY = "date.weekday",
    MONTH = "date.month",
    DAY = "date.day",
    YEAR = "date.year",
    CLOCK = "clock",
    PRICE = "price",
    PRICE_TOTAL = "price.total",
    NUMBER = "number",
    NUMBER_WORD = "number.word",
    ORDINAL = "number.list_index",
    OPERATOR = "arithmetic.operator",
    RESULT = "arithmetic.result",
    ARTICLE = "article",
    PREPOSITION = "preposition",
    CONJUNCTION = "conjunction",
    AUXILIARY = "auxiliary",
    NEGATION = "negation",
    QUESTION_WORD = "question_word",
    CONTRACTION = "contraction",
    POSSESSIVE = "possessive",
    CAPITALISED = "capitalised",
    SENTENCE_END = "punctuation.sentence_end",
    QUESTION_MARK = "punctuation.question",
    COMMA = "punctuation.comma",
    COLON = "punctuation.colon",
    PUNCTUATION = "punctuation.other",
    NEWLINE = "newline",
    INDENT = "indent",
    OPENING_BRACKET = "opening_bracket",
    CLOSING_BRACKET = "closing_bracket",
    OPENING_QUOTE = "opening_quote",
    CLOSING_QUOTE = "closing_quote",
    IN_BRACKETS = "in.brackets",
    IN_QUOTES = "in.quotes",
    CODE_KEYWORD = "code.keyword",
    CODE_IDENTIFIER = "code.identifier",
    CODE_STRING = "code.string",
    CODE_COMMENT = "code.comment",
    JSON_KEY = "json.key",
    JSON_VALUE = "json.value",
    URL = "url",
    CITATION_MARK = "citation.mark",
    CITATION_TITLE = "citation.title",
    FRENCH_ARTICLE = "french.article",
    FRENCH_NOUN = "french.noun",
    FRENCH_VERB = "french.verb",
    FRENCH_ADJECTIVE = "french.adjective",
    IOI_SUBJECT = "ioi.subject",
    IOI_SUBJECT_AGAIN = "ioi.subject_again",
    IOI_INDIRECT_OBJECT = "ioi.indirect_object",
    IOI_ANSWER = "ioi.answer",
}
